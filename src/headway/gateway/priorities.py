"""The policy's order as a number for the engine's own queue, so that many gateways agree."""

from __future__ import annotations

from headway.gateway.waiting import Ticket

RECENT = 512
EPOCH_UNIX_S = 1_767_225_600.0  # 2026-01-01: keeps the numbers within a signed 64-bit, and short


class Priorities:
    """A number that an engine sorts by.

    A request's number is the millisecond of its arrival plus a handicap of up to ``patience_s``:
    its key's rank among the last keys seen. Whoever arrives later than that can never overtake it,
    whichever gateway it comes through; this is the bound on starvation when annotating.
    """

    def __init__(self) -> None:
        """No key was seen yet."""
        self._recent: list[float] = []
        self._at = 0

    def of(self, key: float, arrival_unix_s: float, patience_s: float, larger_first: bool) -> int:
        """The priority of a request; smaller goes first unless ``larger_first``."""
        recent = self._recent
        rank = sum(other < key for other in recent) / len(recent) if recent else 0.0
        if len(recent) < RECENT:
            recent.append(key)
        else:
            recent[self._at % RECENT] = key
            self._at += 1
        number = round(1e3 * (arrival_unix_s - EPOCH_UNIX_S + rank * patience_s))
        return -number if larger_first else number


class Shares:
    """`headway.schedule.fair.FairShares` for requests that come one by one and wait elsewhere.

    A request starts, in virtual time, where its tenant's previous one ended, but not before it
    arrives, and ends after its predicted work over the tenant's weight.
    """

    def __init__(self) -> None:
        """Nobody has asked for anything."""
        self._ends_s: dict[str, float] = {}

    def start_s(self, ticket: Ticket) -> float:
        """Virtual start of ``ticket``, whose tenant is its lane."""
        if len(self._ends_s) > 1000:
            known = self._ends_s.items()
            self._ends_s = {name: end for name, end in known if end > ticket.arrival_s}
        start_s = max(ticket.arrival_s, self._ends_s.get(ticket.lane, 0.0))
        self._ends_s[ticket.lane] = start_s + ticket.work_s / ticket.weight
        return start_s
