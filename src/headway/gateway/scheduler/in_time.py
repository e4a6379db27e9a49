"""Who of those that wait can start in time, chosen anew now and then.

`headway.schedule.due` chooses; here it is asked only when somebody has come, or a start has become
late, and never for longer than a fiftieth of the time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Generic

import numpy as np

from headway.gateway.scheduler.ticket import Ticket, Waiter
from headway.schedule.due import Dues

RESORT_S = 0.1
RESORT_PAUSE = 50  # pauses last so many times what choosing took


@dataclass(slots=True)
class InTime(Generic[Waiter]):
    """Those of a lane who can start in time, as Moore and Hodgson choose them.

    Attributes:
        dated: all who wait and are to start by some time.
        chosen: of them, those who can; the next one last.

    """

    dated: list[Waiter] = field(default_factory=list)
    chosen: list[Waiter] = field(default_factory=list)
    is_fresh: bool = False
    chosen_s: float = -math.inf
    cost_s: float = 0.0

    def add(self, ticket: Waiter) -> None:
        """One more is to start by some time."""
        self.dated.append(ticket)
        self.is_fresh = False

    def first(self, now_s: float, pace: float) -> Waiter | None:
        """Return who must start first of those who can start in time; ``None`` if there is none.

        ``pace`` seconds of work are done per second.
        """
        self._drop()
        due_now = bool(self.chosen) and self.chosen[-1].due_s < now_s
        if self.dated and (not self.is_fresh or due_now):
            pause_s = min(RESORT_S, RESORT_PAUSE * self.cost_s)
            if due_now or now_s - self.chosen_s >= pause_s:
                self._choose(now_s, pace)
        return self.chosen[-1] if self.chosen else None

    def refuses(self, ticket: Waiter, now_s: float, pace: float) -> bool:
        """Return whether ``ticket``, were it here, could not start in time beside the others."""
        self._drop()
        tickets = [*(other for other in self.dated if other.waits), ticket]
        return not _dues(tickets).in_time(now_s, pace)[-1]

    def _drop(self) -> None:
        while self.chosen and not self.chosen[-1].waits:
            self.chosen.pop()

    def _choose(self, now_s: float, pace: float) -> None:
        began_s = perf_counter()
        self.dated = [ticket for ticket in self.dated if ticket.waits and ticket.due_s >= now_s]
        in_time = _dues(self.dated).in_time(now_s, pace)
        chosen = [ticket for ticket, is_in in zip(self.dated, in_time, strict=True) if is_in]
        chosen.sort(key=lambda ticket: (ticket.due_s + ticket.due_work_s, ticket.number))
        self.chosen = chosen[::-1]
        self.is_fresh, self.chosen_s = True, now_s
        self.cost_s = perf_counter() - began_s


def _dues(tickets: Sequence[Ticket]) -> Dues:
    columns = np.array(
        [(ticket.due_s, ticket.due_work_s, ticket.value) for ticket in tickets]
    ).reshape(-1, 3)
    return Dues(columns[:, 0], columns[:, 1], columns[:, 2])
