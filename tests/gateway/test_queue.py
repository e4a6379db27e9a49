"""Who waits: the policy's order, shares between tenants, and the bound on starvation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.gateway.config import Fairness
from headway.gateway.scheduler.queue import PoolQueue
from headway.gateway.scheduler.ticket import Ticket
from headway.schedule.due import Dues


def drained(queue: PoolQueue[Ticket], now_s: float = 0.0) -> list[Ticket]:
    found = []
    while (ticket := queue.pop(now_s)) is not None:
        found.append(ticket)
    return found


@given(st.lists(st.tuples(st.floats(-9, 9), st.sampled_from([-2.0, -0.5, 0.0])), max_size=60))
def test_it_takes_out_in_the_order_of_the_keys_at_that_moment(
    keys: list[tuple[float, float]],
) -> None:
    queue: PoolQueue[Ticket] = PoolQueue(Fairness(patience_s=1e4))
    for key, slope in keys:
        queue.push(Ticket(0.0, key, slope), 0.0)
    now_s = 3.0
    values = [ticket.key + ticket.slope * now_s for ticket in drained(queue, now_s)]
    assert values == sorted(values)
    assert len(values) == len(keys)
    assert len(queue) == 0


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from([-1.0, 0.0])), max_size=40),
    st.integers(1, 50),
    st.booleans(),
)
def test_positions_are_those_of_the_ranks(
    keys: list[tuple[int, float]], count: int, odd_only: bool
) -> None:
    queue: PoolQueue[Ticket] = PoolQueue(Fairness())
    for i, (key, slope) in enumerate(keys):
        queue.push(Ticket(float(i // 3), float(key), slope), 0.0)

    ranked = list(enumerate(sorted(queue, key=lambda ticket: ticket.rank(2.0))))
    if odd_only:
        expected = [place for place in ranked if place[1].number % 2]
        assert queue.in_order(2.0, count, lambda ticket: ticket.number % 2 > 0) == expected[:count]
    else:
        assert queue.in_order(2.0, count) == ranked[:count]


def test_lines_that_cross_while_waiting_change_places() -> None:
    queue: PoolQueue[Ticket] = PoolQueue(Fairness(patience_s=1e4))
    slow, fast = Ticket(0.0, 0.0, -1.0), Ticket(0.0, 5.0, -10.0)
    for ticket in (slow, fast):
        queue.push(ticket, 0.0)
    assert queue.pop(10.0) is fast


def test_equal_keys_go_by_arrival() -> None:
    queue: PoolQueue[Ticket] = PoolQueue(Fairness())
    tickets = [Ticket(float(i)) for i in range(10)]
    for ticket in tickets:
        queue.push(ticket, 0.0)
    assert drained(queue) == tickets


def test_whoever_is_removed_never_comes_out() -> None:
    queue: PoolQueue[Ticket] = PoolQueue(Fairness())
    tickets = [Ticket(float(i), -float(i)) for i in range(10)]
    for ticket in tickets:
        queue.push(ticket, 0.0)
    for ticket in tickets[::2]:
        queue.remove(ticket)
        queue.remove(ticket)  # the second time changes nothing
    assert drained(queue) == tickets[9::-2]


@settings(deadline=None)
@given(st.integers(0, 30), st.integers(1, 6), st.floats(0, 20), st.integers(0, 2**32 - 1))
def test_the_bound_on_starvation_holds(
    older: int, every: int, patience_s: float, seed: int
) -> None:
    """With n older ones waiting, a request starts within patience plus every * (n + 1) starts.

    The policy is as hostile as can be: whatever arrives later is always put before.
    """
    random = np.random.default_rng(seed)
    queue: PoolQueue[Ticket] = PoolQueue(Fairness(patience_s, every))
    victims = [Ticket(0.0, 1e6 + i) for i in range(older + 1)]
    for ticket in victims:
        queue.push(ticket, 0.0)
    last = victims[-1]
    now_s, starts_after = 0.0, 0
    while last.waits:
        now_s += float(random.exponential(1.0))
        for _ in range(int(random.integers(1, 4))):
            queue.push(Ticket(now_s, -now_s, float(random.choice([0.0, -1.0]))), now_s)
        queue.pop(now_s)
        starts_after += now_s - last.arrival_s >= patience_s
        assert starts_after <= every * (older + 1)


def test_tenants_share_by_weight_however_much_one_asks() -> None:
    queue: PoolQueue[Ticket] = PoolQueue(Fairness(patience_s=1e4, by_tenant=True))
    for i in range(400):
        queue.push(Ticket(0.0, float(i), lane="many", work_s=1.0 / 3.0), 0.0)
    for i in range(100):
        queue.push(Ticket(0.0, float(i), lane="few", work_s=1.0), 0.0)
    first = [queue.pop(0.0) for _ in range(80)]
    assert sum(t is not None and t.lane == "few" for t in first) == pytest.approx(20, abs=1)


def test_whoever_was_away_has_saved_nothing_up() -> None:
    queue: PoolQueue[Ticket] = PoolQueue(Fairness(patience_s=1e4, by_tenant=True))
    for _ in range(100):
        queue.push(Ticket(0.0, lane="old"), 0.0)
    for _ in range(50):
        queue.pop(0.0)
    for _ in range(50):
        queue.push(Ticket(0.0, lane="new"), 0.0)
    first = [queue.pop(0.0) for _ in range(20)]
    assert sum(t is not None and t.lane == "new" for t in first) == pytest.approx(10, abs=1)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.floats(0.01, 10)), min_size=2, max_size=120),
    st.tuples(*[st.floats(0.2, 5)] * 3),
)
@settings(max_examples=150)
def test_tenants_are_never_further_apart_than_their_largest_requests(
    requests: list[tuple[int, float]], weights: tuple[float, float, float]
) -> None:
    queue: PoolQueue[Ticket] = PoolQueue(Fairness(patience_s=1e4, by_tenant=True))
    left = [0, 0, 0]
    largest = [0.0, 0.0, 0.0]
    for tenant, work_s in requests:
        queue.push(Ticket(0.0, lane=str(tenant), work_s=work_s, weight=weights[tenant]), 0.0)
        left[tenant] += 1
        largest[tenant] = max(largest[tenant], work_s / weights[tenant])
    given_s = [0.0, 0.0, 0.0]
    there = [tenant for tenant in range(3) if left[tenant]]
    while all(left[tenant] for tenant in there):
        ticket = queue.pop(0.0)
        assert ticket is not None
        tenant = int(ticket.lane)
        left[tenant] -= 1
        given_s[tenant] += ticket.work_s / weights[tenant]
        for one in there:
            for other in there:
                bound_s = largest[one] + largest[other]
                assert abs(given_s[one] - given_s[other]) <= bound_s * (1 + 1e-9)


def test_whoever_needed_more_than_predicted_pays_for_it() -> None:
    queue: PoolQueue[Ticket] = PoolQueue(Fairness(patience_s=1e4, by_tenant=True))
    for lane in "aabb":
        queue.push(Ticket(0.0, lane=lane), 0.0)
    first = queue.pop(0.0)
    assert first is not None
    queue.settle(first, 10.0)
    queue.settle(first, 10.0)  # only once
    assert [ticket.lane for ticket in drained(queue)] == ["b", "b", "a"]


def test_whoever_waits_elsewhere_from_now_on_leaves_no_trace() -> None:
    queue: PoolQueue[Ticket] = PoolQueue(Fairness(patience_s=0.0, oldest_every=1))
    tickets = [Ticket(float(i), -float(i)) for i in range(10)]
    for ticket in tickets:
        queue.push(ticket, 0.0)
    movers = queue.move_out(lambda ticket: ticket.number % 2 == 0)
    assert movers == tickets[1::2]
    assert queue.work_s == pytest.approx(5.0)
    other: PoolQueue[Ticket] = PoolQueue(Fairness(patience_s=0.0, oldest_every=1))
    there = Ticket(4.0)
    other.push(there, 0.0)
    for ticket in movers:
        other.push(ticket, 0.0)  # it keeps its age
    assert drained(other, 100.0) == [tickets[1], tickets[3], there, *tickets[5::2]]
    assert drained(queue, 100.0) == tickets[::2]


def test_only_those_whose_engine_has_room_go_and_the_order_holds_among_them() -> None:
    queue: PoolQueue[Ticket] = PoolQueue(Fairness())
    tickets = [Ticket(float(n), key=key, kind=kind) for n, (key, kind) in
               enumerate([(3.0, "a"), (1.0, "b"), (2.0, "a"), (0.0, "b"), (5.0, "a")])]  # fmt: skip
    for ticket in tickets:
        queue.push(ticket, 0.0)
    order = [queue.pop(0.0, lambda kind: kind == "a") for _ in range(4)]
    assert order == [tickets[2], tickets[0], tickets[4], None]
    assert [queue.pop(0.0), queue.pop(0.0), queue.pop(0.0)] == [tickets[3], tickets[1], None]


@given(st.lists(st.tuples(st.floats(-9, 9), st.booleans(), st.booleans()), max_size=60))
def test_whoever_comes_back_waits_once(steps: list[tuple[float, bool, bool]]) -> None:
    queue: PoolQueue[Ticket] = PoolQueue(Fairness(patience_s=0.0, oldest_every=2))
    waiting: set[int] = set()
    tickets: list[Ticket] = []
    for key, takes, returns in steps:
        ticket = Ticket(float(len(tickets)), key)
        tickets.append(ticket)
        queue.push(ticket, 0.0)
        waiting.add(id(ticket))
        if not takes:
            continue
        popped = queue.pop(1e3)
        assert popped is not None
        waiting.remove(id(popped))
        if returns:
            popped.waits = True
            queue.push(popped, 0.0)
            waiting.add(id(popped))
        assert len(queue) == len(waiting)
    assert sorted(map(id, drained(queue, 1e3))) == sorted(waiting)


@given(
    st.lists(
        st.tuples(st.floats(0, 50) | st.just(math.inf), st.floats(0.1, 10), st.floats(0, 100)),
        min_size=1,
        max_size=30,
    )
)
def test_who_can_start_in_time_goes_as_the_simulator_orders_it(
    rows: list[tuple[float, float, float]],
) -> None:
    queue: PoolQueue[Ticket] = PoolQueue(Fairness(patience_s=1e4))
    tickets = [Ticket(0.0, key=key, due_s=due_s, due_work_s=work_s) for due_s, work_s, key in rows]
    for ticket in tickets:
        queue.push(ticket, 0.0)
    columns = np.array([(ticket.due_s, ticket.due_work_s, 1.0) for ticket in tickets])
    in_time = Dues(columns[:, 0], columns[:, 1], columns[:, 2]).in_time(0.0)
    keys = [
        (0, t.due_s + t.due_work_s, t.number) if is_in else (1, t.key, t.number)
        for t, is_in in zip(tickets, in_time, strict=True)
    ]
    expected = [tickets[i] for i in sorted(range(len(tickets)), key=lambda i: keys[i])]
    assert drained(queue) == expected


def test_of_every_few_starts_one_goes_to_those_who_are_late() -> None:
    queue: PoolQueue[Ticket] = PoolQueue(Fairness(patience_s=1e4))
    queue.late_every = 3
    for n in range(6):
        queue.push(Ticket(0.0, key=float(n), due_s=100.0, due_work_s=0.1), 0.0)
    late = [Ticket(0.0, key=-1.0), Ticket(0.0, key=-0.5)]
    for ticket in late:
        queue.push(ticket, 0.0)
    order = drained(queue)
    assert order[2] is late[0]
    assert order[5] is late[1]


def test_who_could_not_be_in_time_beside_the_others_is_known_before_it_waits() -> None:
    queue: PoolQueue[Ticket] = PoolQueue(Fairness())
    queue.push(Ticket(0.0, due_s=1.0, due_work_s=5.0), 0.0)
    assert queue.cannot_be_in_time(Ticket(0.0, due_s=3.0, due_work_s=9.0), 0.0)
    assert not queue.cannot_be_in_time(Ticket(0.0, due_s=30.0, due_work_s=9.0), 0.0)
    assert not queue.cannot_be_in_time(Ticket(0.0), 0.0)
    queue.pace = 2.0
    assert not queue.cannot_be_in_time(Ticket(0.0, due_s=3.0, due_work_s=9.0), 0.0)
