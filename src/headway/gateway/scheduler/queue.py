"""The queue of a pool: ordered by a policy, shared between tenants, and nobody waits for ever.

The policy gives a request its key once, when it arrives. Keys that fall along lines of different
slope are sorted anew now and then, and so are those who can start in time
(`headway.schedule.due`), who go before all others; never longer than a fiftieth of the time.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from time import perf_counter
from typing import Generic

import numpy as np

from headway.gateway.config import Fairness
from headway.gateway.scheduler.in_time import InTime
from headway.gateway.scheduler.ticket import Waiter

RESORT_S = 0.1
RESORT_PAUSE = 50  # pauses last so many times what sorting took
MAX_IDLE_LANES = 1000


@dataclass(slots=True)
class _Lane(Generic[Waiter]):
    """The queue of one tenant for one kind of engine."""

    heap: list[tuple[float, float, int, Waiter]] = field(default_factory=list)
    ordered: list[Waiter] = field(default_factory=list)  # the next one last
    sorted_s: float = -math.inf
    sort_cost_s: float = 0.0
    slope: float | None = None
    moving: bool = False
    count: int = 0
    in_time: InTime[Waiter] = field(default_factory=InTime)
    late_every: int = 0  # of the starts of those in time one goes to the others; 0 for none
    starts_since_late: int = 0

    def push(self, ticket: Waiter, now_s: float) -> None:
        # Keys move against each other only where slopes differ.
        if self.count == 0:
            self.heap.clear()
            self.ordered.clear()
            self.in_time = InTime()
            self.slope, self.moving = ticket.slope, False
        elif ticket.slope != self.slope and not self.moving:
            self.moving = True
            self.sorted_s = -math.inf

        self.count += 1
        key = ticket.key + (ticket.slope * now_s if self.moving else 0.0)
        heapq.heappush(self.heap, (key, ticket.arrival_s, ticket.number, ticket))
        if ticket.due_s < math.inf:
            self.in_time.add(ticket)

    def first(self, now_s: float, pace: float) -> Waiter:
        """Return the policy's choice; there must be one."""
        in_time = self.in_time.first(now_s, pace)
        if in_time is None:
            return self._first_of_rest(now_s)

        self.starts_since_late += 1
        if self.late_every and self.starts_since_late >= self.late_every:
            self.starts_since_late = 0
            return self._first_of_rest(now_s)
        return in_time

    def _first_of_rest(self, now_s: float) -> Waiter:
        if self.moving and now_s - self.sorted_s > max(RESORT_S, RESORT_PAUSE * self.sort_cost_s):
            self._sort(now_s)
        while self.heap and not self.heap[0][3].waits:
            heapq.heappop(self.heap)
        while self.ordered and not self.ordered[-1].waits:
            self.ordered.pop()

        if not self.ordered:
            return self.heap[0][3]
        if not self.heap:
            return self.ordered[-1]
        older, newer = self.ordered[-1], self.heap[0][3]
        return older if older.rank(now_s) <= newer.rank(now_s) else newer

    def next(self, now_s: float, count: int) -> list[Waiter]:
        """Return the first ``count`` in the policy's order."""
        fresh = (entry[3] for entry in self.heap if entry[3].waits)
        ordered = (ticket for ticket in reversed(self.ordered) if ticket.waits)
        candidates = [*islice(ordered, count), *fresh]
        return heapq.nsmallest(count, candidates, key=lambda ticket: ticket.rank(now_s))

    def sweep(self) -> None:
        """Keep no trace of those who wait no more."""
        self.ordered = [ticket for ticket in self.ordered if ticket.waits]
        self.heap = [entry for entry in self.heap if entry[3].waits]
        heapq.heapify(self.heap)

    def _sort(self, now_s: float) -> None:
        began_s = perf_counter()
        waiting = [t for t in self.ordered if t.waits]
        waiting += [entry[3] for entry in self.heap if entry[3].waits]

        columns = np.array([(t.number, t.arrival_s, t.key + t.slope * now_s) for t in waiting])
        rows = np.lexsort(columns.T)
        self.ordered = [waiting[i] for i in rows[::-1]]
        self.heap = []

        self.sorted_s = now_s
        self.sort_cost_s = perf_counter() - began_s


