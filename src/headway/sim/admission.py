"""Prompts enter a step: the one that was cut off goes on, waiting requests start if they fit."""

from __future__ import annotations

from headway.sim import prefix as cache
from headway.sim.compile import compiled
from headway.sim.memory import blocks_of, hashed_blocks
from headway.sim.preemption import preempt, take_back, worst_place
from headway.sim.queue import remove
from headway.sim.state import (
    ADMITTED_,
    BASE_,
    CACHED_,
    CARRIED_,
    CHUNKED,
    COMPUTED_,
    FINISHING,
    FINISHING_AT,
    FREE,
    HASH_BLOCKS,
    HASH_TOKENS,
    HIT_TOKENS,
    JOINED,
    JOINED_AT,
    NEVER,
    NONE,
    ORDER,
    PARTIAL,
    PREFILL_TOKENS,
    PREFILLED,
    PREFIXES,
    RESERVE,
    RUNNING,
    SLOTS,
    STACK,
    STACK_AT,
    TODO_,
    Ints,
    World,
)
from headway.sim.steps import start_decoding


@compiled
def continue_prefill(w: World, row: Ints, budget: int, now: int) -> tuple[int, int, bool]:
    """Give the cut-off prefill its share; return tokens, scored pairs, whether it was preempted."""
    q, rules = w.q, w.rules
    i = row[PARTIAL]
    done = q[i, COMPUTED_]
    chunk = min(q[i, TODO_] - done, budget)
    if chunk <= 0:
        return 0, 0, False
    more = blocks_of(rules, done + chunk) - blocks_of(rules, done)
    stopped = False
    while more > row[FREE]:
        place = worst_place(w, row)
        j = row[row[STACK_AT] + place]
        stopped = True
        take_back(q, row, rules, j)
        preempt(w, row, place, now)
        if j == i:
            return 0, 0, True
    row[FREE] -= more
    _computed(w, row, i, done + chunk)
    return chunk, chunk * done + chunk * (chunk + 1) // 2, stopped


@compiled
def admit(w: World, row: Ints, i: int, budget: int, now: int) -> tuple[int, int]:
    """Start request ``i`` if it fits; return its tokens of this step, or -1, and scored pairs."""
    q, keys, rules = w.q, w.keys, w.rules
    todo, done, reused, hits = q[i, TODO_], q[i, CARRIED_], 0, 0
    if rules[PREFIXES] and done == 0:
        hits = cache.matched(w, row, i)
        done = hits * rules[HASH_TOKENS]
        reused = cache.unused(w, row, i, hits) * rules[HASH_BLOCKS]
    chunk = min(todo - done, budget)
    if not rules[CHUNKED]:
        if chunk < todo - done and row[FINISHING] > 0:
            return -1, 0
        chunk = todo - done
    if chunk == 0:  # it comes with its cache, and decodes in this very step
        here = blocks_of(rules, todo + 1)
        whole = here
    else:
        here = blocks_of(rules, done + chunk) - blocks_of(rules, done) + reused
        whole = blocks_of(rules, todo) - blocks_of(rules, done) + reused
    if (whole if rules[RESERVE] else here) > row[FREE]:
        return -1, 0
    remove(q, keys, row, rules[ORDER], i)
    row[RUNNING] += 1
    row[FREE] -= here
    _admit_to_stack(q, row, i)
    q[i, BASE_] = 0
    if q[i, ADMITTED_] == NONE:
        q[i, ADMITTED_] = now
        q[i, CACHED_] = done
    row[HIT_TOKENS] += done if q[i, CARRIED_] == 0 else 0
    q[i, COMPUTED_] = 0
    if hits > 0:
        cache.hold(w, row, i, 0, hits)
    q[i, COMPUTED_] = done
    if chunk == 0:
        if rules[PREFIXES]:
            count = hashed_blocks(q, rules, i, todo)
            row[FREE] += cache.hold(w, row, i, 0, count)
            cache.evict(w, row)
        start_decoding(q, row, rules, i)
        row[row[JOINED_AT] + row[JOINED]] = i
        row[JOINED] += 1
        return 0, 0
    _computed(w, row, i, done + chunk)
    return chunk, chunk * done + chunk * (chunk + 1) // 2


@compiled
def _computed(w: World, row: Ints, i: int, tokens: int) -> None:
    """Note that the prefill of ``i`` reaches ``tokens`` with the step that is being planned."""
    q, rules = w.q, w.rules
    if rules[PREFIXES]:
        start = hashed_blocks(q, rules, i, q[i, COMPUTED_])
        stop = hashed_blocks(q, rules, i, tokens)
        row[FREE] += cache.hold(w, row, i, start, stop)
        cache.evict(w, row)
    row[PREFILL_TOKENS] += tokens - q[i, COMPUTED_]
    q[i, COMPUTED_] = tokens
    if tokens == q[i, TODO_]:
        q[i, COMPUTED_] = PREFILLED
        row[row[FINISHING_AT] + row[FINISHING]] = i
        row[FINISHING] += 1
        row[PARTIAL] = NONE
    else:
        row[PARTIAL] = i


@compiled
def _admit_to_stack(q: Ints, row: Ints, i: int) -> None:
    stack = row[STACK_AT]
    if row[STACK] == 2 * row[SLOTS]:
        kept = 0
        for k in range(stack, stack + row[STACK]):
            if q[row[k], BASE_] != NEVER:
                row[stack + kept] = row[k]
                kept += 1
        row[STACK] = kept
    row[stack + row[STACK]] = i
    row[STACK] += 1
