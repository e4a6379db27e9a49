"""One engine: continuous batching as in vLLM V1, a constant amount of work per planned step.

Per step: every decoding sequence gets a token, then the prefill that was cut off continues, then
waiting requests are admitted while slots, tokens and blocks last. When the decodes need more
blocks than are free, the latest admission (or, by key, the largest key) is preempted. Of its cache
it finds again what is not needed in between, or all on the host. Nothing is admitted in a step that
preempted for memory.

No loop runs over the batch: `kv_tokens` is the sum of the caches, `phases` counts the decodes by
the step at which each fills its block, completions wait in a heap under the number of their last
step. Steps that only decode and cost the same are planned together.
"""

from __future__ import annotations

from headway.sim.admission import NO_TOKENS, admit, continue_prefill
from headway.sim.compile import compiled
from headway.sim.memory import blocks_needed, evict
from headway.sim.preemption import place_for, place_to_preempt, preempt, take_back_block
from headway.sim.queue import peek
from headway.sim.steps import settle
from headway.sim.times import decode_ns, mixed_ns, spread_ns
from headway.sim.world import BY_DUE, BY_LINE, DECODING, NEVER, NONE, ReplicaState, World


@compiled
def plan(w: World, replica: ReplicaState, now: int) -> None:
    """Plan the next step of a replica, or a run of equal ones, and set its clock."""
    if replica.num_ended:
        settle(w, replica, now)

    # Decodes first: each needs a block where its last one is full.
    preempted = False
    if replica.num_decodes > 0:
        preempted = _make_room_for_decodes(w, replica, now)
    budget = replica.token_budget - replica.num_decodes

    # Then the prefill that was cut off.
    new = 0
    pairs = 0
    if replica.partial != NONE:
        new, pairs, stopped = continue_prefill(w, replica, budget, now)
        budget -= new
        preempted = preempted or stopped

    # Then those that wait, in order.
    blocked = False
    if not preempted and replica.partial == NONE:
        while replica.num_waiting > 0 and budget > 0 and replica.partial == NONE:
            i = peek(w, replica, now)
            if i == NONE:  # all that waited were refused
                break
            if replica.num_running < replica.slots:
                chunk, scored = admit(w, replica, i, budget, now)
                if chunk >= 0:
                    new += chunk
                    pairs += scored
                    budget -= max(chunk, 1)
                    continue
                blocked = True
                if chunk == NO_TOKENS:
                    break

            # No room: only a running request with a larger key makes way.
            place = place_for(w, replica, i, now)
            if place == NONE:
                break
            j = w.stack[replica.number, place]
            take_back_block(w, replica, j)
            budget += w.requests[j].computed_tokens == DECODING
            preempt(w, replica, place, now)
    _launch(w, replica, now, new, pairs, blocked)


@compiled
def _make_room_for_decodes(w: World, replica: ReplicaState, now: int) -> bool:
    """Reserve the blocks of the next decodes; return whether somebody was preempted for it."""
    preempted = False
    need = blocks_needed(w, replica, replica.step, 1)
    while need > replica.free_blocks:
        preempt(w, replica, place_to_preempt(w, replica, 0), now)
        preempted = True
        need = blocks_needed(w, replica, replica.step, 1)

    replica.free_blocks -= need
    if w.rules.keeps_cache:
        evict(w, replica)
    return preempted


@compiled
def _launch(w: World, replica: ReplicaState, now: int, new: int, pairs: int, blocked: bool) -> None:
    """Set duration, end and clock of a step with ``new`` prompt tokens, which score ``pairs``."""
    replica.min_free_blocks = min(replica.min_free_blocks, replica.free_blocks)
    decodes, kv_tokens = replica.num_decodes, replica.kv_tokens
    start_ns = max(now, replica.end_ns)

    # Nothing to execute: ended requests may still hold what the next one waits for.
    if new == 0 and decodes == 0:
        busy = replica.end_ns > now
        again = busy and (replica.num_waiting > 0 or replica.num_ended > 0)
        replica.clock = replica.end_ns if again else NEVER
        replica.idle_violations += replica.num_waiting > 0 and not busy
        return

    replica.num_plans += 1
    steps = 1
    if new > 0:
        step_ns = mixed_ns(w.mixed_table[replica.pool], decodes, kv_tokens, new, pairs)
    else:
        shift = replica.context_shift
        step_ns = decode_ns(w.decode_table[replica.pool], shift, decodes, kv_tokens) + spread_ns(
            w.spread_table[replica.pool],
            shift,
            decodes,
            kv_tokens,
            replica.base_squares,
            replica.step,
        )
        steps = _equal_steps(w, replica, blocked)
    if replica.swap_ns > 0:
        step_ns, steps = step_ns + replica.swap_ns, 1
        replica.swap_ns = 0

    replica.start_ns = start_ns
    replica.step_ns = step_ns
    _set_steps(w, replica, steps)


@compiled
def _equal_steps(w: World, replica: ReplicaState, blocked: bool) -> int:
    """Return how many steps from now on decode the same sequences in the same time."""
    # Where somebody may be admitted, or another request may come to the front and fit: one.
    if w.rules.asynchronous and replica.num_waiting > 0 and replica.num_ended > 0:
        return 1
    if blocked and (w.rules.order == BY_LINE or w.rules.order == BY_DUE):
        return 1

    # Until the next look at who makes way for whom, if anybody waits.
    quantum = w.rules.quantum
    to_next_look = NEVER
    if w.rules.overtakes and quantum > 1 and replica.num_waiting > 0:
        to_next_look = quantum - replica.step % quantum

    # Until the first of them ends, and until their cache outgrows its bucket of the table.
    decodes, kv_tokens = replica.num_decodes, replica.kv_tokens
    steps = (w.completions[replica.number, 0] >> 32) - replica.step
    edge = ((kv_tokens >> replica.context_shift) + 1) << replica.context_shift
    steps = min(min(steps, to_next_look), (edge - kv_tokens + decodes - 1) // decodes)

    # And only if there are blocks for all of them.
    if steps > 1:
        bound = decodes * (((steps - 1) >> w.rules.block_shift) + 1)
        if replica.free_blocks < bound and (
            blocks_needed(w, replica, replica.step + 1, steps - 1) > replica.free_blocks
        ):
            return 1
    return int(steps)


@compiled
def _set_steps(w: World, replica: ReplicaState, steps: int) -> None:
    """Set the number of planned steps, their end, and when the next one is planned."""
    replica.num_steps = steps
    replica.end_ns = replica.start_ns + steps * replica.step_ns
    ahead_ns = replica.step_ns if w.rules.asynchronous else 0
    replica.clock = replica.end_ns - ahead_ns


@compiled
def cut_short(w: World, replica: ReplicaState, now: int) -> None:
    """End a run of equal steps where a request that arrives at ``now`` can be looked at."""
    full = replica.num_running >= replica.slots and not w.rules.overtakes
    if replica.num_steps <= 1 or full:
        return
    passed_ns = now - replica.start_ns
    steps = (passed_ns + replica.step_ns - 1) // replica.step_ns if passed_ns > 0 else 0
    steps = max(1, steps + w.rules.asynchronous)
    if steps < replica.num_steps:
        _set_steps(w, replica, steps)
