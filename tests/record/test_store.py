"""The record: what is written, what survives, who may write."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from headway.errors import InputError
from headway.record.entry import OPEN, Entry
from headway.record.store import is_record, open_store, read_entries

ENTRY = Entry(
    id="hw-1",
    status="done",
    arrival_s=100.0,
    sent_s=100.1,
    first_s=100.5,
    last_s=102.5,
    prompt_tokens=7,
    output_tokens=5,
    max_tokens=64,
    p50_tokens=4.0,
    p90_tokens=9.0,
    slo_e2e_s=3.0,
    tenant="t",
    model="m",
    api="chat",
    stream=1,
    pool="main",
    backend="http://x/v1",
    attempts=1,
    code=200,
    prompt_hash="ab",
)


def test_what_was_put_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "live.db"
    store = open_store(path)
    store.add(ENTRY)
    store.add(replace(ENTRY, id="hw-0", arrival_s=99.0))
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
    store.add(replace(ENTRY, status=OPEN))
    store.flush()
    assert [e.status for e in read_entries(path)] == [OPEN]
    store.add(ENTRY)
    store.close()
    assert [e.status for e in read_entries(path)] == ["done"]


def test_what_was_open_when_the_gateway_died_has_failed(tmp_path: Path) -> None:
    path = tmp_path / "live.db"
    store = open_store(path)
    store.add(replace(ENTRY, status=OPEN))
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


def test_a_record_is_recognised_by_what_it_is_not_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "of-yesterday"
    open_store(path).close()
    (tmp_path / "text.db").write_text("no database")
    assert is_record(path)
    assert is_record("postgresql://host/database")
    assert not is_record(tmp_path / "text.db")
    assert not is_record(tmp_path / "none.db")


def test_another_programs_database_is_refused_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "other"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE something (x)")
        other.commit()
    before = path.read_bytes()
    with pytest.raises(InputError, match="something else"):
        open_store(path)
    assert path.read_bytes() == before
