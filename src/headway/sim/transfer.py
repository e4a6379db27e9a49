"""Caches on their way from the prefill to the decode pool: a heap by time of arrival."""

from __future__ import annotations

from headway.sim.compile import compiled
from headway.sim.state import (
    CARRIED_,
    LAST_,
    LEFT_,
    MOVED_,
    NONE,
    PRODUCED_,
    PROMPT_,
    READY_,
    STACK,
    STACK_AT,
    TODO_,
    TRANSFER_FIXED_NS,
    TRANSFER_TOKEN_PS,
    Ints,
    World,
)


@compiled
def forget(row: Ints, i: int) -> None:
    """Take ``i`` off the stack: it will run again, elsewhere or even here."""
    kept, stack = 0, row[STACK_AT]
    for k in range(stack, stack + row[STACK]):
        if row[k] != i:
            row[stack + kept] = row[k]
            kept += 1
    row[STACK] = kept


@compiled
def send(w: World, i: int) -> None:
    """The cache of ``i`` leaves for the decode pool: a heap by time of arrival."""
    q, rules, moving = w.q, w.rules, w.moving
    duration = rules[TRANSFER_FIXED_NS] + rules[TRANSFER_TOKEN_PS] * q[i, PROMPT_] // 1000
    q[i, MOVED_] += duration
    q[i, LEFT_] = q[i, LAST_]
    q[i, READY_] = q[i, LAST_] + duration
    q[i, LAST_] = NONE
    q[i, TODO_] = q[i, PROMPT_] + q[i, PRODUCED_] - 1
    q[i, CARRIED_] = q[i, TODO_]
    at = moving[0]
    moving[0] += 1
    while at > 0:
        parent = (at - 1) >> 1
        if not _sooner(q, i, moving[parent + 1]):
            break
        moving[at + 1] = moving[parent + 1]
        at = parent
    moving[at + 1] = i


@compiled
def _sooner(q: Ints, i: int, j: int) -> bool:
    return bool(q[i, READY_] < q[j, READY_] or (q[i, READY_] == q[j, READY_] and i < j))


@compiled
def received(w: World) -> int:
    """Take the next arrival out of the heap of transfers."""
    q, moving = w.q, w.moving
    first, size = moving[1], moving[0] - 1
    moving[0] = size
    i, at = moving[size + 1], 0
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and _sooner(q, moving[child + 2], moving[child + 1]):
            child += 1
        if not _sooner(q, moving[child + 1], i):
            break
        moving[at + 1] = moving[child + 1]
        at = child
    moving[at + 1] = i
    return int(first)
