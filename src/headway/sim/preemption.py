"""Who loses its place when memory runs out, or when somebody with a smaller key waits."""

from __future__ import annotations

from headway.sim.compile import compiled
from headway.sim.completions import LOW, remove_completion
from headway.sim.memory import fills, give_back, phase_of
from headway.sim.queue import push
from headway.sim.state import (
    BASE_,
    BY_LARGEST,
    CARRIED_,
    COMPLETIONS,
    COMPUTED_,
    DECODES,
    DECODING,
    END,
    FREE,
    HEAP_AT,
    KEY,
    KV,
    LAST_,
    LEFT_,
    LOST_,
    NEVER,
    NONE,
    ORDER,
    PARTIAL,
    PHASES_AT,
    PREEMPTIONS,
    PREEMPTIONS_,
    PREFILLED,
    PRODUCED_,
    PROGRESS,
    PROMPT_,
    RUNNING,
    STACK,
    STACK_AT,
    STEP_NUMBER,
    TODO_,
    Ints,
    World,
)


@compiled
def standing(w: World, row: Ints, i: int) -> float:
    """The key of a running request: it falls as tokens are produced."""
    q, keys, weights = w.q, w.keys, w.weights
    if weights[PROGRESS] == 0.0:
        return float(keys[i, KEY])
    return float(keys[i, KEY] - weights[PROGRESS] * produced_since(q, row, i))


@compiled
def produced_since(q: Ints, row: Ints, i: int) -> int:
    """Tokens that a running request produced since it was admitted."""
    if q[i, COMPUTED_] != DECODING:
        return 0
    return int(q[i, BASE_] + row[STEP_NUMBER] - q[i, TODO_] + 1)


@compiled
def worst_place(w: World, row: Ints) -> int:
    """Where in the stack the running request stands that is preempted first, or NONE."""
    q, rules = w.q, w.rules
    stack = row[STACK_AT]
    worst = NONE
    for k in range(row[STACK] - 1, -1, -1):
        i = row[stack + k]
        ended = q[i, BASE_] == NEVER or q[i, LAST_] != NONE
        if ended or q[i, COMPUTED_] == PREFILLED:
            continue
        if worst == NONE:
            worst = k
            if not rules[BY_LARGEST]:
                break
        key, most = (
            standing(w, row, i),
            standing(w, row, row[stack + worst]),
        )
        if key > most or (key == most and i > row[stack + worst]):
            worst = k
    return worst


@compiled
def preempt(w: World, row: Ints, place: int, now: int) -> int:
    """Drop the cache of the request at ``place`` in the stack and let it wait; return it."""
    q, keys, rules, weights = w.q, w.keys, w.rules, w.weights
    stack = row[STACK_AT]
    i = row[stack + place]
    for k in range(stack + place, stack + row[STACK] - 1):
        row[k] = row[k + 1]
    row[STACK] -= 1
    keys[i, KEY] -= weights[PROGRESS] * produced_since(q, row, i)
    if row[PARTIAL] == i:
        row[PARTIAL] = NONE
        ctx = q[i, COMPUTED_]
    else:
        ctx = q[i, BASE_] + row[STEP_NUMBER]
        leave(q, row, i)
        q[i, PRODUCED_] += produced_since(q, row, i) - 1
        row[DECODES] -= 1
        row[KV] -= ctx
        row[PHASES_AT + phase_of(rules, q[i, BASE_])] -= 1
        for k in range(row[COMPLETIONS]):
            if row[row[HEAP_AT] + k] & LOW == i:
                remove_completion(row, k)
                break
        q[i, LOST_] -= now
    q[i, COMPUTED_] = 0
    give_back(w, row, i, ctx)
    row[RUNNING] -= 1
    row[PREEMPTIONS] += 1
    q[i, PREEMPTIONS_] += 1
    q[i, BASE_] = NEVER
    q[i, TODO_] = q[i, PROMPT_] + q[i, PRODUCED_]
    q[i, CARRIED_] = 0
    push(q, keys, row, rules[ORDER], i, True)
    return int(i)


@compiled
def leave(q: Ints, row: Ints, i: int) -> None:
    """Note when the last token of decoding request ``i`` came out, before it stops running."""
    if q[i, CARRIED_] == 0 or produced_since(q, row, i) > 1:  # else it has not decoded here yet
        q[i, LEFT_] = row[END]


@compiled
def take_back(q: Ints, row: Ints, rules: Ints, i: int) -> None:
    """Take back the block that ``i`` got for the decode of the step that is being planned."""
    if q[i, COMPUTED_] == DECODING:
        row[FREE] += fills(q, row, rules, i)
