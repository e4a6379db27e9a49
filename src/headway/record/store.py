"""Where records are kept: a database, written by its own thread, at most 0.5 s behind.

Every request is written when it ends, and one that lasts longer than a flush also while it is
open. So a killed gateway leaves at most the records of the last moment unwritten, and at the next
start every request that was open then is marked failed: each ends in exactly one record.
"""

from __future__ import annotations

import logging
import math
import tempfile
import threading
from collections.abc import Collection, Iterator
from itertools import islice
from operator import attrgetter
from pathlib import Path
from time import monotonic
from typing import Protocol

from headway.record.bounds import BOUNDS, RecordBounds
from headway.record.entry import COLUMNS, Entry, RecordError, Row
from headway.record.postgres import SCHEMES, PostgresRecord, hide_password, read_postgres
from headway.record.spill import read_spill, write_spill
from headway.record.sqlite import SqliteRecord, is_sqlite, read_sqlite

_row_of = attrgetter(*COLUMNS)
_log = logging.getLogger("headway.gateway")


class Database(Protocol):
    """Whatever keeps rows; its maker has marked as failed what a dead gateway left open.

    Attributes:
        spill: a file for rows that could not be written before the end.
        hash_key: the secret of the record's hashes.

    """

    spill: Path
    hash_key: bytes

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
        lost: entries that could be kept nowhere at the end.
        trouble: the database's last complaint; empty when all is well.

    """

    def __init__(self, database: Database, bounds: RecordBounds = BOUNDS) -> None:
        """Write to ``database`` until `close`, and first what the last gateway could not."""
        self.database = database
        self._bounds = bounds
        self.dropped = self.lost = 0
        self.trouble = ""
        self.writing = threading.Lock()  # locked while the database is used
        self._pending: dict[str, Row] = {}
        self._batch_rows = bounds.batch_rows
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stop = False
        self._has_spill = self._take_spill()
        self._thread = threading.Thread(target=self._run, name="headway-store", daemon=True)
        self._thread.start()

    @property
    def hash_key(self) -> bytes:
        """The secret of the record's hashes."""
        return self.database.hash_key

    @property
    def unwritten(self) -> int:
        """Entries that wait to be written: many when the disk is full."""
        return len(self._pending)

    def add(self, entry: Entry) -> None:
        """Write ``entry`` soon; a later one with the same id replaces it."""
        row = _row_of(entry)
        with self._lock:
            if len(self._pending) >= self._bounds.num_pending and entry.id not in self._pending:
                self._pending.pop(next(iter(self._pending)))
                self.dropped += 1
            self._pending[entry.id] = row

    def flush(self, until_s: float = math.inf) -> bool:
        """Write what waits, now, until ``until_s``; return whether all of it could be."""
        with self.writing:
            while self._pending and monotonic() < until_s:
                if not self._write_batch():
                    return False
            if self._has_spill and not self._pending:
                self._has_spill = False
                self.database.spill.unlink(missing_ok=True)
        return not self._pending

    def close(self) -> None:
        """Write what waits and close; what the database does not take goes into a file."""
        self._stop = True
        self._wake.set()
        self._thread.join()

        self.flush(monotonic() + self._bounds.close_s)
        self._spill()
        self.database.close()

    def _write_batch(self) -> bool:
        with self._lock:
            rows = dict(islice(self._pending.items(), self._batch_rows))
            for name in rows:
                del self._pending[name]

        try:
            self.database.write(rows.values())
        except RecordError as error:
            # Newer rows of the same requests go before those that could not be written.
            with self._lock:
                self._pending = rows | self._pending
            self._batch_rows = max(1, self._batch_rows // 2)
            if not self.trouble:
                _log.error("cannot record (%s); requests are served, records wait", error)
            self.trouble = str(error)
            return False

        self._batch_rows = min(self._bounds.batch_rows, 2 * self._batch_rows)
        if self.trouble:
            _log.warning("recording again")
        self.trouble = ""
        return True

    def _take_spill(self) -> bool:
        """Let what the last gateway kept in a file wait here; return whether there was any."""
        path = self.database.spill
        try:
            rows = read_spill(path)
        except (OSError, ValueError) as error:
            _log.error("cannot read the records in %s: %s", path, error)
            return False
        self._pending.update((str(row[0]), row) for row in rows)
        if rows:
            _log.info("%d records of the last gateway are in %s", len(rows), path)
        return bool(rows)

    def _spill(self) -> None:
        """Keep what waits in a file beside the database, or else among temporary files."""
        if not self._pending:
            return
        path = self.database.spill
        for place in (path, Path(tempfile.gettempdir()) / path.name):
            try:
                write_spill(place, self._pending.values())
            except OSError as error:
                _log.error("cannot keep records in %s: %s", place, error)
                continue
            where = "the next start reads it" if place == path else f"move it to {path}"
            _log.error(
                "%d records could not be written (%s) and are in %s: %s",
                len(self._pending), self.trouble, place, where,
            )  # fmt: skip
            return
        self.lost = len(self._pending)
        _log.error("%d records are lost: %s", self.lost, self.trouble)

    def _run(self) -> None:
        while not self._stop:
            self._wake.wait(self._bounds.flush_s)
            self._wake.clear()
            if not self._stop:
                self.flush(monotonic() + self._bounds.close_s)


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
