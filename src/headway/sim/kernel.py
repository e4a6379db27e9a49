"""The event loop: arrivals, transfers, failures and the steps of every replica, in time order.

At equal times a failure comes first, then a transfer, then an arrival, then the replicas by number:
a step that is planned at an instant sees all that arrived by then.
"""

from __future__ import annotations

from headway.sim.compile import compiled
from headway.sim.failure import fail, failure_ns, postpone, restore
from headway.sim.memory import cached_prefix
from headway.sim.queue import enqueue
from headway.sim.replica import cut_short, plan
from headway.sim.steps import apply, received
from headway.sim.world import NEVER, NONE, ReplicaState, World


@compiled
def run(w: World) -> int:
    """Serve all requests; return how many events that took."""
    requests, replicas, outages = w.requests, w.replicas, w.outages
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


@compiled
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
    scores the first from ``turn`` on.
    """
    count = len(w.replicas)
    best, min_score = NONE, 0.0
    for k in range(count):
        r = turn + k - count if turn + k >= count else turn + k
        if not _may_serve(w, w.replicas[r], i):
            continue
        if not w.rules.scored:
            return r
        score = _score(w, w.replicas[r], i, now)
        if best == NONE or score < min_score:
            best, min_score = r, score
    return best


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
    # Requests that are through count no more, though the replica has not looked yet.
    num_requests, tokens = replica.num_running + replica.num_waiting, replica.predicted_tokens
    ended = w.ended[replica.number]
    for k in range(replica.num_ended):
        request = w.requests[ended[k]]
        if request.last_ns < now:
            num_requests -= 1
            tokens -= request.predicted_tokens

    score = w.rules.per_request * num_requests + w.rules.per_token * tokens
    if w.rules.per_hit != 0.0 and w.rules.prefix_cache:
        score -= w.rules.per_hit * (cached_prefix(w, replica, i) * w.rules.hash_tokens)
    return score
