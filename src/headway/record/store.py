"""Where records are kept: a database, written by its own thread, at most 0.5 s behind.

Every request is written when it ends, and one that lasts longer than a flush also while it is
open. So a killed gateway leaves at most the records of the last moment unwritten, and at the next
start every request that was open then is marked failed: each ends in exactly one record.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterator
from operator import attrgetter
from pathlib import Path
from typing import Protocol

from headway.record.entry import COLUMNS, Entry, RecordError, Row
from headway.record.postgres import SCHEMES, PostgresRecord, hide_password, read_postgres
from headway.record.sqlite import SqliteRecord, is_sqlite, read_sqlite

FLUSH_S = 0.5
MAX_PENDING = 500_000
_row_of = attrgetter(*COLUMNS)
_log = logging.getLogger("headway.gateway")


class Database(Protocol):
    """Whatever keeps rows; its maker has marked as failed what a dead gateway left open."""

    def write(self, rows: Collection[Row]) -> None:
        """Write ``rows``, a later one of the same id over an earlier, all or none.

        Raises:
            RecordError: they could not be written now; they will be offered again.

        """
        ...

    def close(self) -> None:
        """No more comes."""
        ...


class Store:
    """Entries that wait to be written, and the thread that writes them.

    Attributes:
        dropped: entries that were given up because too many waited.
        trouble: the database's last complaint; empty when all is well.

    """

    def __init__(self, database: Database) -> None:
        """Write to ``database`` until `close`."""
        self.database = database
        self.dropped = 0
        self.trouble = ""
        self.writing = threading.Lock()  # locked while the database is used
        self._pending: dict[str, Row] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stop = False
        self._thread = threading.Thread(target=self._run, name="headway-store", daemon=True)
        self._thread.start()

    @property
    def unwritten(self) -> int:
        """Entries that wait to be written: many when the disk is full."""
        return len(self._pending)

    def add(self, entry: Entry) -> None:
        """Write ``entry`` soon; a later one with the same id replaces it."""
        row = _row_of(entry)
        with self._lock:
            if len(self._pending) >= MAX_PENDING and entry.id not in self._pending:
                self._pending.pop(next(iter(self._pending)))
                self.dropped += 1
            self._pending[entry.id] = row

    def flush(self) -> bool:
        """Write what waits, now; return whether that went well."""
        with self.writing:
            return self._write_pending()

    def close(self) -> None:
        """Write what waits and close."""
        self._stop = True
        self._wake.set()
        self._thread.join()

        self.flush()
        if self._pending:
            _log.error("%d records could not be written: %s", len(self._pending), self.trouble)
        self.database.close()

    def _write_pending(self) -> bool:
        with self._lock:
            rows, self._pending = self._pending, {}
        if not rows:
            return True

        try:
            self.database.write(rows.values())
        except RecordError as error:
            # Newer rows of the same requests go before those that could not be written.
            with self._lock:
                self._pending = rows | self._pending
            if not self.trouble:
                _log.error("cannot record (%s); requests are served, records wait", error)
            self.trouble = str(error)
            return False

        if self.trouble:
            _log.warning("recording again")
        self.trouble = ""
        return True

    def _run(self) -> None:
        while not self._stop:
            self._wake.wait(FLUSH_S)
            self._wake.clear()
            if not self._stop:
                self.flush()


def is_postgres(where: str | Path) -> bool:
    """Return whether ``where`` is the address of a PostgreSQL database rather than a file."""
    return str(where).startswith(SCHEMES)


def is_record(where: str | Path) -> bool:
    """Return whether ``where`` is a gateway's record, by its content: a database, not a name."""
    return is_postgres(where) or is_sqlite(Path(where))


def record_name(where: str | Path) -> str:
    """Return the record's name as it may be shown: without folders, without a password."""
    return hide_password(str(where)) if is_postgres(where) else Path(where).name


def open_store(where: str | Path) -> Store:
    """Open the record at ``where``: a file, or ``postgresql://user@host/database``.

    Raises:
        InputError: it cannot be used.
        MissingExtraError: it needs a driver that is not installed.

    """
    database = PostgresRecord(str(where)) if is_postgres(where) else SqliteRecord(Path(where))
    return Store(database)


def read_entries(where: str | Path) -> Iterator[Entry]:
    """Yield the entries of the record at ``where`` in the order of arrival.

    Raises:
        InputError: it is no record.
        MissingExtraError: it needs a driver that is not installed.

    """
    return read_postgres(str(where)) if is_postgres(where) else read_sqlite(Path(where))
