from __future__ import annotations

from pathlib import Path

import pytest

from headway.errors import InputError
from headway.measure.endpoint.ledger import Ledger


def test_what_was_added_is_there_again(tmp_path: Path) -> None:
    path = tmp_path / "l.jsonl"
    with Ledger(path) as ledger:
        ledger.add({"a": 1})
        ledger.add({"b": [1.5, None]})
    with Ledger(path) as ledger:
        assert ledger.entries == [{"a": 1}, {"b": [1.5, None]}]


@pytest.mark.parametrize("torn", ['{"b', '{"b": 2}', '{"b": "\udcff'])
def test_a_torn_last_line_is_dropped(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "l.jsonl"
    path.write_bytes(b'{"a": 1}\n' + torn.encode("utf-8", "surrogateescape"))
    with Ledger(path) as ledger:
        assert ledger.entries == [{"a": 1}]
        ledger.add({"c": 3})
    assert path.read_bytes() == b'{"a": 1}\n{"c": 3}\n'


@pytest.mark.parametrize("content", [b"hello\n", b"[1]\n", b'{"a": 1}\n\xff\xfe\n'])
def test_another_file_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "l.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match="ledger"):
        Ledger(path)
    assert path.read_bytes() == content


def test_a_place_where_nothing_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot write"):
        Ledger(tmp_path / "no" / "l.jsonl")
    with pytest.raises(InputError, match="cannot write"):
        Ledger(tmp_path)
