"""The record in PostgreSQL: several gateways write to one database, side by side.

Each row knows its writer. A writer holds an advisory lock for as long as it is connected; whoever
starts later marks as failed what a writer without a lock has left open.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Collection, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from headway.errors import InputError, need
from headway.record.bounds import BOUNDS
from headway.record.entry import COLUMNS, KEY_BYTES, OPEN, Entry, RecordError, Row, column_types
from headway.workload.record import FAILED

SCHEMES = ("postgresql://", "postgres://")
ROWS_AT_ONCE = 5000
_LOCKS = 0x68656164  # a number of our own among the advisory locks of a database
_TYPES = column_types(real="double precision", whole="bigint", text="text")
Value = TypeVar("Value")
_CREATE = f"""
CREATE TABLE IF NOT EXISTS headway_request (
    {", ".join(f"{name} {kind}" for name, kind in _TYPES.items())}, writer bigint NOT NULL,
    PRIMARY KEY (id));
CREATE INDEX IF NOT EXISTS headway_request_arrival ON headway_request (arrival_s, id);
CREATE INDEX IF NOT EXISTS headway_request_open ON headway_request (writer) WHERE status = '{OPEN}';
CREATE TABLE IF NOT EXISTS headway_secret (
    name text PRIMARY KEY, secret bytea NOT NULL);