class PoolQueue(Generic[Waiter]):
    """The queue in front of one pool.

    Where tenants share, this is start-time fair queueing (Goyal, Vin and Cheng 1996). While two of
    them have requests waiting and nobody has lost patience, what each was given over its weight
    differs by at most the largest request of the one over its weight plus that of the other.

    Attributes:
        fairness: who shares, and how long the policy alone decides.
        late_every: of the starts of those who can be in time one goes to the others; 0 for none.
        pace: seconds of work that are done per second.
        work_s: predicted seconds of service of all who wait.

    """

    def __init__(self, fairness: Fairness) -> None:
        """Nobody waits yet."""
        self.fairness = fairness
        self.late_every = 0
        self.pace = 1.0
        self.work_s = 0.0
        self._lanes: dict[tuple[str, str], _Lane[Waiter]] = {}  # by tenant and kind
        self._used_s: dict[str, float] = {}  # virtual time of tenants: service over weight
        self._by_age: deque[Waiter] = deque()
        self._starts_since_oldest = 0
        self._number = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Waiter]:
        """By age."""
        return (ticket for ticket in self._by_age if ticket.waits)

    def in_order(
        self, now_s: float, count: int, condition: Callable[[Waiter], bool] | None = None
    ) -> list[tuple[int, Waiter]]:
        """Return the first ``count`` that meet ``condition``, with their positions among all.

        As columns: the loop stands still meanwhile, and a queue may be long.
        """
        waiting = list(self)
        keys = np.fromiter((t.key + t.slope * now_s for t in waiting), np.float64, len(waiting))
        rows = np.argsort(keys, kind="stable")  # of equal keys the older one first

        positions = np.arange(min(count, len(rows)))
        if condition is not None:
            matches = np.fromiter(map(condition, waiting), np.bool_, len(waiting))
            positions = np.flatnonzero(matches[rows])[:count]
        return [(position, waiting[rows[position]]) for position in positions.tolist()]

    def cannot_be_in_time(self, ticket: Waiter, now_s: float) -> bool:
        """Return whether ``ticket``, were it here, could not start by the time that it must."""
        if ticket.due_s == math.inf:
            return False
        lane = self._lanes.get((ticket.lane if self.fairness.shares else "", ticket.kind), _Lane())
        return lane.in_time.refuses(ticket, now_s, self.pace)

    @property
    def wait_s(self) -> float:
        """Seconds until one more request would start, if all who wait went first."""
        return self.work_s / self.pace

    def older_than(self, arrival_s: float) -> list[Waiter]:
        """Return those who came before ``arrival_s``, by age."""
        older: list[Waiter] = []
        for ticket in self:
            if ticket.arrival_s > arrival_s:
                break
            older.append(ticket)
        return older

    def push(self, ticket: Waiter, now_s: float) -> None:
        """Let ``ticket`` wait."""
        tenant = ticket.lane if self.fairness.shares else ""
        lane = self._lanes.get((tenant, ticket.kind))
        if lane is None:
            lane = self._lanes[tenant, ticket.kind] = _Lane()
        if lane.count == 0:
            # Whoever was away has saved nothing up.
            busy = {name for (name, _), other in self._lanes.items() if other.count}
            used_s = self._used_s.get(tenant, 0.0)
            if tenant not in busy:
                used_s = max(used_s, min((self._used_s[name] for name in busy), default=used_s))
            self._used_s[tenant] = used_s

        self._number += 1
        ticket.number, ticket.lane = self._number, tenant
        self._count += 1
        self.work_s += ticket.work_s
        lane.late_every = self.late_every
        lane.push(ticket, now_s)

        # Whoever has waited elsewhere before is older than those who came here first.
        place = len(self._by_age)
        while place and self._by_age[place - 1].arrival_s > ticket.arrival_s:
            place -= 1
        self._by_age.insert(place, ticket)

    def remove(self, ticket: Waiter) -> None:
        """Let ``ticket`` wait no more."""
        if not ticket.waits:
            return
        ticket.waits = False
        self._count -= 1
        self.work_s = self.work_s - ticket.work_s if self._count else 0.0
        self._lanes[ticket.lane, ticket.kind].count -= 1

        while self._by_age and not self._by_age[0].waits:
            self._by_age.popleft()
        if not self._count and len(self._lanes) > MAX_IDLE_LANES:
            self._lanes.clear()
            self._used_s.clear()

    def move_out(self, condition: Callable[[Waiter], bool]) -> list[Waiter]:
        """Take out all who meet ``condition``, to wait elsewhere; return them by age."""
        movers = [ticket for ticket in self if condition(ticket)]
        for ticket in movers:
            self.remove(ticket)

        for lane in self._lanes.values():
            lane.sweep()
        self._by_age = deque(self)
        for ticket in movers:
            ticket.waits = True
        return movers

    def pop(self, now_s: float, may_go: Callable[[str], bool] = lambda kind: True) -> Waiter | None:
        """Start the next one: the policy's choice, or the oldest, when it is its turn.

        Only those whose kind ``may_go`` are considered.
        """
        if not self._count:
            return None
        lanes = [
            (self._used_s[tenant], lane)
            for (tenant, kind), lane in self._lanes.items()
            if lane.count and may_go(kind)
        ]
        if not lanes:
            return None

        ticket = oldest = next(ticket for ticket in self if may_go(ticket.kind))
        lost_patience = now_s - oldest.arrival_s >= self.fairness.patience_s
        if not lost_patience or self._starts_since_oldest < self.fairness.oldest_every - 1:
            least_s = min(used_s for used_s, _ in lanes)
            firsts = [lane.first(now_s, self.pace) for used_s, lane in lanes if used_s == least_s]
            ticket = min(firsts, key=lambda first: first.rank(now_s))

        self._starts_since_oldest = 0 if ticket is oldest else self._starts_since_oldest + 1
        self.start(ticket)
        return ticket

    def start(self, ticket: Waiter) -> None:
        """Take out ``ticket`` at its lane's expense."""
        ticket.charged_s = ticket.work_s / ticket.weight
        self._used_s[ticket.lane] += ticket.charged_s
        self.remove(ticket)

    def next_in_lane(self, ticket: Waiter, now_s: float, count: int) -> list[Waiter]:
        """Return who of the lane of ``ticket``, which has started, comes next; they stay."""
        return self._lanes[ticket.lane, ticket.kind].next(now_s, count)

    def settle(self, ticket: Waiter, work_s: float) -> None:
        """Charge ``work_s``, what ``ticket`` needed, in place of what was predicted; once."""
        if ticket.lane in self._used_s and ticket.charged_s:
            self._used_s[ticket.lane] += work_s / ticket.weight - ticket.charged_s
            ticket.charged_s = 0.0
