"""The record as an SQLite file: one gateway writes it, anyone may read it."""

from __future__ import annotations

import contextlib
import fcntl
import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO

from headway.errors import InputError
from headway.record.entry import COLUMNS, OPEN, Entry, RecordError, Row, column_types
from headway.workload.record import FAILED

SCHEMA_VERSION = 1
FILE_HEADER = b"SQLite format 3\0"
_CONSTRAINTS = {"id": " PRIMARY KEY", "status": " NOT NULL", "arrival_s": " NOT NULL"}
_TYPES = column_types(real="REAL", whole="INTEGER", text="TEXT")
_CREATE = "CREATE TABLE IF NOT EXISTS request ({})".format(
    ", ".join(f"{name} {kind}{_CONSTRAINTS.get(name, '')}" for name, kind in _TYPES.items())
)
_UPSERT = (
    f"INSERT OR REPLACE INTO request ({', '.join(COLUMNS)}) "
    f"VALUES ({', '.join('?' * len(COLUMNS))})"
)


class SqliteRecord:
    """The database of one gateway; see `headway.record.store.Database`."""

    def __init__(self, path: Path, max_bytes: int | None = None) -> None:
        """Open ``path`` or make it; ``max_bytes`` bounds its size.

        Raises:
            InputError: it cannot be opened, is no record, or another gateway writes to it.

        """
        self._guard = _lock(path)
        try:
            self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._prepare(max_bytes)
        except sqlite3.Error as error:
            self._guard.close()
            raise InputError(f"cannot record in {path}: {error}") from None

    def _prepare(self, max_bytes: int | None) -> None:
        run = self._database.execute

        # Another program's database is refused before anything in it is changed.
        version = run("PRAGMA user_version").fetchone()[0]
        tables = {row[0] for row in run("SELECT name FROM sqlite_master WHERE type='table'")}
        if version > SCHEMA_VERSION or (tables and "request" not in tables):
            raise sqlite3.DatabaseError("it is a database of something else, or of a later Headway")

        run("PRAGMA journal_mode=WAL")
        run("PRAGMA synchronous=NORMAL")
        run(_CREATE)
        run("CREATE INDEX IF NOT EXISTS request_arrival ON request (arrival_s)")
        run(f"PRAGMA user_version={SCHEMA_VERSION}")
        if max_bytes is not None:
            self.bound(max_bytes)

        # Only one gateway writes here, so whatever is open belongs to one that is dead.
        run("UPDATE request SET status=?, reason='gateway_killed' WHERE status=?", (FAILED, OPEN))

    def bound(self, max_bytes: int) -> None:
        """Let the file grow to ``max_bytes`` and no further."""
        page_bytes = self._database.execute("PRAGMA page_size").fetchone()[0]
        self._database.execute(f"PRAGMA max_page_count={max(8, max_bytes // page_bytes)}")

    def write(self, rows: Collection[Row]) -> None:
        """Write ``rows`` at once; raise `RecordError` if not all of them could be."""
        try:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany(_UPSERT, rows)
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                self._database.execute("ROLLBACK")
            raise RecordError(str(error)) from None

    def close(self) -> None:
        """Let another gateway have it."""
        self._database.close()
        self._guard.close()


def _lock(path: Path) -> IO[bytes]:
    """Lock ``path`` for one gateway: two would mark each other's open requests as failed."""
    try:
        guard = open(path.with_name(path.name + ".lock"), "wb")  # noqa: SIM115 - held as long as the store lives
    except OSError as error:
        raise InputError(f"cannot record in {path}: {error.strerror or error}") from None

    try:
        fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        guard.close()
        raise InputError(f"another gateway records in {path}; give each its own file") from None
    return guard


def is_sqlite(path: Path) -> bool:
    """Return whether ``path`` is a file that begins as SQLite's do, whatever it is called."""
    try:
        with path.open("rb") as file:
            return file.read(len(FILE_HEADER)) == FILE_HEADER
    except OSError:
        return False


def read_sqlite(path: Path) -> Iterator[Entry]:
    """Yield the entries of ``path`` in the order of arrival.

    Raises:
        InputError: it is no record.

    """
    if not path.is_file():
        raise InputError(f"{path} is no file; give the record of headway serve")
    query = f"SELECT {', '.join(COLUMNS)} FROM request ORDER BY arrival_s, id"

    try:
        database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        with contextlib.closing(database):
            for row in database.execute(query):
                yield Entry.from_row(row)
    except sqlite3.Error as error:
        raise InputError(f"{path} is no record of a gateway: {error}") from None
