"""The record as an SQLite file: one gateway writes it, anyone may read it."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import secrets
import sqlite3
from collections.abc import Collection, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import IO

from headway.errors import InputError
from headway.record.entry import COLUMNS, KEY_BYTES, OPEN, Entry, RecordError, Row, column_types
from headway.workload.record import FAILED

SCHEMA_VERSION = 1
APPLICATION_ID = 0x48647779  # in the file's header: "Hdwy"
FILE_HEADER = b"SQLite format 3\0"
_CONSTRAINTS = {"id": " PRIMARY KEY", "status": " NOT NULL", "arrival_s": " NOT NULL"}
_TYPES = column_types(real="REAL", whole="INTEGER", text="TEXT")
_CREATE = "CREATE TABLE IF NOT EXISTS request ({})".format(
    ", ".join(f"{name} {kind}{_CONSTRAINTS.get(name, '')}" for name, kind in _TYPES.items())
)
_OVER = "ON CONFLICT (id) DO UPDATE SET " + ", ".join(
    f"{name} = excluded.{name}" for name in COLUMNS if name != "id"
)
ROWS_AT_ONCE = 100  # of one statement: `executemany` asks for the interpreter's lock at every row
_log = logging.getLogger("headway.gateway")


class SqliteRecord:
    """The database of one gateway; see `headway.record.store.Database`.

    Attributes:
        spill: where rows are kept that could not be written before the end.
        hash_key: the secret of the record's hashes; it lies beside the record, not in it.

    """

    def __init__(self, path: Path, max_bytes: int | None = None) -> None:
        """Open ``path`` or make it; ``max_bytes`` bounds its size.

        Raises:
            InputError: it cannot be opened, is no record, or another gateway writes to it.

        """
        self._path = path = path.resolve()  # one file, whatever it is called
        self._max_bytes = max_bytes
        self._guard = _lock(path)
        try:
            self.spill = path.with_name(path.name + ".unwritten")
            self.hash_key = _key(path.with_name(path.name + ".key"))
            self._open()
        except (sqlite3.Error, OSError) as error:
            self._guard.close()
            raise InputError(f"cannot record in {path}: {error}") from None

    def _open(self) -> None:
        # Another program's database is refused before anything in it is changed.
        if self._path.exists() and self._path.stat().st_size:
            _check(self._path)
        else:
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))

        self._database = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
        run = self._database.execute
        run("PRAGMA journal_mode=WAL")
        run("PRAGMA synchronous=NORMAL")
        run(_CREATE)
        run("CREATE INDEX IF NOT EXISTS request_arrival ON request (arrival_s)")
        run(f"PRAGMA application_id={APPLICATION_ID}")
        run(f"PRAGMA user_version={SCHEMA_VERSION}")
        if self._max_bytes is not None:
            self.bound(self._max_bytes)

        # Only one gateway writes here, so whatever is open belongs to one that is dead.
        run("UPDATE request SET status=?, reason='gateway_killed' WHERE status=?", (FAILED, OPEN))
        self._inode = self._path.stat().st_ino

    def bound(self, max_bytes: int) -> None:
        """Let the file grow to ``max_bytes`` and no further."""
        page_bytes = self._database.execute("PRAGMA page_size").fetchone()[0]
        self._database.execute(f"PRAGMA max_page_count={max(8, max_bytes // page_bytes)}")

    def write(self, rows: Collection[Row]) -> None:
        """Write ``rows`` at once; raise `RecordError` if not all of them could be."""
        try:
            self._reopen_if_gone()
            self._database.execute("BEGIN IMMEDIATE")
            remaining = iter(rows)
            while batch := tuple(islice(remaining, ROWS_AT_ONCE)):
                self._database.execute(_upsert(len(batch)), tuple(chain.from_iterable(batch)))
            self._database.execute("COMMIT")
        except (sqlite3.Error, OSError, InputError) as error:
            with contextlib.suppress(sqlite3.Error):
                self._database.execute("ROLLBACK")
            raise RecordError(str(error)) from None

    def _reopen_if_gone(self) -> None:
        """Begin a new file where somebody has taken ours away: nobody would ever see its rows."""
        try:
            is_ours = self._path.stat().st_ino == self._inode
        except FileNotFoundError:
            is_ours = False
        if not is_ours:
            _log.error("%s was removed or replaced while it was written to", self._path)
            self._database.close()
            for end in ("-wal", "-shm"):  # of the file that is gone
                self._path.with_name(self._path.name + end).unlink(missing_ok=True)
            self._open()

    def close(self) -> None:
        """Let another gateway have it."""
        self._database.close()
        self._guard.close()


def _upsert(num_rows: int) -> str:
    """Return the statement that writes so many rows, each over an earlier one of its id."""
    row = f"({', '.join('?' * len(COLUMNS))})"
    values = ", ".join([row] * num_rows)
    return f"INSERT INTO request ({', '.join(COLUMNS)}) VALUES {values} {_OVER}"


def _check(path: Path) -> None:
    """Raise `sqlite3.DatabaseError` unless the file is a record in all of its columns."""
    database = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    with contextlib.closing(database):
        run = database.execute
        application, version = (
            run(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        tables = {row[0] for row in run("SELECT name FROM sqlite_master WHERE type='table'")}
        columns = {row[1]: row[2] for row in run("PRAGMA table_info(request)")}

    if application not in (0, APPLICATION_ID) or tables - {"request"}:
        raise sqlite3.DatabaseError("it is a database of something else")
    if version > SCHEMA_VERSION:
        raise sqlite3.DatabaseError("a later Headway wrote it")
    if columns != _TYPES and (columns or application == 0):
        other = sorted(columns.items() ^ _TYPES.items())
        raise sqlite3.DatabaseError(
            f"it is a database of something else, or of another Headway: {other[0][0]} differs"
        )
    if path.stat().st_nlink > 1:
        raise sqlite3.DatabaseError("it has several names (hard links); a record has one")


def _key(path: Path) -> bytes:
    """Return the secret in ``path``, which is made where there is none."""
    with contextlib.suppress(FileExistsError):
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with open(file, "wb") as new:
            new.write(secrets.token_bytes(KEY_BYTES))
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise InputError(f"{path} is not the {KEY_BYTES} random bytes that it was; remove it")
    return key


def _lock(path: Path) -> IO[bytes]:
    """Lock ``path`` for one gateway: two would mark each other's open requests as failed."""
    try:
        name = path.with_name(path.name + ".lock")
        guard = open(os.open(name, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600), "wb")  # noqa: SIM115 - held as long as the store lives
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
