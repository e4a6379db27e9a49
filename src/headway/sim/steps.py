"""What a planned step does when it ends: tokens appear, requests end and give back their blocks."""

from __future__ import annotations

from headway.sim import prefix as cache
from headway.sim.compile import compiled
from headway.sim.completions import LOW, push_completion, remove_completion
from headway.sim.gaps import count_gaps, move_gap
from headway.sim.memory import blocks_needed, give_back, phase_of
from headway.sim.state import (
    BASE_,
    BUSY_NS,
    COMPLETIONS,
    COMPUTED_,
    DECODE_TOKENS,
    DECODES,
    DECODING,
    END,
    ENDED,
    ENDED_AT,
    FINISHING,
    FINISHING_AT,
    FIRST_,
    FREE,
    HEAP_AT,
    JOINED,
    JOINED_AT,
    KV,
    LAST_,
    LEAST_FREE,
    LEFT_,
    LOST_,
    NEVER,
    NONE,
    OUTPUT_,
    PHASES_AT,
    POOL,
    PREDICTED_,
    PREEMPTIONS_,
    PREFILL_POOL,
    PREFIXES,
    PRODUCED_,
    PROMPT_,
    RUNNING,
    STEP_NS,
    STEP_NUMBER,
    STEPS,
    STEPS_DONE,
    TODO_,
    WORK,
    Ints,
    World,
)
from headway.sim.transfer import forget, send


@compiled
def apply(w: World, row: Ints) -> None:
    """Let what was planned happen: tokens appear, requests end, prefills become decodes."""
    q, rules = w.q, w.rules
    steps = row[STEPS]
    if steps == 0:
        return
    row[STEPS] = 0
    end = row[END]
    row[STEPS_DONE] += steps
    row[BUSY_NS] += steps * row[STEP_NS]
    decodes = row[DECODES]
    if decodes > 0:
        if steps > 1:
            row[FREE] -= blocks_needed(row, rules, row[STEP_NUMBER] + 1, steps - 1)
            row[LEAST_FREE] = min(row[LEAST_FREE], row[FREE])
            if rules[PREFIXES]:
                cache.evict(w, row)
        row[KV] += decodes * steps
        row[DECODE_TOKENS] += decodes * steps
        count_gaps(w.gaps, row[STEP_NS], decodes * steps)
    first = end - (steps - 1) * row[STEP_NS]
    for k in range(row[JOINED]):
        i = row[row[JOINED_AT] + k]
        move_gap(w.gaps, row[STEP_NS], first - q[i, LEFT_])
    row[JOINED] = 0
    row[STEP_NUMBER] += steps
    number = row[STEP_NUMBER]
    heap = row[HEAP_AT]
    while row[COMPLETIONS] > 0 and row[heap] >> 32 <= number:
        i = row[heap] & LOW
        remove_completion(row, 0)
        row[DECODES] -= 1
        row[KV] -= q[i, BASE_] + number
        row[PHASES_AT + phase_of(rules, q[i, BASE_])] -= 1
        q[i, PRODUCED_] = q[i, OUTPUT_]
        _end(q, row, i, end)
    for k in range(row[FINISHING]):
        i = row[row[FINISHING_AT] + k]
        q[i, PRODUCED_] += 1
        if q[i, FIRST_] == NONE:
            q[i, FIRST_] = end
        else:
            count_gaps(w.gaps, end - q[i, LEFT_], 1)
            if q[i, PREEMPTIONS_] > 0:
                q[i, LOST_] += end
        if q[i, PRODUCED_] >= q[i, OUTPUT_] or (
            rules[PREFILL_POOL] != NONE and row[POOL] == rules[PREFILL_POOL]
        ):
            _end(q, row, i, end)
        else:
            start_decoding(q, row, rules, i)
    row[FINISHING] = 0


@compiled
def _end(q: Ints, row: Ints, i: int, end: int) -> None:
    """Request ``i`` is through at ``end``; its slot and blocks are given back when that is seen."""
    q[i, LAST_] = end
    row[row[ENDED_AT] + row[ENDED]] = i
    row[ENDED] += 1


@compiled
def start_decoding(q: Ints, row: Ints, rules: Ints, i: int) -> None:
    """Request ``i`` has its prompt in the cache and decodes from the next step on."""
    base = q[i, TODO_] - row[STEP_NUMBER]
    q[i, BASE_] = base
    q[i, COMPUTED_] = DECODING
    row[KV] += q[i, TODO_]
    row[DECODES] += 1
    row[PHASES_AT + phase_of(rules, base)] += 1
    last_step = row[STEP_NUMBER] + q[i, OUTPUT_] - q[i, PRODUCED_]
    push_completion(row, (last_step << 32) | i)


@compiled
def settle(w: World, row: Ints, now: int) -> None:
    """Give back what requests that ended by ``now`` held."""
    q = w.q
    kept = 0
    for k in range(row[ENDED]):
        i = row[row[ENDED_AT] + k]
        if q[i, LAST_] > now:
            row[row[ENDED_AT] + kept] = i
            kept += 1
            continue
        # The last token was never fed back, so it is not in the cache.
        ctx = q[i, PROMPT_] + q[i, PRODUCED_] - 1
        give_back(w, row, i, ctx)
        row[RUNNING] -= 1
        row[WORK] -= q[i, PREDICTED_]
        q[i, BASE_] = NEVER  # no longer running: the stack of admissions forgets it
        if q[i, PRODUCED_] < q[i, OUTPUT_]:
            forget(row, i)
            send(w, i)
    row[ENDED] = kept
