"""The policy's order as a number for the engine's own queue, so that many gateways agree."""

from __future__ import annotations

from headway.gateway.scheduler.ticket import Ticket

RECENT_KEYS = 512
EPOCH_UNIX_S = 1_767_225_600.0  # 2026-01-01: keeps the numbers within a signed 64-bit, and short
MAX_TENANTS = 1000


class Priorities:
    """Numbers that an engine sorts by.

    A request's number is the millisecond of its arrival plus a handicap of up to ``patience_s``:
    its key's rank among the last keys. Whoever arrives later than that can never overtake it,
    whichever gateway it comes through; this is the bound on starvation when annotating.
    """

    def __init__(self) -> None:
        """No key came yet."""
        self._recent: list[float] = []
        self._next = 0

    def priority(
        self, key: float | None, *, arrival_unix_s: float, patience_s: float, larger_first: bool
    ) -> int:
        """Return the priority of a request; smaller goes first unless ``larger_first``.

        One without a ``key`` ranks in the middle.
        """
        rank = 0.5 if key is None else self._rank(key)
        number = round(1e3 * (arrival_unix_s - EPOCH_UNIX_S + rank * patience_s))
        return -number if larger_first else number

    def _rank(self, key: float) -> float:
        """Return the share of the last keys that are smaller than ``key``, which joins them."""
        recent = self._recent
        rank = sum(other < key for other in recent) / len(recent) if recent else 0.0
        if len(recent) < RECENT_KEYS:
            recent.append(key)
        else:
            recent[self._next % RECENT_KEYS] = key
            self._next += 1
        return rank


class VirtualClock:
    """`headway.schedule.fair.FairShares` for requests that come one by one and wait elsewhere.

    A request starts, in virtual time, where its tenant's previous one ended, but not before it
    arrives, and ends after its predicted work over the tenant's weight.
    """

    def __init__(self) -> None:
        """Nobody came yet."""
        self._end_s: dict[str, float] = {}

    def start_s(self, ticket: Ticket) -> float:
        """Return the virtual start of ``ticket``, whose tenant is its lane."""
        if len(self._end_s) > MAX_TENANTS:
            ends = self._end_s.items()
            self._end_s = {name: end_s for name, end_s in ends if end_s > ticket.arrival_s}

        start_s = max(ticket.arrival_s, self._end_s.get(ticket.lane, 0.0))
        self._end_s[ticket.lane] = start_s + ticket.work_s / ticket.weight
        return start_s
