"""Replicas that fail and come back: what ran there starts again elsewhere, nothing is lost.

An engine that plans ahead fails at the end of the step that executes: its tokens were counted when
the step after it was planned.
"""

from __future__ import annotations

from headway.sim.compile import compiled
from headway.sim.preemption import leave, produced_since
from headway.sim.queue import peek, remove
from headway.sim.state import (
    ASYNCHRONOUS,
    BASE_,
    BLOCK_SHIFT,
    CACHED,
    CAPACITY,
    CARRIED_,
    CLOCK,
    COMPLETIONS,
    COMPUTED_,
    DECODES,
    DECODING,
    END,
    FINISHING,
    FREE,
    HOLDERS,
    JOINED,
    KEY,
    KV,
    LOST_,
    LRU_NEW,
    LRU_OLD,
    NEVER,
    NEXT_,
    NONE,
    NUMBER,
    ORDER,
    PARTIAL,
    PHASES_AT,
    PREEMPTIONS_,
    PRODUCED_,
    PROGRESS,
    PROMPT_,
    RUNNING,
    STACK,
    STACK_AT,
    START,
    STEP_NS,
    STEPS,
    TODO_,
    UP,
    WAITING,
    WORK,
    Ints,
    World,
)
from headway.sim.steps import apply, settle


@compiled
def step_end(row: Ints, rules: Ints, now: int) -> int:
    """When a replica that should fail at ``now`` does: then, or when its step under way ends."""
    if not rules[ASYNCHRONOUS]:
        return now
    if row[STEPS] == 0:
        return int(max(now, row[END]))
    passed = max(now - row[START], 0)
    return int(row[START] + (passed + row[STEP_NS] - 1) // row[STEP_NS] * row[STEP_NS])


@compiled
def postpone(outages: Ints, at: int, until: int) -> None:
    """Let the failure in row ``at``, and what follows it there, not happen before ``until``."""
    for k in range(at, len(outages)):
        if outages[k, 1] == outages[at, 1]:
            outages[k, 0] = max(outages[k, 0], until)
    for last in range(at + 1, len(outages)):
        k = last
        while k > at and outages[k, 0] < outages[k - 1, 0]:
            for column in range(3):
                moved = outages[k, column]
                outages[k, column] = outages[k - 1, column]
                outages[k - 1, column] = moved
            k -= 1


@compiled
def fail(w: World, row: Ints, now: int, lost: int) -> int:
    """Stop a replica at ``now``; return the list ``lost``, through `next`, with its requests.

    Tokens that came out before stay out: a request goes on from there, its cache recomputed. Of
    what was planned, the steps that end by ``now`` count.
    """
    q, keys, blocks, rules, weights = w.q, w.keys, w.blocks[row[NUMBER]], w.rules, w.weights
    if row[UP] == 0:
        return lost
    if row[STEPS] > 0 and row[END] > now:
        row[STEPS] = max((now - row[START]) // row[STEP_NS], 0)
        row[END] = row[START] + row[STEPS] * row[STEP_NS]
    apply(w, row)
    settle(w, row, NEVER)
    for k in range(row[STACK]):
        i = row[row[STACK_AT] + k]
        if q[i, BASE_] == NEVER:
            continue
        since = produced_since(q, row, i)
        keys[i, KEY] -= weights[PROGRESS] * since
        if q[i, COMPUTED_] == DECODING:
            q[i, PRODUCED_] += since - 1
            q[i, LOST_] -= now
            leave(q, row, i)
        q[i, PREEMPTIONS_] += 1
        q[i, BASE_] = NEVER
        lost = _drop(q, i, lost)
    while row[WAITING] > 0:
        i = peek(q, keys, row, rules[ORDER], now)
        remove(q, keys, row, rules[ORDER], i)
        lost = _drop(q, i, lost)
    for field in (COMPLETIONS, DECODES, FINISHING, JOINED, KV, RUNNING, STACK, WORK, CACHED):
        row[field] = 0
    row[STEPS] = row[UP] = 0
    for field in (LRU_NEW, LRU_OLD, PARTIAL):
        row[field] = NONE
    row[CLOCK] = NEVER
    row[FREE] = row[CAPACITY]
    row[PHASES_AT : PHASES_AT + (1 << rules[BLOCK_SHIFT])] = 0
    blocks[:, HOLDERS] = NONE
    return lost


@compiled
def _drop(q: Ints, i: int, lost: int) -> int:
    q[i, COMPUTED_] = 0
    q[i, CARRIED_] = 0
    q[i, TODO_] = q[i, PROMPT_] + q[i, PRODUCED_]
    q[i, NEXT_] = lost
    return i


@compiled
def restore(row: Ints) -> None:
    """Let a replica serve again, its cache empty."""
    row[UP] = 1
