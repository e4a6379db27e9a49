"""The queue of a pool: ordered by a policy, shared between tenants, and nobody waits for ever.

The policy gives a request its key once, when it arrives. Keys that fall along lines of different
slope are sorted anew now and then, never longer than a fiftieth of the time.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from time import perf_counter
from typing import Generic, TypeVar

import numpy as np

from headway.gateway.config import Fairness

RESORT_S = 0.1
RESORT_PAUSE = 50  # pauses last so many times what sorting took
MAX_IDLE_LANES = 1000


@dataclass(slots=True, eq=False)
class Ticket:
    """A place in the queue.

    Attributes:
        arrival_s: on the loop's clock.
        key, slope: the policy's; the smallest ``key + slope * now`` goes first.
        lane: the tenant, where tenants share; else empty.
        work_s: predicted seconds of service.
        weight: of the tenant.
        number: in the order of arrival, among equal keys; 0 before it waits in a queue.
        waits: false once it has started or gone.
        charged_s: of virtual time to its lane, once it was started.

    """

    arrival_s: float
    key: float = 0.0
    slope: float = 0.0
    lane: str = ""
    work_s: float = 1.0
    weight: float = 1.0
    number: int = 0
    waits: bool = True
    charged_s: float = 0.0

    def rank(self, now_s: float) -> tuple[float, float, int]:
        """Return what the policy's order sorts by."""
        return self.key + self.slope * now_s, self.arrival_s, self.number


Waiter = TypeVar("Waiter", bound=Ticket)


@dataclass(slots=True)
class _Lane(Generic[Waiter]):
    """One tenant's queue."""

    heap: list[tuple[float, float, int, Waiter]] = field(default_factory=list)
    ordered: list[Waiter] = field(default_factory=list)  # the next one last
    sorted_s: float = -math.inf
    sort_cost_s: float = 0.0
    slope: float | None = None
    moving: bool = False
    used_s: float = 0.0  # virtual time: seconds of service over weight
    count: int = 0

    def push(self, ticket: Waiter, now_s: float) -> None:
        # Keys move against each other only where slopes differ.
        if self.count == 0:
            self.heap.clear()
            self.ordered.clear()
            self.slope, self.moving = ticket.slope, False
        elif ticket.slope != self.slope and not self.moving:
            self.moving = True
            self.sorted_s = -math.inf

        self.count += 1
        key = ticket.key + (ticket.slope * now_s if self.moving else 0.0)
        heapq.heappush(self.heap, (key, ticket.arrival_s, ticket.number, ticket))

    def first(self, now_s: float) -> Waiter:
        """Return the policy's choice; there must be one."""
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
        work_s: predicted seconds of service of all who wait.

    """

    def __init__(self, fairness: Fairness) -> None:
        """Nobody waits yet."""
        self.fairness = fairness
        self.work_s = 0.0
        self._lanes: dict[str, _Lane[Waiter]] = {}
        self._by_age: deque[Waiter] = deque()
        self._starts_since_oldest = 0
        self._number = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Waiter]:
        """By age."""
        return (ticket for ticket in self._by_age if ticket.waits)

    def in_order(self, now_s: float) -> list[Waiter]:
        """Return all who wait as the policy orders them now."""
        return sorted(self, key=lambda ticket: ticket.rank(now_s))

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
        name = ticket.lane if self.fairness.by_tenant else ""
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = _Lane()
        if lane.count == 0:
            # Whoever was away has saved nothing up.
            busy = [other.used_s for other in self._lanes.values() if other.count]
            lane.used_s = max(lane.used_s, min(busy, default=lane.used_s))

        self._number += 1
        ticket.number, ticket.lane = self._number, name
        self._count += 1
        self.work_s += ticket.work_s
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
        self._lanes[ticket.lane].count -= 1

        while self._by_age and not self._by_age[0].waits:
            self._by_age.popleft()
        if not self._count and len(self._lanes) > MAX_IDLE_LANES:
            self._lanes.clear()

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

    def pop(self, now_s: float) -> Waiter | None:
        """Start the next one: the policy's choice, or the oldest, when it is its turn."""
        if not self._count:
            return None

        oldest = self._by_age[0]
        lost_patience = now_s - oldest.arrival_s >= self.fairness.patience_s
        if lost_patience and self._starts_since_oldest >= self.fairness.oldest_every - 1:
            ticket = oldest
        else:
            busy = (lane for lane in self._lanes.values() if lane.count)
            ticket = min(busy, key=lambda lane: lane.used_s).first(now_s)

        self._starts_since_oldest = 0 if ticket is oldest else self._starts_since_oldest + 1
        self.start(ticket)
        return ticket

    def start(self, ticket: Waiter) -> None:
        """Take out ``ticket`` at its lane's expense."""
        ticket.charged_s = ticket.work_s / ticket.weight
        self._lanes[ticket.lane].used_s += ticket.charged_s
        self.remove(ticket)

    def next_in_lane(self, ticket: Waiter, now_s: float, count: int) -> list[Waiter]:
        """Return who of the lane of ``ticket``, which has started, comes next; they stay."""
        return self._lanes[ticket.lane].next(now_s, count)

    def settle(self, ticket: Waiter, work_s: float) -> None:
        """Charge ``work_s``, what ``ticket`` needed, in place of what was predicted; once."""
        lane = self._lanes.get(ticket.lane)
        if lane is not None and ticket.charged_s:
            lane.used_s += work_s / ticket.weight - ticket.charged_s
            ticket.charged_s = 0.0
