"""One engine: continuous batching as in vLLM V1, a constant amount of work per planned step.

Per step: every decoding sequence gets a token, then the prefill that was cut off continues, then
waiting requests are admitted while slots, tokens and blocks last. When the decodes need more
blocks than are free, the latest admission (or, by key, the largest key) is preempted: its cache is
dropped and recomputed later. Nothing is admitted in a step that preempted.

No loop runs over the batch: `KV` is the sum of the caches, `phases` counts the decodes by the step
at which each fills its block, completions wait in a heap under the number of their last step. Steps
that only decode and cost the same are planned together.
"""

from __future__ import annotations

from headway.sim import prefix as cache
from headway.sim.admission import admit, continue_prefill
from headway.sim.compile import compiled
from headway.sim.memory import blocks_needed
from headway.sim.preemption import preempt, standing, take_back, worst_place
from headway.sim.queue import peek
from headway.sim.state import (
    ASYNCHRONOUS,
    BLOCK_SHIFT,
    BUDGET,
    BY_LINE,
    CLOCK,
    COMPUTED_,
    DECODES,
    DECODING,
    END,
    ENDED,
    FREE,
    HEAP_AT,
    IDLE_VIOLATIONS,
    JUMPS,
    KEY,
    KV,
    LEAST_FREE,
    NEVER,
    NONE,
    ORDER,
    OVERTAKE,
    PARTIAL,
    POOL,
    PREFIXES,
    RUNNING,
    SHIFT,
    SLOTS,
    STACK_AT,
    START,
    STEP_NS,
    STEP_NUMBER,
    STEPS,
    WAITING,
    Ints,
    World,
)
from headway.sim.steps import settle
from headway.sim.times import decode_ns, mixed_ns


@compiled
def plan(w: World, row: Ints, now: int) -> None:
    """Plan the next step of a replica, or a run of equal ones, and set its clock."""
    q, keys, rules = w.q, w.keys, w.rules
    if row[ENDED]:
        settle(w, row, now)
    preempted = False
    if row[DECODES] > 0:
        need = blocks_needed(row, rules, row[STEP_NUMBER], 1)
        while need > row[FREE]:
            place = worst_place(w, row)
            preempt(w, row, place, now)
            preempted = True
            need = blocks_needed(row, rules, row[STEP_NUMBER], 1)
        row[FREE] -= need
        if rules[PREFIXES]:
            cache.evict(w, row)
    budget = row[BUDGET] - row[DECODES]
    new = 0
    pairs = 0
    if row[PARTIAL] != NONE:
        new, pairs, stopped = continue_prefill(w, row, budget, now)
        budget -= new
        preempted = preempted or stopped
    blocked = False
    if not preempted and row[PARTIAL] == NONE:
        while row[WAITING] > 0 and budget > 0 and row[PARTIAL] == NONE:
            i = peek(q, keys, row, rules[ORDER], now)
            if row[RUNNING] < row[SLOTS]:
                chunk, scored = admit(w, row, i, budget, now)
                if chunk >= 0:
                    new += chunk
                    pairs += scored
                    budget -= max(chunk, 1)
                    continue
                blocked = True
            if not rules[OVERTAKE]:
                break
            place = worst_place(w, row)
            j = row[row[STACK_AT] + place]
            if place == NONE or keys[i, KEY] >= standing(w, row, j):
                break
            take_back(q, row, rules, j)
            budget += q[j, COMPUTED_] == DECODING
            preempt(w, row, place, now)
    _launch(w, row, now, new, pairs, blocked)


@compiled
def _launch(w: World, row: Ints, now: int, new: int, pairs: int, blocked: bool) -> None:
    """Set duration, end and clock of what was planned."""
    rules, decode_table, mixed_table = w.rules, w.decode_table, w.mixed_table
    row[LEAST_FREE] = min(row[LEAST_FREE], row[FREE])
    decodes = row[DECODES]
    start = max(now, row[END])
    if new == 0 and decodes == 0:
        # Nothing to execute. Ended requests may still hold what the next one waits for.
        busy = row[END] > now
        row[CLOCK] = row[END] if busy and (row[WAITING] > 0 or row[ENDED] > 0) else NEVER
        row[IDLE_VIOLATIONS] += row[WAITING] > 0 and not busy
        return
    row[JUMPS] += 1
    steps = 1
    if new > 0:
        step_ns = mixed_ns(mixed_table, row[POOL], decodes, row[KV], new, pairs)
    else:
        step_ns = decode_ns(decode_table, row[POOL], row[SHIFT], decodes, row[KV])
        steps = (row[row[HEAP_AT]] >> 32) - row[STEP_NUMBER]
        if rules[ASYNCHRONOUS] and row[WAITING] > 0 and row[ENDED] > 0:
            steps = 1
        if blocked and rules[ORDER] == BY_LINE:  # another request may come to the front, and fit
            steps = 1
        edge = ((row[KV] >> row[SHIFT]) + 1) << row[SHIFT]
        steps = min(steps, (edge - row[KV] + decodes - 1) // decodes)
        if steps > 1:
            rest = row[FREE]
            if rest < decodes * (((steps - 1) >> rules[BLOCK_SHIFT]) + 1) and (
                blocks_needed(row, rules, row[STEP_NUMBER] + 1, steps - 1) > rest
            ):
                steps = 1
    row[START] = start
    row[STEP_NS] = step_ns
    row[STEPS] = steps
    row[END] = start + steps * step_ns
    row[CLOCK] = row[END] - step_ns if rules[ASYNCHRONOUS] else row[END]


@compiled
def cut_short(row: Ints, rules: Ints, now: int) -> None:
    """End a run of equal steps where a request that arrives at ``now`` can be looked at."""
    steps = row[STEPS]
    if steps <= 1 or (row[RUNNING] >= row[SLOTS] and not rules[OVERTAKE]):
        return
    passed = now - row[START]
    wanted = (passed + row[STEP_NS] - 1) // row[STEP_NS] if passed > 0 else 0
    wanted = max(1, wanted + rules[ASYNCHRONOUS])
    if wanted < steps:
        row[STEPS] = wanted
        row[END] = row[START] + wanted * row[STEP_NS]
        row[CLOCK] = row[END] - row[STEP_NS] if rules[ASYNCHRONOUS] else row[END]
