"""Due dates: which waiting requests can all start in time, by Moore and Hodgson (1968).

In the order in which their work is due, each must wait for the work of those before it. Where that
is too much for one of them, the request with the most work per value, of it and those before it, is
given up. With equal values no other choice lets more of them start in time; with unequal ones the
question is a knapsack, and this is its greedy answer.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headway.errors import InputError

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Dues:
    """Due dates as columns of shape ``(requests,)``.

    Attributes:
        due_s: when a request must have started; infinite where nobody waits for it.
        work_s: by how much it delays whoever starts after it.
        value: what its start in time is worth.
        late_share: of the starts that those who cannot be in time get in any case; 0 to 1.
        sheds: whether those who cannot be in time are refused instead.

    """

    due_s: Floats
    work_s: Floats
    value: Floats
    late_share: float = 0.0
    sheds: bool = False

    def __post_init__(self) -> None:
        if not len(self.due_s) == len(self.work_s) == len(self.value):
            raise InputError("the columns of due dates differ in length")
        if np.any(np.isnan(self.due_s)) or not np.all(np.isfinite(self.work_s)):
            raise InputError("due dates must be numbers, and work finite")
        if not 0 <= self.late_share < 1:
            raise InputError(f"late_share must be from 0 to below 1, not {self.late_share:g}")

    @property
    def late_every(self) -> int:
        """Every how many starts one goes to those who cannot be in time; 0 for never."""
        return math.ceil(1 / self.late_share) if self.late_share else 0

    @property
    def end_s(self) -> Floats:
        """When the work of a request ends at the latest: in this order those in time go."""
        return self.due_s + self.work_s

    def in_time(self, now_s: float, pace: float = 1.0) -> Bools:
        """Return who is to start in time, if ``pace`` seconds of work are done per second.

        Those who are not, and those without a due date, go after them.
        """
        chosen = np.zeros(len(self.due_s), dtype=np.bool_)
        dated = np.flatnonzero(np.isfinite(self.due_s) & (self.due_s >= now_s))
        rows = dated[np.argsort(self.end_s[dated], kind="stable")]
        burdens = self.work_s / self.value

        ahead_s = 0.0
        largest: list[tuple[float, int]] = []  # a heap, the largest burden per value first
        for row in rows.tolist():
            heapq.heappush(largest, (-float(burdens[row]), row))
            chosen[row] = True
            while chosen[row] and now_s + ahead_s / pace > self.due_s[row]:
                _, given_up = heapq.heappop(largest)
                chosen[given_up] = False
                if given_up != row:
                    ahead_s -= float(self.work_s[given_up])
            if chosen[row]:
                ahead_s += float(self.work_s[row])
        return chosen
