"""The record: what is written, what survives, who may write."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from headway.errors import InputError
from headway.gateway.entry import OPEN, Entry
from headway.gateway.store import open_store, read_entries

ENTRY = Entry(
    "hw-1", "done", "", 100.0, 100.1, 100.5, 102.5, 7, 5, None, 64, 4.0, 9.0, None, None, 3.0,
    "t", "m", "chat", 1, "main", "http://x/v1", 1, 200, "ab", None,
)  # fmt: skip


def test_what_was_put_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "live.db"
    store = open_store(path)
    store.put(ENTRY)
    store.put(replace(ENTRY, id="hw-0", arrival_s=99.0))
    store.close()
    first, second = read_entries(path)
    assert (first.id, second) == ("hw-0", ENTRY)
    record = second.record
    assert record.ttft_s == pytest.approx(0.5)
    assert record.e2e_s == pytest.approx(2.5)
    assert record.tpot_s == pytest.approx(0.5)


def test_a_later_entry_replaces_an_open_one(tmp_path: Path) -> None:
    path = tmp_path / "live.db"
    store = open_store(path)
    store.put(replace(ENTRY, status=OPEN))
    store.flush()
    assert [e.status for e in read_entries(path)] == [OPEN]
    store.put(ENTRY)
    store.close()
    assert [e.status for e in read_entries(path)] == ["done"]


def test_what_was_open_when_the_gateway_died_has_failed(tmp_path: Path) -> None:
    path = tmp_path / "live.db"
    store = open_store(path)
    store.put(replace(ENTRY, status=OPEN))
    store.close()
    open_store(path).close()
    assert [(e.status, e.reason) for e in read_entries(path)] == [("failed", "gateway_killed")]


def test_two_gateways_cannot_share_a_record(tmp_path: Path) -> None:
    store = open_store(tmp_path / "live.db")
    with pytest.raises(InputError, match="another gateway records"):
        open_store(tmp_path / "live.db")
    store.close()


def test_what_is_no_record_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("not a database at all, but long enough to be read" * 10)
    with pytest.raises(InputError, match="cannot record"):
        open_store(tmp_path / "text.db")
    with pytest.raises(InputError, match="no record"):
        list(read_entries(tmp_path / "text.db"))
    with pytest.raises(InputError, match="is no file"):
        list(read_entries(tmp_path / "none.db"))
    with pytest.raises(InputError, match="cannot record"):
        open_store(tmp_path / "no" / "folder.db")
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE something (x)")
    other.commit()
    other.close()
    with pytest.raises(InputError, match="something else"):
        open_store(tmp_path / "other.db")


def test_an_open_request_is_no_record_yet() -> None:
    with pytest.raises(InputError, match="has not ended"):
        replace(ENTRY, status=OPEN).record  # noqa: B018
