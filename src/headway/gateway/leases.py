"""Allowances that any number of gateways share: each leases a few seconds' worth at a time.

One row of a table in PostgreSQL holds what is left of each allowance. A gateway takes from it what
it will need for the next seconds, and gives back what it did not use, so that limits do not
multiply. While the database is away each goes on by itself, as if it were alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import monotonic
from typing import Any

from headway.errors import need
from headway.gateway.scheduler.budgets import Allowance

LEASE_S = 0.5  # between two rounds
AHEAD_S = 3.0  # of the flow that is taken at once
TIMEOUT_S = 5.0
_TABLE = """
CREATE TABLE IF NOT EXISTS headway_budget (
    tenant text, kind text, level double precision NOT NULL, unix_s double precision NOT NULL,
    PRIMARY KEY (tenant, kind)
)"""
# What has flowed in since is added before anything is taken; all by the database's own clock.
_LEASE = """
WITH before AS (
    SELECT least($3::float8, level + $4::float8 * greatest(0,
        extract(epoch FROM clock_timestamp()) - unix_s)) AS level
    FROM headway_budget WHERE tenant = $1 AND kind = $2 FOR UPDATE
)
UPDATE headway_budget AS budget
SET level = before.level - least($5::float8, greatest(0, before.level)),
    unix_s = extract(epoch FROM clock_timestamp())
FROM before WHERE budget.tenant = $1 AND budget.kind = $2
RETURNING least($5::float8, greatest(0, before.level))"""
_log = logging.getLogger("headway.gateway")


class Leases:
    """Keeps the allowances of one gateway filled from what all share."""

    def __init__(
        self, url: str, allowances: Callable[[], dict[tuple[str, str], Allowance]]
    ) -> None:
        """Lease for ``allowances``, by tenant and kind, from the database at ``url``."""
        need("asyncpg", "shared limits in PostgreSQL", "postgres")
        self._url = url
        self._allowances = allowances
        self._connection: Any = None
        self._rows: set[tuple[str, str]] = set()

    async def keep_for_ever(self) -> None:
        """Lease again and again."""
        while True:
            await self.round()
            await asyncio.sleep(LEASE_S)

    async def round(self, ahead_s: float = AHEAD_S) -> None:
        """Take what ``ahead_s`` need, give back the rest; go alone if the database is away."""
        import asyncpg  # type: ignore[import-untyped]  # ships no types

        allowances = self._allowances()
        try:
            for key, allowance in allowances.items():
                wanted = allowance.wanted(ahead_s)
                if wanted:
                    allowance.grant(await self._lease(key, allowance, wanted))
                allowance.leased = True
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            self._connection = None
            if any(allowance.leased for allowance in allowances.values()):
                why = type(error).__name__
                _log.warning("limits are this gateway's own until their database is back: %s", why)
            for allowance in allowances.values():
                allowance.leased, allowance.time_s = False, monotonic()

    async def close(self) -> None:
        """Give back what is left."""
        await self.round(ahead_s=0.0)
        if self._connection is not None:
            await self._connection.close()

    async def _lease(self, key: tuple[str, str], allowance: Allowance, wanted: float) -> float:
        if self._connection is None:
            import asyncpg

            connect = asyncpg.connect(self._url, timeout=TIMEOUT_S, command_timeout=TIMEOUT_S)
            self._connection = await connect
            await self._connection.execute(_TABLE)
            self._rows.clear()
        if key not in self._rows:
            await self._connection.execute(
                "INSERT INTO headway_budget VALUES ($1, $2, $3, "
                "extract(epoch FROM clock_timestamp())) ON CONFLICT DO NOTHING",
                *key, allowance.size,
            )  # fmt: skip
            self._rows.add(key)
        granted = await self._connection.fetchval(
            _LEASE, *key, allowance.size, allowance.rate, wanted
        )
        return float(granted or 0.0)
