"""Who of several pickers leads: the one that holds a lock in the database they share.

The lock is PostgreSQL's advisory one, which belongs to a connection: when its holder dies, or is
cut off, the database gives it to the next that asks.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from typing import Any

from headway.errors import need

_log = logging.getLogger("headway.gateway")

LOOK_S = 1.0
ANSWER_S = 2.0  # without an answer for so long nobody leads here any more


class Leadership:
    """One picker's wish to lead.

    Attributes:
        leads: whether it does.

    """

    def __init__(self, database: str, name: str) -> None:
        """Ask ``database`` for the lock called ``name``.

        Raises:
            MissingExtraError: there is no driver for PostgreSQL.

        """
        need("asyncpg", "a leader by PostgreSQL", "postgres")
        self.leads = False
        self._database = database
        self._key = zlib.crc32(f"headway picker {name}".encode())
        self._connection: Any = None

    async def seek_for_ever(self) -> None:
        """Lead as soon as nobody else does, for as long as the database agrees."""
        try:
            while True:
                try:
                    async with asyncio.timeout(ANSWER_S):
                        await self._look()
                except Exception as error:  # of a driver: many kinds, one consequence
                    if self.leads or self._connection is not None:
                        _log.warning(
                            "the database does not answer, so this picker waits: %s", error
                        )
                    self._lose()
                await asyncio.sleep(LOOK_S)
        finally:
            self._lose()

    async def _look(self) -> None:
        if self._connection is None:
            import asyncpg  # type: ignore[import-untyped]  # ships no types

            self._connection = await asyncpg.connect(self._database)
        if self.leads:
            await self._connection.fetchval("SELECT 1")
        elif await self._connection.fetchval("SELECT pg_try_advisory_lock($1)", self._key):
            self.leads = True
            _log.info("this picker leads")

    def _lose(self) -> None:
        self.leads = False
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()