"""
_NEW_KEY = "INSERT INTO headway_secret VALUES ('prompt_hash', $1) ON CONFLICT DO NOTHING"
_KEY = "SELECT secret FROM headway_secret WHERE name = 'prompt_hash'"
_COLUMNS = """
SELECT column_name, data_type FROM information_schema.columns
WHERE table_name = 'headway_request' AND table_schema = current_schema()
"""
_UPSERT = (
    f"INSERT INTO headway_request ({', '.join(COLUMNS)}, writer) VALUES "
    f"({', '.join(f'${n + 1}' for n in range(len(COLUMNS) + 1))}) ON CONFLICT (id) DO UPDATE SET "
    + ", ".join(f"{column} = EXCLUDED.{column}" for column in COLUMNS)
)
_ORPHANS = f"SELECT DISTINCT writer FROM headway_request WHERE status = '{OPEN}'"
_GIVE_UP = (
    f"UPDATE headway_request SET status = '{FAILED}', reason = 'gateway_killed' "
    f"WHERE status = '{OPEN}' AND writer = $1"
)
_READ = f"SELECT {', '.join(COLUMNS)} FROM headway_request ORDER BY arrival_s, id"


class PostgresRecord:
    """One gateway's part of the database; see `headway.record.store.Database`.

    Attributes:
        spill: a file in the working folder, named after the database.
        hash_key: the secret of the record's hashes, the same for all gateways; who may read the
            record need not be able to read its table.

    """

    def __init__(self, url: str, statement_s: float = BOUNDS.statement_s) -> None:
        """Connect to ``url`` and make the table if it is not there.

        No statement that writes is waited for longer than ``statement_s``.

        Raises:
            InputError: the database cannot be reached or used.
            MissingExtraError: the driver is not installed.

        """
        _driver()
        self._url = url
        self._statement_s = statement_s
        self._writer = secrets.randbits(31)
        # A loop of its own: it is used from the thread that writes, never from the gateway's.
        self._loop = asyncio.new_event_loop()
        self._connection: Any = None
        self.hash_key = b""
        name = re.sub(r"[^A-Za-z0-9.-]+", "-", hide_password(url).partition("://")[2]).strip("-")
        self.spill = Path(f"headway-{name[:100]}.unwritten").absolute()

        try:
            self._run(self._connect())
            self._run(self._give_up_orphans())
        except RecordError as error:
            self._hang_up()
            raise InputError(f"cannot record in {hide_password(url)}: {error}") from None

    def write(self, rows: Collection[Row]) -> None:
        """Write ``rows`` at once; raise `RecordError` if not all of them could be."""
        self._run(self._write([(*map(_storable, row), self._writer) for row in rows]))

    def close(self) -> None:
        """Disconnect."""
        if self._connection is not None and not self._connection.is_closed():
            with suppress(RecordError):
                self._run(self._connection.close(timeout=BOUNDS.statement_s))
        self._hang_up()

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
        self._loop.run_until_complete(asyncio.sleep(0))  # closes its socket
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Value]) -> Value:
        return _run(self._loop, work)

    async def _connect(self) -> None:
        self._connection = await _connected(self._url)
        async with self._connection.transaction():
            # Two that start at once must not both make the table.
            await self._connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCKS)
            await self._connection.execute(_CREATE)
            await self._check_columns()
            await self._connection.execute(_NEW_KEY, secrets.token_bytes(KEY_BYTES))
        self.hash_key = await self._connection.fetchval(_KEY)
        await self._connection.execute("SELECT pg_advisory_lock($1, $2)", _LOCKS, self._writer)

    async def _check_columns(self) -> None:
        columns = {row[0]: row[1] for row in await self._connection.fetch(_COLUMNS)}
        expected = {**_TYPES, "writer": "bigint"}
        if columns != expected:
            other = sorted(columns.items() ^ expected.items())
            raise RecordError(f"its table is that of another Headway: {other[0][0]} differs")

    async def _give_up_orphans(self) -> None:
        for row in await self._connection.fetch(_ORPHANS):
            lock = (_LOCKS, row["writer"])
            if await self._connection.fetchval("SELECT pg_try_advisory_lock($1, $2)", *lock):
                await self._connection.execute(_GIVE_UP, row["writer"])
                await self._connection.execute("SELECT pg_advisory_unlock($1, $2)", *lock)

    async def _write(self, rows: list[tuple[object, ...]]) -> None:
        if self._connection.is_closed():
            await self._connect()
        # All or nothing.
        await self._connection.executemany(_UPSERT, rows, timeout=self._statement_s)


def read_postgres(url: str) -> Iterator[Entry]:
    """Yield the entries in the database at ``url`` in the order of arrival.

    Raises:
        InputError: it cannot be reached, or holds no record.
        MissingExtraError: the driver is not installed.
    """
    _driver()
    loop = asyncio.new_event_loop()
    connection: Any = None

    try:
        connection = _run(loop, _connected(url))
        transaction = connection.transaction(readonly=True)
        _run(loop, transaction.start())
        cursor = _run(loop, _cursor(connection))
        while rows := _run(loop, cursor.fetch(ROWS_AT_ONCE)):
            for row in rows:
                yield Entry.from_row(tuple(row))
    except RecordError as error:
        raise InputError(f"cannot read the record in {hide_password(url)}: {error}") from None
    finally:
        if connection is not None:
            connection.terminate()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def hide_password(url: str) -> str:
    """Return ``url`` as it may be shown: without a password, or anything that might hold one."""
    try:
        parts = urlsplit(url)
        name = f"{parts.username}@" if parts.username else ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "postgresql://..."
    return urlunsplit((parts.scheme, f"{name}{parts.hostname or ''}{port}", parts.path, "", ""))


def _run(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Value]) -> Value:
    asyncpg = _driver()
    try:
        return loop.run_until_complete(work)
    except ValueError as error:
        # The driver's word for an address or a value that makes no sense, which it would quote.
        raise RecordError(f"{type(error).__name__} in its address or in what it holds") from None
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        raise RecordError(str(error) or type(error).__name__) from None


def _driver() -> Any:
    need("asyncpg", "a record in PostgreSQL", "postgres")
    import asyncpg  # type: ignore[import-untyped]  # ships no types

    return asyncpg


async def _connected(url: str) -> Any:
    limit_s = BOUNDS.statement_s
    return await _driver().connect(url, timeout=limit_s, command_timeout=limit_s)


async def _cursor(connection: Any) -> Any:
    return await connection.cursor(_READ)


def _storable(value: object) -> object:
    # PostgreSQL's text holds no NUL, and a prompt may.
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value
