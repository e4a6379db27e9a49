"""Replicas that fail and come back: what ran there starts again elsewhere, nothing is lost.

An engine that plans ahead fails at the end of the step that executes: its tokens were counted when
the step after it was planned.
"""

from __future__ import annotations

from headway.sim.compile import compiled, rarely
from headway.sim.preemption import note_pause, tokens_since
from headway.sim.queue import peek, remove
from headway.sim.steps import apply, settle
from headway.sim.world import DECODING, NEVER, NONE, OutageState, ReplicaState, Table, World


@rarely
def failure_ns(w: World, replica: ReplicaState, now: int) -> int:
    """Return when a replica that should fail at ``now`` does: then, or when its step ends."""
    if not w.rules.asynchronous:
        return now
    if replica.num_steps == 0:
        return max(now, replica.end_ns)
    passed_ns = max(now - replica.start_ns, 0)
    steps = (passed_ns + replica.step_ns - 1) // replica.step_ns
    return replica.start_ns + steps * replica.step_ns


@rarely
def postpone(outages: Table[OutageState], at: int, until_ns: int) -> None:
    """Let failure ``at``, and what follows it on its replica, not happen before ``until_ns``."""
    for k in range(at, len(outages)):
        if outages[k].replica == outages[at].replica:
            outages[k].at_ns = max(outages[k].at_ns, until_ns)

    # Keep them in time order, by insertion.
    for last in range(at + 1, len(outages)):
        k = last
        while k > at and outages[k].at_ns < outages[k - 1].at_ns:
            _swap(outages[k], outages[k - 1])
            k -= 1


@compiled
def _swap(a: OutageState, b: OutageState) -> None:
    at_ns, replica, fails = a.at_ns, a.replica, a.fails
    a.at_ns, a.replica, a.fails = b.at_ns, b.replica, b.fails
    b.at_ns, b.replica, b.fails = at_ns, replica, fails


@rarely
def fail(w: World, replica: ReplicaState, now: int, lost: int) -> int:
    """Stop a replica at ``now``; return the list ``lost``, through ``next``, with its requests.

    Tokens that came out before stay out: a request goes on from there, its cache recomputed. Of
    what was planned, the steps that end by ``now`` count.
    """
    if replica.is_up == 0:
        return lost
    if replica.num_steps > 0 and replica.end_ns > now:
        replica.num_steps = max((now - replica.start_ns) // replica.step_ns, 0)
        replica.end_ns = replica.start_ns + replica.num_steps * replica.step_ns
    apply(w, replica)
    settle(w, replica, NEVER)

    # Whoever runs, oldest first, then whoever waits, in order.
    stack = w.stack[replica.number]
    for k in range(replica.stack_size):
        request = w.requests[stack[k]]
        if request.base == NEVER:
            continue
        tokens = tokens_since(w, replica, stack[k])
        request.key -= w.rules.key_per_token * tokens
        if request.computed_tokens == DECODING:
            request.produced_tokens += tokens - 1
            request.lost_ns -= now
            request.is_paused = 1
            note_pause(w, replica, stack[k])
        request.num_preemptions += 1
        request.base = NEVER
        lost = _drop(w, stack[k], lost)
    while replica.num_waiting > 0:
        i = peek(w, replica, now)
        if i == NONE:
            break
        remove(w, replica, i)
        lost = _drop(w, i, lost)

    _clear(w, replica)
    return lost


@compiled
def _drop(w: World, i: int, lost: int) -> int:
    """Let ``i`` start again, and put it in front of the list ``lost``; return the list."""
    request = w.requests[i]
    request.computed_tokens = 0
    request.carried_tokens = 0
    w.kept[i].holders = NONE
    request.todo_tokens = request.prompt_tokens + request.produced_tokens
    request.next = lost
    return i


@compiled
def _clear(w: World, replica: ReplicaState) -> None:
    """Leave a replica down, with nothing in it."""
    replica.is_up = 0
    replica.clock = NEVER
    replica.num_steps = 0
    replica.num_decodes = 0
    replica.num_running = 0
    replica.num_completions = 0
    replica.num_finishing = 0
    replica.num_joined = 0
    replica.stack_size = 0
    replica.partial = NONE
    replica.swap_ns = 0
    replica.output_tokens = 0
    replica.prompt_tokens = 0
    replica.load = 0

    replica.kv_tokens = 0
    replica.base_squares = 0
    replica.free_blocks = replica.num_blocks
    replica.cached_blocks = 0
    replica.oldest_block = NONE
    replica.newest_block = NONE
    w.phases[replica.number, :] = 0
    blocks = w.blocks[replica.number]
    for h in range(len(blocks)):
        blocks[h].holders = NONE


@rarely
def restore(replica: ReplicaState) -> None:
    """Let a replica serve again, its cache empty."""
    replica.is_up = 1
