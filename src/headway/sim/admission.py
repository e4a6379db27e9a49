"""Prompts enter a step: the one that was cut off goes on, waiting requests start if they fit."""

from __future__ import annotations

from headway.sim.compile import compiled
from headway.sim.memory import (
    blocks_of,
    cached_prefix,
    evict,
    forget_kept,
    hashed_blocks,
    hold,
    kept_blocks,
    unused_blocks,
)
from headway.sim.preemption import place_to_preempt, preempt, take_back_block
from headway.sim.queue import remove
from headway.sim.steps import start_decoding
from headway.sim.world import NEVER, NONE, PREFILLED, ReplicaState, World

NO_BLOCKS, NO_TOKENS = -1, -2  # why a request does not start


@compiled
def continue_prefill(
    w: World, replica: ReplicaState, budget: int, now: int
) -> tuple[int, int, bool]:
    """Give the cut-off prefill its share of ``budget``.

    Return tokens, scored pairs of query and key, and whether somebody was preempted for it.
    """
    i = replica.partial
    start = w.requests[i].computed_tokens
    chunk = min(w.requests[i].todo_tokens - start, budget)
    if chunk <= 0:
        return 0, 0, False

    need = blocks_of(w.rules, start + chunk) - blocks_of(w.rules, start)
    preempted = False
    while need > replica.free_blocks:
        place = place_to_preempt(w, replica, 0)
        j = w.stack[replica.number, place]
        preempted = True
        take_back_block(w, replica, j)
        preempt(w, replica, place, now)
        if j == i:
            return 0, 0, True

    replica.free_blocks -= need
    _extend_prefill(w, replica, i, start + chunk)
    return chunk, chunk * start + chunk * (chunk + 1) // 2, preempted


@compiled
def admit(w: World, replica: ReplicaState, i: int, budget: int, now: int) -> tuple[int, int]:
    """Start request ``i`` if it fits; return its tokens of this step, or why not, and pairs."""
    rules, request = w.rules, w.requests[i]

    # What is in the cache already: carried from the prefill pool, or a prefix that others left.
    todo, start, reused, hits = request.todo_tokens, request.carried_tokens, 0, 0
    if rules.prefix_cache and start == 0:
        hits = cached_prefix(w, replica, i)
        start = hits * rules.hash_tokens
        reused = unused_blocks(w, replica, i, hits) * rules.hash_blocks
    if rules.keeps_cache and request.carried_tokens == 0:
        own = kept_blocks(w, i, hits)
        start += own << rules.block_shift
        reused += own
    if request.carried_tokens > 0:  # it brings its cache, for which there must be room as well
        reused = blocks_of(rules, start)

    # How much of the rest is prefilled in this step.
    chunk = min(todo - start, budget)
    if not rules.chunked_prefill:
        if chunk < todo - start and replica.num_finishing > 0:
            return NO_TOKENS, 0
        chunk = todo - start

    # Whether there is memory for it.
    if chunk == 0:  # it comes with its cache, and decodes in this very step
        need = blocks_of(rules, todo + 1)
        need_whole = need
    else:
        need = blocks_of(rules, start + chunk) - blocks_of(rules, start) + reused
        need_whole = blocks_of(rules, todo) - blocks_of(rules, start) + reused
    if (need_whole if rules.reserve_full_prompt else need) > replica.free_blocks:
        return NO_BLOCKS, 0

    remove(w, replica, i)
    if rules.keeps_cache:
        forget_kept(w, replica, i)
    if rules.swap_token_ps != NONE and request.num_preemptions > 0:
        replica.swap_ns += request.carried_tokens * rules.swap_token_ps // 1000
    replica.num_running += 1
    replica.free_blocks -= need
    _push_to_stack(w, replica, i)
    request.base = 0
    if request.admitted_ns == NONE:
        request.admitted_ns = now
        request.cached_tokens = start
    if request.carried_tokens == 0:
        replica.hit_tokens += start
        replica.prompt_tokens -= start
    if hits > 0:
        hold(w, replica, i, 0, hits)
    if rules.prefix_cache and chunk > 0 and request.carried_tokens > 0:
        count = hashed_blocks(rules, request, start)
        replica.free_blocks += hold(w, replica, i, 0, count)
    request.computed_tokens = start

    if chunk == 0:
        if rules.prefix_cache:
            count = hashed_blocks(rules, request, todo)
            replica.free_blocks += hold(w, replica, i, 0, count)
        if rules.keeps_cache:
            evict(w, replica)
        start_decoding(w, replica, i)
        w.joined[replica.number, replica.num_joined] = i
        replica.num_joined += 1
        return 0, 0
    _extend_prefill(w, replica, i, start + chunk)
    return chunk, chunk * start + chunk * (chunk + 1) // 2


@compiled
def _extend_prefill(w: World, replica: ReplicaState, i: int, tokens: int) -> None:
    """Note that the prefill of ``i`` reaches ``tokens`` with the step that is being planned."""
    request = w.requests[i]
    if w.rules.prefix_cache:
        start = hashed_blocks(w.rules, request, request.computed_tokens)
        stop = hashed_blocks(w.rules, request, tokens)
        replica.free_blocks += hold(w, replica, i, start, stop)
    if w.rules.keeps_cache:
        evict(w, replica)

    replica.prefill_tokens += tokens - request.computed_tokens
    replica.prompt_tokens -= tokens - request.computed_tokens
    request.computed_tokens = tokens
    if tokens == request.todo_tokens:
        request.computed_tokens = PREFILLED
        w.finishing[replica.number, replica.num_finishing] = i
        replica.num_finishing += 1
        replica.partial = NONE
    else:
        replica.partial = i


@compiled
def _push_to_stack(w: World, replica: ReplicaState, i: int) -> None:
    """Put ``i`` on the stack of running requests, clearing away those that ended if it is full."""
    stack = w.stack[replica.number]
    if replica.stack_size == 2 * replica.slots:
        size = 0
        for k in range(replica.stack_size):
            if w.requests[stack[k]].base != NEVER:
                stack[size] = stack[k]
                size += 1
        replica.stack_size = size
    stack[replica.stack_size] = i
    replica.stack_size += 1
