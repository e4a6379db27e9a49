"""Who loses its place when memory runs out, or when somebody with a smaller key waits."""

from __future__ import annotations

from headway.sim.compile import compiled
from headway.sim.memory import give_back, phase_of
from headway.sim.queue import push
from headway.sim.steps import LOW, remove_completion
from headway.sim.world import (
    BY_DUE,
    BY_KEY,
    DECODING,
    NEVER,
    NONE,
    PREFILLED,
    ReplicaState,
    RequestState,
    World,
)


@compiled
def running_key(w: World, replica: ReplicaState, i: int) -> float:
    """Return the key of a running request: it falls as tokens are produced."""
    per_token = w.rules.key_per_token
    if per_token == 0.0:
        return w.requests[i].key
    return w.requests[i].key - per_token * tokens_since(w, replica, i)


@compiled
def tokens_since(w: World, replica: ReplicaState, i: int) -> int:
    """Return the tokens that a running request produced since it was admitted."""
    request = w.requests[i]
    if request.computed_tokens != DECODING:
        return 0
    return request.base + replica.step - request.todo_tokens + 1


@compiled
def place_to_preempt(w: World, replica: ReplicaState) -> int:
    """Return where the running request that is preempted first stands in the stack, or NONE."""
    stack = w.stack[replica.number]
    worst, max_key = NONE, 0.0
    for k in range(replica.stack_size - 1, -1, -1):
        request = w.requests[stack[k]]
        ended = request.base == NEVER or request.last_ns != NONE
        if ended or request.computed_tokens == PREFILLED:
            continue
        if w.rules.order != BY_KEY:
            return k

        key = running_key(w, replica, stack[k])
        if worst == NONE or key > max_key or (key == max_key and stack[k] > stack[worst]):
            worst, max_key = k, key
    return worst


@compiled
def preempt(w: World, replica: ReplicaState, place: int, now: int) -> int:
    """Drop the cache of the request at ``place`` in the stack and let it wait; return it."""
    stack = w.stack[replica.number]
    i = stack[place]
    request = w.requests[i]
    for k in range(place, replica.stack_size - 1):
        stack[k] = stack[k + 1]
    replica.stack_size -= 1
    request.key -= w.rules.key_per_token * tokens_since(w, replica, i)

    # Stop its prefill or its decode.
    if replica.partial == i:
        replica.partial = NONE
        kv_tokens = request.computed_tokens
        replica.prompt_tokens -= request.todo_tokens - kv_tokens
    else:
        kv_tokens = request.base + replica.step
        note_pause(w, replica, i)
        request.produced_tokens += tokens_since(w, replica, i) - 1
        request.lost_ns -= now
        replica.num_decodes -= 1
        replica.kv_tokens -= kv_tokens
        w.phases[replica.number, phase_of(w.rules, request.base)] -= 1
        heap = w.completions[replica.number]
        for k in range(replica.num_completions):
            if heap[k] & LOW == i:
                remove_completion(heap, replica, k)
                break

    # Its blocks are free; prompt and answer so far must be prefilled again.
    request.computed_tokens = 0
    give_back(w, replica, i, kv_tokens)
    replica.num_running -= 1
    replica.num_preemptions += 1
    request.num_preemptions += 1
    request.base = NEVER
    request.todo_tokens = request.prompt_tokens + request.produced_tokens
    request.carried_tokens = 0
    if w.rules.order == BY_DUE and request.produced_tokens > 0:
        request.due_ns = pace_due_ns(request, request.produced_tokens)
    replica.prompt_tokens += request.todo_tokens
    push(w, replica, i, True)
    return int(i)


@compiled
def pace_due_ns(request: RequestState, produced_tokens: int) -> int:
    """Return when the objective would have the next token of an answer; NEVER without one."""
    if request.tpot_ns == NEVER:
        return NEVER
    return request.first_ns + request.tpot_ns * produced_tokens


@compiled
def note_pause(w: World, replica: ReplicaState, i: int) -> None:
    """Note when the last token of decoding request ``i`` came out, before it stops running."""
    # A request that came with its cache has not decoded here before its second token.
    if w.requests[i].carried_tokens == 0 or tokens_since(w, replica, i) > 1:
        w.requests[i].pause_ns = replica.end_ns


@compiled
def take_back_block(w: World, replica: ReplicaState, i: int) -> None:
    """Take back the block that ``i`` got for the decode of the step that is being planned."""
    if w.requests[i].computed_tokens == DECODING:
        mask = (1 << w.rules.block_shift) - 1
        replica.free_blocks += (w.requests[i].base + replica.step) & mask == 0
