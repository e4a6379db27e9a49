"""Waiting requests that are to start in time: `headway.schedule.due`, a little at a time.

They are a doubly linked list in the order in which their work is due. It is looked through only
after an arrival, or when a start has become late; whoever is given up joins the heap of the others.
"""

from __future__ import annotations

from headway.sim.compile import compiled, rarely
from headway.sim.world import NEVER, NONE, ReplicaState, RequestState, Table, World


@compiled
def meld(requests: Table[RequestState], a: int, b: int) -> int:
    """Join two heaps; return the root."""
    key_a, key_b = requests[a].key, requests[b].key
    if key_b < key_a or (key_b == key_a and b < a):
        a, b = b, a
    requests[b].previous = requests[a].next
    requests[a].next = b
    return a


@rarely
def insert_due(w: World, replica: ReplicaState, i: int) -> None:
    """Let ``i`` wait among those who are to start in time."""
    requests = w.requests
    requests[i].is_due = 1
    end_ns = requests[i].due_ns + requests[i].work_ns

    # Most arrive in the order of their due dates: look from the end.
    before = replica.due_tail
    while before != NONE:
        before_end_ns = requests[before].due_ns + requests[before].work_ns
        if before_end_ns < end_ns or (before_end_ns == end_ns and before < i):
            break
        before = requests[before].previous

    after = replica.due_head if before == NONE else requests[before].next
    requests[i].previous = before
    requests[i].next = after
    if before == NONE:
        replica.due_head = i
    else:
        requests[before].next = i
    if after == NONE:
        replica.due_tail = i
    else:
        requests[after].previous = i
    replica.recheck_ns = NONE


@compiled
def unlink(requests: Table[RequestState], i: int) -> tuple[int, int]:
    """Take ``i`` out of a doubly linked list; return its neighbours, NONE where there is none."""
    before, after = requests[i].previous, requests[i].next
    if before != NONE:
        requests[before].next = after
    if after != NONE:
        requests[after].previous = before
    return before, after


@rarely
def remove_due(w: World, replica: ReplicaState, i: int) -> None:
    """Take ``i`` out of those who are to start in time."""
    requests = w.requests
    requests[i].is_due = 0
    before, after = unlink(requests, i)
    if before == NONE:
        replica.due_head = after
    if after == NONE:
        replica.due_tail = before


@rarely
def choose_in_time(w: World, replica: ReplicaState, now: int) -> None:
    """Give up requests until all others can start in time, if work is done as it comes."""
    requests = w.requests
    ahead_ns = 0
    recheck_ns = NEVER
    i = replica.due_head
    while i != NONE:
        if requests[i].due_ns < now:  # it is late already, whoever else goes
            after = requests[i].next
            _give_up(w, replica, i)
            i = after
            continue

        # The one with the most work per value goes, until this one can start.
        while now + ahead_ns > requests[i].due_ns and requests[i].is_due:
            largest, k = i, requests[i].previous
            while k != NONE:
                if _is_larger(requests, k, largest):
                    largest = k
                k = requests[k].previous
            if largest != i:
                ahead_ns -= requests[largest].work_ns
                _give_up(w, replica, largest)
            else:
                break
        after = requests[i].next
        if now + ahead_ns > requests[i].due_ns:
            _give_up(w, replica, i)
        else:
            recheck_ns = min(recheck_ns, requests[i].due_ns - ahead_ns)
            ahead_ns += requests[i].work_ns
        i = after
    replica.recheck_ns = recheck_ns


@compiled
def _is_larger(requests: Table[RequestState], i: int, j: int) -> bool:
    a, b = requests[i].burden, requests[j].burden
    return a > b or (a == b and i < j)


@compiled
def _give_up(w: World, replica: ReplicaState, i: int) -> None:
    """Let ``i`` wait among those who cannot be in time, or refuse it."""
    requests = w.requests
    remove_due(w, replica, i)
    requests[i].due_ns = NEVER
    if w.rules.sheds and requests[i].admitted_ns == NONE:
        requests[i].is_shed = 1
        replica.num_waiting -= 1
        replica.output_tokens -= requests[i].predicted_tokens - requests[i].produced_tokens
        replica.prompt_tokens -= requests[i].todo_tokens - requests[i].carried_tokens
        replica.load -= requests[i].load
        return

    requests[i].next = NONE
    requests[i].previous = NONE
    replica.head = i if replica.head == NONE else meld(requests, replica.head, i)
