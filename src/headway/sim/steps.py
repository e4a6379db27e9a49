"""What a planned step does when it ends: tokens appear, requests end and give back their blocks."""

from __future__ import annotations

from headway.sim.compile import compiled, rarely
from headway.sim.gaps import count_gaps, move_gap
from headway.sim.memory import blocks_needed, evict, give_back, phase_of
from headway.sim.world import DECODING, NEVER, NONE, Ints, ReplicaState, RequestState, Table, World

LOW = (1 << 32) - 1  # the request in an entry of the heap of completions


@compiled
def apply(w: World, replica: ReplicaState) -> None:
    """Let what was planned happen: tokens appear, requests end, prefills become decodes."""
    steps = replica.num_steps
    if steps == 0:
        return
    replica.num_steps = 0
    replica.steps_done += steps
    replica.busy_ns += steps * replica.step_ns

    # Every decoding sequence gets a token per step, after the same gap.
    tokens = replica.num_decodes * steps
    if tokens > 0:
        if steps > 1:
            replica.free_blocks -= blocks_needed(w, replica, replica.step + 1, steps - 1)
            replica.min_free_blocks = min(replica.min_free_blocks, replica.free_blocks)
            if w.rules.keeps_cache:
                evict(w, replica)
        replica.kv_tokens += tokens
        replica.decode_tokens += tokens
        replica.output_tokens -= tokens
        count_gaps(w.gaps, replica.step_ns, tokens)

    # Requests that joined with their cache had their last token elsewhere, earlier.
    first_end_ns = replica.end_ns - (steps - 1) * replica.step_ns
    joined = w.joined[replica.number]
    for k in range(replica.num_joined):
        move_gap(w.gaps, replica.step_ns, first_end_ns - w.requests[joined[k]].pause_ns)
        _resume(w.requests[joined[k]], first_end_ns)
    replica.num_joined = 0

    replica.step += steps
    _complete(w, replica)
    _finish_prefills(w, replica)


@compiled
def _complete(w: World, replica: ReplicaState) -> None:
    """End the decodes whose last step this was."""
    heap = w.completions[replica.number]
    while replica.num_completions > 0 and heap[0] >> 32 <= replica.step:
        i = heap[0] & LOW
        request = w.requests[i]
        remove_completion(heap, replica, 0)
        replica.num_decodes -= 1
        replica.kv_tokens -= request.base + replica.step
        replica.base_squares -= request.base * request.base
        w.phases[replica.number, phase_of(w.rules, request.base)] -= 1
        request.produced_tokens = request.output_tokens
        _end(w, replica, i)


@compiled
def _finish_prefills(w: World, replica: ReplicaState) -> None:
    """Give the requests whose prompt is through a token, and let them decode or end."""
    finishing = w.finishing[replica.number]
    hands_over = w.rules.prefill_pool != NONE and replica.pool == w.rules.prefill_pool
    for k in range(replica.num_finishing):
        i = finishing[k]
        request = w.requests[i]
        request.produced_tokens += 1
        replica.output_tokens -= 1
        if request.first_ns == NONE:
            request.first_ns = replica.end_ns
        else:
            count_gaps(w.gaps, replica.end_ns - request.pause_ns, 1)
            _resume(request, replica.end_ns)

        if request.produced_tokens >= request.output_tokens or hands_over:
            _end(w, replica, i)
        else:
            start_decoding(w, replica, i)
    replica.num_finishing = 0


@compiled
def _resume(request: RequestState, now: int) -> None:
    """Note that a request has a token again, if it had lost its place."""
    if request.is_paused:
        request.lost_ns += now
        request.is_paused = 0


@compiled
def _end(w: World, replica: ReplicaState, i: int) -> None:
    """Note that ``i`` is through; its slot and blocks are given back when that is seen."""
    w.requests[i].last_ns = replica.end_ns
    w.ended[replica.number, replica.num_ended] = i
    replica.num_ended += 1


@compiled
def start_decoding(w: World, replica: ReplicaState, i: int) -> None:
    """Let request ``i``, whose prompt is in the cache, decode from the next step on."""
    request = w.requests[i]
    request.base = request.todo_tokens - replica.step
    request.computed_tokens = DECODING
    replica.kv_tokens += request.todo_tokens
    replica.base_squares += request.base * request.base
    replica.num_decodes += 1
    w.phases[replica.number, phase_of(w.rules, request.base)] += 1

    last_step = replica.step + request.output_tokens - request.produced_tokens
    _push_completion(w.completions[replica.number], replica, (last_step << 32) | i)


@compiled
def settle(w: World, replica: ReplicaState, now: int) -> None:
    """Give back what requests that ended by ``now`` held."""
    ended = w.ended[replica.number]
    later = 0
    for k in range(replica.num_ended):
        i = ended[k]
        request = w.requests[i]
        if request.last_ns > now:
            ended[later] = i
            later += 1
            continue

        # The last token was never fed back, so it is not in the cache.
        give_back(w, replica, i, request.prompt_tokens + request.produced_tokens - 1)
        replica.num_running -= 1
        replica.output_tokens -= request.predicted_tokens - request.produced_tokens
        replica.load -= request.load
        request.base = NEVER  # no longer running: the stack of admissions forgets it
        if request.produced_tokens < request.output_tokens:
            forget(w, replica, i)
            send(w, i)
    replica.num_ended = later


@compiled
def num_requests(w: World, replica: ReplicaState, now: int) -> int:
    """Return the requests of a replica; those that are through count no more."""
    num_requests = replica.num_running + replica.num_waiting
    ended = w.ended[replica.number]
    for k in range(replica.num_ended):
        num_requests -= w.requests[ended[k]].last_ns < now
    return num_requests


@compiled
def _push_completion(heap: Ints, replica: ReplicaState, value: int) -> None:
    """Add ``value`` to the heap of completions."""
    at = replica.num_completions
    replica.num_completions += 1
    while at > 0:
        parent = (at - 1) >> 1
        if heap[parent] <= value:
            break
        heap[at] = heap[parent]
        at = parent
    heap[at] = value


@compiled
def remove_completion(heap: Ints, replica: ReplicaState, at: int) -> None:
    """Remove entry ``at`` of the heap of completions."""
    size = replica.num_completions - 1
    replica.num_completions = size
    value = heap[size]
    if at == size:
        return

    # The last entry takes the empty place, and moves up or down from there.
    while at > 0 and heap[(at - 1) >> 1] > value:
        heap[at] = heap[(at - 1) >> 1]
        at = (at - 1) >> 1
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = value


@rarely
def forget(w: World, replica: ReplicaState, i: int) -> None:
    """Take ``i`` off the stack: it will run again, elsewhere or even here."""
    stack, size = w.stack[replica.number], 0
    for k in range(replica.stack_size):
        if stack[k] != i:
            stack[size] = stack[k]
            size += 1
    replica.stack_size = size


@rarely
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


@rarely
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
