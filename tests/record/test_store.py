"""The record: what is written, what survives, who may write."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Collection
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from headway.errors import InputError
from headway.record.bounds import BOUNDS
from headway.record.entry import OPEN, Entry, RecordError, Row, prompt_hash
from headway.record.sqlite import APPLICATION_ID, SqliteRecord
from headway.record.store import Store, is_record, open_store, read_entries

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


def test_a_stream_without_tokens_is_no_obstacle() -> None:
    empty = replace(ENTRY, first_s=None, last_s=None, output_tokens=0)
    assert empty.record.status == "failed"


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


def test_a_record_is_its_owners_alone_and_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "live.db"
    open_store(path).close()
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
    for name in ("live.db", "live.db.lock", "live.db.key"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE request ADD COLUMN more TEXT",
        "ALTER TABLE request DROP COLUMN tenant",
        "CREATE TABLE other (x)",
        "PRAGMA application_id=7",
        "PRAGMA user_version=99",
    ],
)
def test_whatever_differs_in_a_column_is_no_record_and_stays_as_it_was(
    tmp_path: Path, change: str
) -> None:
    path = tmp_path / "live.db"
    open_store(path).close()
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode=DELETE")
        database.execute(change)
        database.commit()
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"something else|another Headway|later Headway"):
        open_store(path)
    assert path.read_bytes() == before


def test_a_record_is_one_file_through_any_path(tmp_path: Path) -> None:
    path, link = tmp_path / "live.db", tmp_path / "link.db"
    store = open_store(path)
    link.symlink_to(path)
    with pytest.raises(InputError, match="another gateway records"):
        open_store(link)
    store.close()
    (tmp_path / "hard.db").hardlink_to(path)
    with pytest.raises(InputError, match="several names"):
        open_store(path)


def test_a_record_that_is_removed_is_begun_again(tmp_path: Path) -> None:
    path = tmp_path / "live.db"
    store = open_store(path)
    store.add(ENTRY)
    assert store.flush()
    path.unlink()
    store.add(replace(ENTRY, id="hw-2"))
    store.close()
    assert [entry.id for entry in read_entries(path)] == ["hw-2"]


class Away(SqliteRecord):
    """A database that takes nothing for a while."""

    is_away = True

    def write(self, rows: Collection[Row]) -> None:
        if self.is_away:
            raise RecordError("it is away")
        super().write(rows)


def test_what_was_not_written_at_the_end_is_read_at_the_next_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "live.db"
    store = Store(Away(path))
    for number in range(2500):
        store.add(replace(ENTRY, id=f"hw-{number}", prompt="a\n\u2028b"))
    store.close()
    spill = tmp_path / "live.db.unwritten"
    assert store.lost == 0
    assert str(spill) in caplog.text
    assert spill.stat().st_mode & 0o777 == 0o600
    with spill.open("a") as file:
        file.write('["hw-cut')  # a gateway that was killed while it wrote

    open_store(path).close()
    entries = list(read_entries(path))
    assert len(entries) == 2500
    assert entries[0] == replace(ENTRY, id="hw-0", prompt="a\n\u2028b")
    assert not spill.exists()


def test_records_that_fit_nowhere_are_counted(tmp_path: Path) -> None:
    store = Store(Away(tmp_path / "live.db"))
    (tmp_path / "live.db.unwritten").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
        store.add(ENTRY)
        store.close()
    assert store.lost == 1


def test_batches_shrink_while_the_database_fails_and_grow_again(tmp_path: Path) -> None:
    database = Away(tmp_path / "live.db")
    sizes: list[int] = []
    write = SqliteRecord.write

    class Slow(Away):
        def write(self, rows: Collection[Row]) -> None:
            sizes.append(len(rows))
            if len(rows) > 100:
                raise RecordError("timeout")
            write(self, rows)

    database.close()
    store = Store(Slow(tmp_path / "live.db"))
    for number in range(1500):
        store.add(replace(ENTRY, id=f"hw-{number}"))
    for _ in range(60):
        if store.flush():
            break
    store.close()
    assert max(sizes) <= BOUNDS.batch_rows
    assert len(list(read_entries(tmp_path / "live.db"))) == 1500


def test_hashes_are_the_records_own(tmp_path: Path) -> None:
    first, second = (SqliteRecord(tmp_path / name) for name in ("a.db", "b.db"))
    assert prompt_hash(b"hello", first.hash_key) != prompt_hash(b"hello", second.hash_key)
    first.close()
    again = SqliteRecord(tmp_path / "a.db")
    assert prompt_hash(b"hello", first.hash_key) == prompt_hash(b"hello", again.hash_key)
    for record in (second, again):
        record.close()
