"""Waiting requests of one replica, linked through the requests themselves.

`FIFO` and `BY_LINE` are doubly linked lists, `BY_KEY` is a pairing heap (Fredman et al. 1986) in
the same two fields: ``next`` is a node's first child, ``previous`` its next sibling. `BY_DUE` is
such a heap for those who cannot be in time, and `headway.sim.due` for the others. Ties go to the
earlier arrival, whose number is smaller.
"""

from __future__ import annotations

from headway.sim.compile import compiled
from headway.sim.due import choose_in_time, insert_due, meld, remove_due, unlink
from headway.sim.world import (
    BY_DUE,
    BY_KEY,
    BY_LINE,
    NEVER,
    NONE,
    ReplicaState,
    RequestState,
    Table,
    World,
)


@compiled
def push(w: World, replica: ReplicaState, i: int, first: bool) -> None:
    """Let ``i`` wait at ``replica``; in an unordered queue ahead of all others if ``first``."""
    requests = w.requests
    replica.num_waiting += 1
    requests[i].next = NONE
    requests[i].previous = NONE
    if w.rules.order == BY_DUE and requests[i].due_ns != NEVER:
        insert_due(w, replica, i)
        return

    head = replica.head
    if head == NONE:
        replica.head = i
        replica.tail = i
    elif w.rules.order == BY_KEY or w.rules.order == BY_DUE:
        replica.head = meld(requests, head, i)
    elif first:
        requests[i].next = head
        requests[head].previous = i
        replica.head = i
    else:
        requests[replica.tail].next = i
        requests[i].previous = replica.tail
        replica.tail = i


@compiled
def peek(w: World, replica: ReplicaState, now: int) -> int:
    """Return the request that goes next at ``now``, or NONE."""
    best = replica.head
    if w.rules.order == BY_DUE:
        if replica.due_head == NONE:
            return best
        if now > replica.recheck_ns:
            choose_in_time(w, replica, now)
        every = w.rules.late_every
        turn_of_late = every > 0 and replica.head != NONE and replica.num_starts % every == 0
        return replica.head if replica.due_head == NONE or turn_of_late else replica.due_head
    if w.rules.order != BY_LINE or best == NONE:
        return best

    # Keys move along lines, so the smallest changes with time: look at all.
    now_s = now * 1e-9
    min_key = w.requests[best].key + w.requests[best].slope * now_s
    i = w.requests[best].next
    while i != NONE:
        key = w.requests[i].key + w.requests[i].slope * now_s
        if key < min_key or (key == min_key and i < best):
            best, min_key = i, key
        i = w.requests[i].next
    return best


@compiled
def remove(w: World, replica: ReplicaState, i: int) -> None:
    """Take ``i``, which `peek` returned, out of the queue."""
    requests = w.requests
    replica.num_waiting -= 1
    replica.num_starts += 1
    if requests[i].is_due:
        remove_due(w, replica, i)
        return
    if w.rules.order == BY_KEY or w.rules.order == BY_DUE:
        replica.head = _meld_siblings(requests, requests[i].next)
        return

    before, after = unlink(requests, i)
    if before == NONE:
        replica.head = after
    if after == NONE:
        replica.tail = before


@compiled
def _meld_siblings(requests: Table[RequestState], i: int) -> int:
    """Meld a list of siblings in two passes; return the root, NONE of no sibling."""
    # From the first to the last, in pairs: the pairs form a list in reverse.
    pairs = NONE
    while i != NONE:
        j = requests[i].previous
        if j == NONE:
            requests[i].previous = pairs
            pairs = i
            break
        rest = requests[j].previous
        requests[i].previous = NONE
        requests[j].previous = NONE
        i = meld(requests, i, j)
        requests[i].previous = pairs
        pairs = i
        i = rest
    if pairs == NONE:
        return NONE

    # From the last pair to the first, into one.
    root = pairs
    i = requests[root].previous
    requests[root].previous = NONE
    while i != NONE:
        rest = requests[i].previous
        requests[i].previous = NONE
        root = meld(requests, root, i)
        i = rest
    return root


@compiled
def enqueue(w: World, replica: ReplicaState, i: int, now: int) -> None:
    """Let request ``i`` join the end of the queue of ``replica`` at ``now``."""
    w.requests[i].ready_ns = now
    w.requests[i].replica = replica.number
    replica.output_tokens += w.requests[i].predicted_tokens - w.requests[i].produced_tokens
    replica.prompt_tokens += w.requests[i].todo_tokens - w.requests[i].carried_tokens
    replica.load += w.requests[i].load
    push(w, replica, i, False)
