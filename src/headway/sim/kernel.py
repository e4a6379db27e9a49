"""The event loop: arrivals, transfers, failures and the steps of every replica, in time order.

At equal times a failure comes first, then a transfer, then an arrival, then the replicas by number:
a step that is planned at an instant sees all that arrived by then.
"""

from __future__ import annotations

from headway.sim import prefix as cache
from headway.sim.compile import compiled
from headway.sim.failure import fail, postpone, restore, step_end
from headway.sim.queue import enqueue
from headway.sim.replica import cut_short, plan
from headway.sim.state import (
    ARRIVAL_,
    CARRIED_,
    CLOCK,
    DECODE_POOL,
    ENDED,
    ENDED_AT,
    HASH_TOKENS,
    LAST_,
    NEVER,
    NEXT_,
    NONE,
    ORDER,
    PER_HIT,
    PER_REQUEST,
    PER_TOKEN,
    POOL,
    POOL_,
    PREDICTED_,
    PREFILL_POOL,
    PREFIXES,
    READY_,
    ROUTED,
    RUNNING,
    SCORED,
    STEPS,
    UP,
    WAITING,
    WORK,
    Ints,
    World,
)
from headway.sim.steps import apply
from headway.sim.transfer import received


@compiled
def _may_serve(q: Ints, row: Ints, rules: Ints, i: int) -> bool:
    if row[UP] == 0:
        return False
    pool = q[i, POOL_]
    if rules[PREFILL_POOL] != NONE:
        pool = rules[DECODE_POOL] if q[i, CARRIED_] > 0 else rules[PREFILL_POOL]
    return bool(pool in (NONE, row[POOL]))


@compiled
def _reversed(q: Ints, first: int) -> int:
    turned = NONE
    while first != NONE:
        after = q[first, NEXT_]
        q[first, NEXT_] = turned
        turned = first
        first = after
    return turned


@compiled
def _score(w: World, row: Ints, i: int, now: int) -> float:
    q, rules, weights = w.q, w.rules, w.weights
    requests, work = row[RUNNING] + row[WAITING], row[WORK]
    for k in range(row[ENDED]):  # through, though the replica has not looked yet
        j = row[row[ENDED_AT] + k]
        if q[j, LAST_] < now:
            requests -= 1
            work -= q[j, PREDICTED_]
    score = weights[PER_REQUEST] * requests + weights[PER_TOKEN] * work
    if weights[PER_HIT] != 0.0 and rules[PREFIXES]:
        hits = cache.matched(w, row, i) * rules[HASH_TOKENS]
        score -= weights[PER_HIT] * hits
    return float(score)


@compiled
def _route(w: World, turn: int, i: int, now: int) -> int:
    """The replica for request ``i``, or NONE while all that may serve it are down.

    Round robin takes the next from ``turn`` on; otherwise the lowest score wins, and of equal
    scores the first from ``turn`` on.
    """
    q, rows, rules = w.q, w.rows, w.rules
    count = len(rows)
    best, least = NONE, 0.0
    for k in range(count):
        r = turn + k - count if turn + k >= count else turn + k
        if not _may_serve(q, rows[r], rules, i):
            continue
        if not rules[SCORED]:
            return r
        score = _score(w, rows[r], i, now)
        if best == NONE or score < least:
            best, least = r, score
    return best


@compiled
def _deliver(w: World, turn: int, i: int, now: int) -> int:
    """Send request ``i`` to a replica at ``now``; return the next turn, NONE if none is up."""
    q, keys, rows, rules = w.q, w.keys, w.rows, w.rules
    r = _route(w, turn, i, now) if len(rows) > 1 else 0
    if r == NONE or rows[r, UP] == 0:
        return NONE
    row = rows[r]
    enqueue(q, keys, row, rules[ORDER], r, i, now)
    row[ROUTED] += 1
    if row[CLOCK] == NEVER:
        row[CLOCK] = now
    elif row[STEPS] > 1:
        cut_short(row, rules, now)
    return int(r + 1 if r + 1 < len(rows) else 0)


@compiled
def run(w: World) -> int:
    """Serve all requests; return how many events that took."""
    q, rows, moving, outages = w.q, w.rows, w.moving, w.outages
    next_request, next_outage, turn, events = 0, 0, 0, 0
    held = NONE  # requests that wait for a replica to come up: a list through NEXT_
    while True:
        r, soonest = 0, rows[0, CLOCK]
        for k in range(1, len(rows)):
            if rows[k, CLOCK] < soonest:
                r, soonest = k, rows[k, CLOCK]
        events += 1
        arrival = q[next_request, ARRIVAL_] if next_request < len(q) else NEVER
        transfer = q[moving[1], READY_] if moving[0] > 0 else NEVER
        outage = outages[next_outage, 0] if next_outage < len(outages) else NEVER
        now = min(min(arrival, transfer), min(outage, soonest))
        if now == NEVER:
            return events
        sent = NONE  # a list of requests that need a replica now
        if now == outage:
            k = outages[next_outage, 1]
            until = step_end(rows[k], w.rules, now)
            if outages[next_outage, 2] and until > now:
                postpone(outages, next_outage, until)
                continue
            sent, held = held, NONE
            if outages[next_outage, 2]:
                sent = fail(w, rows[k], now, sent)
            else:
                restore(rows[k])
            next_outage += 1
            sent = _reversed(q, sent)  # those that waited longest go first
        elif now == transfer:
            sent = received(w)
            q[sent, NEXT_] = NONE
        elif now == arrival:
            sent = next_request
            next_request += 1
        else:
            apply(w, rows[r])
            plan(w, rows[r], now)
        while sent != NONE:
            i = sent
            sent = q[i, NEXT_]
            next_turn = _deliver(w, turn, i, now)
            if next_turn == NONE:
                q[i, NEXT_] = held
                held = i
            else:
                turn = next_turn
