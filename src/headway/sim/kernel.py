"""The event loop: arrivals, transfers, failures and the steps of every replica, in time order.

At equal times the autoscaler comes first, then a failure, a transfer, an arrival, and the replicas
by number: a step that is planned at an instant sees all that arrived by then.
"""

from __future__ import annotations

import numpy as np

from headway.sim.autoscale import look, scale, set_next
from headway.sim.compile import compiled, rarely
from headway.sim.failure import fail, failure_ns, postpone, restore
from headway.sim.memory import cached_prefix
from headway.sim.queue import enqueue
from headway.sim.replica import cut_short, plan
from headway.sim.steps import apply, num_requests, received
from headway.sim.world import NEVER, NONE, ROUND_ROBIN, TWO_CHOICES, ReplicaState, World


@compiled
def run(w: World) -> int:
    """Serve all requests; return how many events that took."""
    requests, replicas, outages, scaler = w.requests, w.replicas, w.outages, w.scaler[0]
    next_request, next_outage, turn, events = 0, 0, 0, 0
    homeless = NONE  # requests that wait for a replica to come up: a list through `next`
    while True:
        # What comes next.
        r, soonest = 0, replicas[0].clock
        for k in range(1, len(replicas)):
            if replicas[k].clock < soonest:
                r, soonest = k, replicas[k].clock
        events += 1
        arrival = requests[next_request].arrival_ns if next_request < len(requests) else NEVER
        transfer = requests[w.transfers[1]].ready_ns if w.transfers[0] > 0 else NEVER
        outage = outages[next_outage].at_ns if next_outage < len(outages) else NEVER
        now = min(min(arrival, transfer), min(outage, soonest))
        if now == NEVER:
            return events
        if scaler.next_ns <= now:
            scale(w, scaler.next_ns)
            continue

        first = NONE  # of a list of requests that need a replica now
        if now == outage:
            k, fails = outages[next_outage].replica, outages[next_outage].fails
            until_ns = failure_ns(w, replicas[k], now)
            if fails and until_ns > now:
                postpone(outages, next_outage, until_ns)
                continue
            first, homeless = homeless, NONE
            if fails:
                first = fail(w, replicas[k], now, first)
            else:
                restore(replicas[k])
            next_outage += 1
            first = _reversed(w, first)  # those that waited longest go first
        elif now == transfer:
            first = received(w)
            requests[first].next = NONE
        elif now == arrival:
            first = next_request
            next_request += 1
            if scaler.every_ns == 0:
                look(w, now, requests[first].load)
                set_next(w)
        else:
            apply(w, replicas[r])
            plan(w, replicas[r], now)

        while first != NONE:
            i = first
            first = requests[i].next
            next_turn = _deliver(w, turn, i, now)
            if next_turn == NONE:
                requests[i].next = homeless
                homeless = i
            else:
                turn = next_turn


@rarely
def _reversed(w: World, first: int) -> int:
    """Turn a list of requests around; return the one that is first then."""
    before = NONE
    while first != NONE:
        after = w.requests[first].next
        w.requests[first].next = before
        before = first
        first = after
    return before


@compiled
def _deliver(w: World, turn: int, i: int, now: int) -> int:
    """Send request ``i`` to a replica at ``now``; return the next turn, NONE if none is up."""
    r = _route(w, turn, i, now) if len(w.replicas) > 1 else 0
    if r == NONE or w.replicas[r].is_up == 0:
        return NONE

    replica = w.replicas[r]
    enqueue(w, replica, i, now)
    replica.num_routed += 1
    if replica.clock == NEVER:
        replica.clock = now
    elif replica.num_steps > 1:
        cut_short(w, replica, now)
    return r + 1 if r + 1 < len(w.replicas) else 0


@compiled
def _route(w: World, turn: int, i: int, now: int) -> int:
    """Return the replica for request ``i``, or NONE while all that may serve it are down.

    Round robin takes the next from ``turn`` on; otherwise the lowest score wins, and of equal
    scores the first from ``turn`` on. Two choices are drawn by the number of the request.
    """
    count = len(w.replicas)
    if w.rules.route == TWO_CHOICES:
        return int(_less_loaded(w, i, now))
    best, min_score = NONE, 0.0
    for k in range(count):
        r = turn + k - count if turn + k >= count else turn + k
        if not _may_serve(w, w.replicas[r], i):
            continue
        if w.rules.route == ROUND_ROBIN:
            return r
        score = _score(w, w.replicas[r], i, now)
        if best == NONE or score < min_score:
            best, min_score = r, score
    return best


@rarely
def _less_loaded(w: World, i: int, now: int) -> int:
    """Return the less loaded of two replicas drawn for ``i``, or NONE."""
    num_up = 0
    for replica in range(len(w.replicas)):
        num_up += _may_serve(w, w.replicas[replica], i)
    if num_up == 0:
        return NONE

    first, second = two_places(i, num_up)
    a, b, place = NONE, NONE, 0
    for r in range(len(w.replicas)):
        if _may_serve(w, w.replicas[r], i):
            a = r if place == first else a
            b = r if place == second else b
            place += 1
    return b if num_requests(w, w.replicas[b], now) < num_requests(w, w.replicas[a], now) else a


@compiled
def two_places(turn: int, count: int) -> tuple[int, int]:
    """Return what `headway.schedule.route.two_places` does."""
    z = (np.uint64(turn) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    first = int(z & np.uint64(0xFFFFFFFF)) % count
    second = int(z >> np.uint64(32)) % max(count - 1, 1)
    return first, second + (second >= first and count > 1)


@compiled
def _output_tokens(w: World, replica: ReplicaState, now: int) -> int:
    """Return the tokens that the requests of a replica are predicted to produce from ``now`` on."""
    tokens = replica.output_tokens
    ended = w.ended[replica.number]
    for k in range(replica.num_ended):
        request = w.requests[ended[k]]
        if request.last_ns < now:
            tokens -= request.predicted_tokens - request.produced_tokens

    # In the middle of a run of equal steps, some of them are through.
    passed_ns = now - replica.start_ns
    if replica.num_steps > 1 and passed_ns > 0:
        steps = (passed_ns - 1) // replica.step_ns + w.rules.asynchronous
        tokens -= replica.num_decodes * min(steps, replica.num_steps - 1)
    return tokens


@compiled
def _may_serve(w: World, replica: ReplicaState, i: int) -> bool:
    """Whether the replica is up, and of the pool that request ``i`` must go to."""
    pool = w.requests[i].pool
    if w.rules.prefill_pool != NONE:
        prefilled = w.requests[i].carried_tokens > 0
        pool = w.rules.decode_pool if prefilled else w.rules.prefill_pool
    return replica.is_up != 0 and pool in (NONE, replica.pool)


@compiled
def _score(w: World, replica: ReplicaState, i: int, now: int) -> float:
    """Return how little the replica suits request ``i``."""
    score = w.rules.per_request * num_requests(w, replica, now)
    score += w.rules.per_prompt_token * replica.prompt_tokens
    if w.rules.per_output_token != 0.0:
        score += w.rules.per_output_token * max(_output_tokens(w, replica, now), 0)
    if w.rules.per_hit != 0.0 and w.rules.prefix_cache:
        score -= w.rules.per_hit * (cached_prefix(w, replica, i) * w.rules.hash_tokens)
    return score
