"""Files that a user names: one sentence for every way in which they can be wrong."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from headway.errors import InputError, UnknownNameError
from headway.user_file import from_table, read_json, read_text, read_toml


@dataclass(frozen=True)
class Pool:
    deployment: str
    replicas: int = 1
    usd_per_hour: float | None = None
    names: tuple[str, ...] = ()
    larger_first: bool = False


def test_texts_are_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("mañana", encoding="utf-8-sig")
    assert read_text(path, "a text") == "mañana"
    assert read_text(str(path), "a text", max_bytes=10) == "mañana"
    with pytest.raises(InputError, match=r"a\.txt is larger than 9 bytes; is it a text\?"):
        read_text(path, "a text", max_bytes=9)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder; give a list"):
        read_text(tmp_path, "a list")
    with pytest.raises(InputError, match=r"there is no file .*b\.txt'; give a list"):
        read_text(tmp_path / "b.txt", "a list")
    for path in ("x" * 5000, "a\0b"):
        with pytest.raises(InputError, match="cannot be read"):
            read_text(path, "a list")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="is not a regular file"):
        read_text(tmp_path / "pipe", "a list")


def test_formats_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"^a is not JSON; give a benchmark's result$"):
        read_json(path, "a benchmark's result")
    with pytest.raises(InputError, match=r"^a is not TOML: "):
        read_toml(path)
    path.write_bytes(b"\xff")
    with pytest.raises(InputError, match="is not text in UTF-8"):
        read_toml(path)


def test_a_table_becomes_a_dataclass() -> None:
    assert from_table(Pool, {"deployment": "a@h100"}, "[[pool]]") == Pool("a@h100")
    table = {"deployment": "a", "usd_per_hour": 2, "names": ["x", "y"], "larger_first": True}
    assert from_table(Pool, table, "[[pool]]") == Pool("a", 1, 2.0, ("x", "y"), True)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, r"^\[\[pool\]\] needs deployment$"),
        ({"deployment": "a", "replica": 1}, "did you mean replicas"),
        ({"deployment": 1}, r"deployment in \[\[pool\]\] must be text, not 1"),
        ({"deployment": "a", "replicas": True}, "must be a whole number, not True"),
        ({"deployment": "a", "replicas": 1.0}, "must be a whole number, not 1.0"),
        ({"deployment": "a", "usd_per_hour": "2"}, "must be a number, not '2'"),
        ({"deployment": "a", "names": "x"}, "must be a list of names, not 'x'"),
        ({"deployment": "a", "names": [1]}, "a name of names .* must be text, not 1"),
        ({"deployment": "a", "larger_first": 1}, "must be true or false, not 1"),
        ([], r"\[\[pool\]\] must be a table, not \[\]"),
    ],
)
def test_a_wrong_table_is_refused_by_name(table: object, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        from_table(Pool, table, "[[pool]]")
    assert isinstance(caught.value, UnknownNameError) == ("did you mean" in message)
