"""The record as an SQLite file: one gateway writes it, anyone may read it."""

from __future__ import annotations

import contextlib
import fcntl
import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO

from headway.errors import InputError
from headway.gateway.entry import COLUMNS, OPEN, Entry, RecordError, Row
from headway.workload.record import FAILED

SCHEMA_VERSION = 1
_REAL, _TEXT = ("_s", "p50_tokens", "p90_tokens"), (
    "id", "status", "reason", "tenant", "model", "api", "pool", "backend", "prompt_hash", "prompt",
)  # fmt: skip
_MORE = {"id": " PRIMARY KEY", "status": " NOT NULL", "arrival_s": " NOT NULL"}


def _type(column: str) -> str:
    usual = "REAL" if column.endswith(_REAL) else "TEXT" if column in _TEXT else "INTEGER"
    return usual + _MORE.get(column, "")


_CREATE = f"CREATE TABLE IF NOT EXISTS request ({', '.join(f'{c} {_type(c)}' for c in COLUMNS)})"
_PUT = (
    f"INSERT OR REPLACE INTO request ({', '.join(COLUMNS)}) "
    f"VALUES ({', '.join('?' * len(COLUMNS))})"
)


class SqliteRecord:
    """The database of one gateway; see `headway.gateway.store.Database`."""

    def __init__(self, path: Path, most_bytes: int | None = None) -> None:
        """Open ``path`` or make it; ``most_bytes`` bounds its size.

        Raises:
            InputError: it cannot be opened, is no record, or another gateway writes to it.
        """
        self._guard = _guard(path)
        try:
            self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._prepare(most_bytes)
        except sqlite3.Error as error:
            self._guard.close()
            raise InputError(f"cannot record in {path}: {error}") from None

    def _prepare(self, most_bytes: int | None) -> None:
        run = self._database.execute
        run("PRAGMA journal_mode=WAL")
        run("PRAGMA synchronous=NORMAL")
        version = run("PRAGMA user_version").fetchone()[0]
        tables = {row[0] for row in run("SELECT name FROM sqlite_master WHERE type='table'")}
        if version > SCHEMA_VERSION or (tables and "request" not in tables):
            raise sqlite3.DatabaseError("it is a database of something else, or of a later Headway")
        run(_CREATE)
        run("CREATE INDEX IF NOT EXISTS request_arrival ON request (arrival_s)")
        run(f"PRAGMA user_version={SCHEMA_VERSION}")
        if most_bytes is not None:
            self.bound(most_bytes)
        run("UPDATE request SET status=?, reason='gateway_killed' WHERE status=?", (FAILED, OPEN))

    def bound(self, most_bytes: int) -> None:
        """Let the file grow to ``most_bytes`` and no further."""
        page = self._database.execute("PRAGMA page_size").fetchone()[0]
        self._database.execute(f"PRAGMA max_page_count={max(8, most_bytes // page)}")

    def write(self, rows: Collection[Row]) -> None:
        """Write ``rows`` at once; raises `RecordError` if not all of them could be."""
        try:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany(_PUT, rows)
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                self._database.execute("ROLLBACK")
            raise RecordError(str(error)) from None

    def close(self) -> None:
        """Let another gateway have it."""
        self._database.close()
        self._guard.close()


def _guard(path: Path) -> IO[bytes]:
    """Hold ``path`` for one gateway: two would mark each other's open requests as failed."""
    try:
        # Held for as long as the store is open.
        guard = open(path.with_name(path.name + ".lock"), "wb")  # noqa: SIM115 - held as long as the store lives
    except OSError as error:
        raise InputError(f"cannot record in {path}: {error.strerror or error}") from None
    try:
        fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        guard.close()
        raise InputError(f"another gateway records in {path}; give each its own file") from None
    return guard


def read_sqlite(path: Path) -> Iterator[Entry]:
    """The entries of ``path`` in the order of arrival.

    Raises:
        InputError: it is no record.
    """
    if not path.is_file():
        raise InputError(f"{path} is no file; give the record of headway serve")
    try:
        database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            query = f"SELECT {', '.join(COLUMNS)} FROM request ORDER BY arrival_s, id"
            for row in database.execute(query):
                yield Entry(*row)
        finally:
            database.close()
    except sqlite3.Error as error:
        raise InputError(f"{path} is no record of a gateway: {error}") from None
