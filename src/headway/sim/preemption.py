"""Who loses its place when memory runs out, or when somebody with a smaller key waits."""

from __future__ import annotations

from headway.sim.age import age_of
from headway.sim.compile import compiled, rarely
from headway.sim.memory import give_back, keep, phase_of
from headway.sim.queue import push
from headway.sim.steps import LOW, remove_completion
from headway.sim.world import (
    BY_DUE,
    BY_LINE,
    DECODING,
    FIFO,
    NEVER,
    NONE,
    PREFILLED,
    ReplicaState,
    RequestState,
    World,
)


@compiled
def running_key(w: World, replica: ReplicaState, i: int) -> float:
    """Return the key of a running request, by the tokens that are out.

    With due dates it is when the answer must go on: who is furthest ahead makes way first.
    """
    if w.rules.order == BY_DUE:
        return float(_paused_end_ns(w, replica, i))
    if w.rules.by_age:
        return float(w.age_keys[i, age_of(_tokens_out(w, replica, i))])
    per_token = w.rules.key_per_token
    if per_token == 0.0:
        return w.requests[i].key
    return float(w.requests[i].key - per_token * tokens_since(w, replica, i))


@compiled
def _tokens_out(w: World, replica: ReplicaState, i: int) -> int:
    """Return the tokens of its answer that a running request has produced in all."""
    return int(w.requests[i].produced_tokens + max(tokens_since(w, replica, i) - 1, 0))


@compiled
def _paused_end_ns(w: World, replica: ReplicaState, i: int) -> int:
    """Return when the rest of a running answer would be due if it paused now."""
    out = _tokens_out(w, replica, i)
    due_ns = pace_due_ns(w.requests[i], out)
    return int(due_ns if due_ns == NEVER else due_ns + work_left_ns(w, i, out))


@compiled
def work_left_ns(w: World, i: int, produced_tokens: int) -> int:
    """Return the work of an answer that is predicted after ``produced_tokens``."""
    return max(w.requests[i].predicted_tokens - produced_tokens, 0) * w.rules.output_token_ns


@compiled
def tokens_since(w: World, replica: ReplicaState, i: int) -> int:
    """Return the tokens that a running request produced since it was admitted."""
    request = w.requests[i]
    if request.computed_tokens != DECODING:
        return 0
    return request.base + replica.step - request.todo_tokens + 1


@rarely
def place_to_preempt(w: World, replica: ReplicaState, quantum: int) -> int:
    """Return where the running request that is preempted first stands in the stack, or NONE.

    It has produced ``quantum`` tokens since it was admitted.
    """
    stack = w.stack[replica.number]
    worst, max_key = NONE, 0.0
    for k in range(replica.stack_size - 1, -1, -1):
        request = w.requests[stack[k]]
        ended = request.base == NEVER or request.last_ns != NONE
        if ended or request.computed_tokens == PREFILLED:
            continue
        brought = request.carried_tokens == request.todo_tokens  # its cache, to join a step
        tokens = tokens_since(w, replica, stack[k]) - brought
        if tokens < quantum or (brought and tokens == 0):
            continue
        if w.rules.order == FIFO or w.rules.order == BY_LINE:
            return k

        key = running_key(w, replica, stack[k])
        if worst == NONE or key > max_key or (key == max_key and stack[k] > stack[worst]):
            worst, max_key = k, key
    return worst


@rarely
def place_for(w: World, replica: ReplicaState, i: int, now: int) -> int:
    """Return where the running request that makes way for ``i`` stands in the stack, or NONE."""
    request, quantum = w.requests[i], w.rules.quantum
    if not w.rules.overtakes or replica.step % quantum != 0:
        return NONE
    if w.rules.order == BY_DUE:
        # Only if it would be late by the next look, and nobody who must go on before that.
        soon_ns = now + quantum * replica.step_ns
        if request.is_due == 0 or request.due_ns > soon_ns:
            return NONE
        place = place_to_preempt(w, replica, quantum)
        if place == NONE:
            return NONE
        j = w.stack[replica.number, place]
        due_ns = pace_due_ns(w.requests[j], _tokens_out(w, replica, j))
        ahead = due_ns != NEVER and due_ns > soon_ns
        later = _paused_end_ns(w, replica, j) > request.due_ns + request.work_ns
        return place if ahead and later else NONE

    place = place_to_preempt(w, replica, 0 if quantum == 1 else quantum)
    if place == NONE or request.key >= running_key(w, replica, w.stack[replica.number, place]):
        return NONE
    return place


@rarely
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
        request.is_paused = 1
        replica.num_decodes -= 1
        replica.kv_tokens -= kv_tokens
        replica.base_squares -= request.base * request.base
        w.phases[replica.number, phase_of(w.rules, request.base)] -= 1
        heap = w.completions[replica.number]
        for k in range(replica.num_completions):
            if heap[k] & LOW == i:
                remove_completion(heap, replica, k)
                break

    # Its blocks are free, but what was in them may be found again, or come back from the host.
    request.computed_tokens = 0
    if w.rules.keeps_cache and w.rules.swap_token_ps == NONE:
        keep(w, replica, i, kv_tokens)
    give_back(w, replica, i, kv_tokens)
    replica.num_running -= 1
    replica.num_preemptions += 1
    request.num_preemptions += 1
    request.base = NEVER
    request.todo_tokens = request.prompt_tokens + request.produced_tokens
    request.carried_tokens = 0
    if w.rules.swap_token_ps != NONE:
        replica.swap_ns += kv_tokens * w.rules.swap_token_ps // 1000
        request.carried_tokens = kv_tokens
        request.todo_tokens -= request.produced_tokens > 0 and kv_tokens == request.todo_tokens - 1

    # Its place among those that wait.
    if w.rules.by_age:
        request.key = w.age_keys[i, age_of(request.produced_tokens)]
    if w.rules.order == BY_DUE and request.produced_tokens > 0:
        request.due_ns = pace_due_ns(request, request.produced_tokens)
        request.work_ns = work_left_ns(w, i, request.produced_tokens)
    replica.prompt_tokens += request.todo_tokens - request.carried_tokens
    push(w, replica, i, True)
    return int(i)


@compiled
def pace_due_ns(request: RequestState, produced_tokens: int) -> int:
    """Return when the objective would have the next token of an answer; NEVER without one."""
    if request.tpot_ns == NEVER or request.first_ns == NONE:
        return NEVER
    return request.first_ns + request.tpot_ns * produced_tokens


@compiled
def note_pause(w: World, replica: ReplicaState, i: int) -> None:
    """Note when the last token of decoding request ``i`` came out, before it stops running."""
    # A request that came with its cache has not decoded here before its second token.
    if w.requests[i].carried_tokens < w.requests[i].todo_tokens or tokens_since(w, replica, i) > 1:
        w.requests[i].pause_ns = replica.end_ns


@compiled
def take_back_block(w: World, replica: ReplicaState, i: int) -> None:
    """Take back the block that ``i`` got for the decode of the step that is being planned."""
    if w.requests[i].computed_tokens == DECODING:
        mask = (1 << w.rules.block_shift) - 1
        replica.free_blocks += (w.requests[i].base + replica.step) & mask == 0
