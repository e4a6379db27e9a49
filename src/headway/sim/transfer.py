"""Caches on their way from the prefill to the decode pool: a heap by time of arrival."""

from __future__ import annotations

from headway.sim.compile import compiled
from headway.sim.world import NONE, ReplicaState, RequestState, Table, World


@compiled
def forget(w: World, replica: ReplicaState, i: int) -> None:
    """Take ``i`` off the stack: it will run again, elsewhere or even here."""
    stack, size = w.stack[replica.number], 0
    for k in range(replica.stack_size):
        if stack[k] != i:
            stack[size] = stack[k]
            size += 1
    replica.stack_size = size


@compiled
def send(w: World, i: int) -> None:
    """Let the cache of ``i`` leave for the decode pool."""
    request, heap = w.requests[i], w.transfers
    duration_ns = w.rules.transfer_fixed_ns
    duration_ns += w.rules.transfer_token_ps * request.prompt_tokens // 1000
    request.transfer_ns += duration_ns
    request.pause_ns = request.last_ns
    request.ready_ns = request.last_ns + duration_ns
    request.last_ns = NONE
    request.todo_tokens = request.prompt_tokens + request.produced_tokens - 1
    request.carried_tokens = request.todo_tokens

    at = heap[0]
    heap[0] += 1
    while at > 0:
        parent = (at - 1) >> 1
        if not _sooner(w.requests, i, heap[parent + 1]):
            break
        heap[at + 1] = heap[parent + 1]
        at = parent
    heap[at + 1] = i


@compiled
def _sooner(requests: Table[RequestState], i: int, j: int) -> bool:
    a, b = requests[i].ready_ns, requests[j].ready_ns
    return a < b or (a == b and i < j)


@compiled
def received(w: World) -> int:
    """Take the next request whose cache arrives out of the heap."""
    requests, heap = w.requests, w.transfers
    first, size = heap[1], heap[0] - 1
    heap[0] = size
    i, at = heap[size + 1], 0
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and _sooner(requests, heap[child + 2], heap[child + 1]):
            child += 1
        if not _sooner(requests, heap[child + 1], i):
            break
        heap[at + 1] = heap[child + 1]
        at = child
    heap[at + 1] = i
    return int(first)
