"""Waiting requests of one replica, linked through the requests themselves.

`FIFO` and `BY_LINE` are doubly linked lists, `BY_KEY` is a pairing heap (Fredman et al. 1986) in
the same two fields: ``next`` is a node's first child, ``previous`` its next sibling. Ties go to
the earlier arrival, whose number is smaller.
"""

from __future__ import annotations

from headway.sim.compile import compiled
from headway.sim.world import BY_KEY, BY_LINE, NONE, ReplicaState, RequestState, Table, World


@compiled
def _meld(requests: Table[RequestState], a: int, b: int) -> int:
    """Join two heaps; return the root."""
    key_a, key_b = requests[a].key, requests[b].key
    if key_b < key_a or (key_b == key_a and b < a):
        a, b = b, a
    requests[b].previous = requests[a].next
    requests[a].next = b
    return a


@compiled
def push(w: World, replica: ReplicaState, i: int, first: bool) -> None:
    """Let ``i`` wait at ``replica``; in an unordered queue ahead of all others if ``first``."""
    requests = w.requests
    replica.num_waiting += 1
    requests[i].next = NONE
    requests[i].previous = NONE

    head = replica.head
    if head == NONE:
        replica.head = i
        replica.tail = i
    elif w.rules.order == BY_KEY:
        replica.head = _meld(requests, head, i)
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
    if w.rules.order == BY_KEY:
        replica.head = _meld_siblings(requests, requests[i].next)
        return

    before, after = requests[i].previous, requests[i].next
    if before == NONE:
        replica.head = after
    else:
        requests[before].next = after
    if after == NONE:
        replica.tail = before
    else:
        requests[after].previous = before


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
        i = _meld(requests, i, j)
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
        root = _meld(requests, root, i)
        i = rest
    return root


@compiled
def enqueue(w: World, replica: ReplicaState, i: int, now: int) -> None:
    """Let request ``i`` join the end of the queue of ``replica`` at ``now``."""
    w.requests[i].ready_ns = now
    w.requests[i].replica = replica.number
    replica.predicted_tokens += w.requests[i].predicted_tokens
    push(w, replica, i, False)
