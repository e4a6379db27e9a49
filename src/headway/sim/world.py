"""What the simulated world remembers: records with named fields that compiled code touches.

One record per request, one per replica, one per replica and hashed block. Times are whole
nanoseconds; tokens, blocks and requests are counts. Whoever says "request i" means its number.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Records = npt.NDArray[np.void]  # a structured array, as NumPy sees it

Small = int  # of 32 bits: a run waits for memory more than it computes

NEVER = 2**62
NONE = -1

# How waiting requests are ordered.
FIFO, BY_KEY, BY_LINE, BY_DUE = 0, 1, 2, 3

# How a replica is chosen.
ROUND_ROBIN, TWO_CHOICES, SCORED = 0, 1, 2

# What `computed_tokens` says of a request whose prompt is in the cache.
PREFILLED, DECODING = -1, -2


class RequestState:
    """One request; the fields of the beaten path come first, so that they share cache lines."""

    arrival_ns: int  # when it reaches the router
    prompt_tokens: Small
    output_tokens: Small
    todo_tokens: Small  # to prefill: the prompt, and after a preemption what was produced
    computed_tokens: Small  # of them, so far; or PREFILLED, or DECODING
    produced_tokens: Small  # that were out when it began to decode
    base: int  # while decoding: tokens in the cache less the replica's step; NEVER: not running
    first_ns: int  # first token
    last_ns: int  # last token, NONE while it has not ended
    admitted_ns: int
    carried_tokens: Small  # whose cache comes with the request (disaggregated prefill)
    predicted_tokens: Small  # that the router counts on
    next: Small  # in a list of requests, or the first child in a heap
    previous: Small  # in a list of requests, or the next sibling in a heap
    ready_ns: int  # when it joined its present queue
    replica: Small
    cached_tokens: Small  # of the prompt, on first admission
    num_preemptions: Small
    pool: Small  # where it must go, or NONE
    lost_ns: int  # between preemption and the next token
    transfer_ns: int
    hashes_start: Small  # its part of `World.hashes`
    hashes_stop: Small
    pause_ns: int  # when its last token came out before it was preempted, moved or dropped
    key: float  # smaller goes first
    slope: float  # of the key, per second
    due_ns: int  # when it must have started, NEVER where nobody waits for it
    work_ns: int  # by how much it delays whoever starts after it
    burden: float  # its work over its value: the largest is given up first
    is_due: Small  # whether it waits among those who are to start in time
    is_shed: Small  # whether it was refused, because it could not
    tpot_ns: int  # that each token after its first may take, NEVER where nobody minds
    is_paused: Small  # whether it lost its place while it decoded
    load: int  # what it adds to the signal of an autoscaler, in billionths of a target


class ReplicaState:
    """One engine."""

    clock: int  # when the next step is planned, NEVER while there is nothing to do
    start_ns: int  # when the planned steps begin to execute
    step_ns: int  # how long each of them takes
    num_steps: int  # planned; above 1 only where all of them are the same pure decode
    end_ns: int  # when the last planned step ends
    step: int  # number of steps so far: completions are keyed by it
    num_decodes: int  # sequences that decode
    kv_tokens: int  # in their caches
    base_squares: int  # sum of the squares of their bases
    free_blocks: int  # free, or cached and evictable
    num_running: int  # sequences that hold a slot
    num_waiting: int
    partial: int  # the request whose prefill is cut off by the token budget, or NONE
    head: int  # of the queue
    tail: int
    output_tokens: int  # predicted of requests that wait or run here, less what they produced
    prompt_tokens: int  # of them that are not prefilled yet
    num_completions: int  # in the heap `World.completions`
    stack_size: int  # in `World.stack`
    num_finishing: int
    num_ended: int
    num_joined: int
    cached_blocks: int  # that only the prefix cache holds
    oldest_block: int  # ends of the list of cached blocks by use
    newest_block: int
    is_up: int
    slots: int  # limits of the engine
    token_budget: int
    num_blocks: int
    pool: int
    context_shift: int  # of the pool's table of decode times
    number: int
    due_head: int  # those who are to start in time, in the order of their due work
    due_tail: int
    recheck_ns: int  # when they must be looked through again
    num_starts: int
    swap_ns: int  # caches on their way to the host and back, before the next step
    load: int  # of its requests, for an autoscaler
    on_ns: int  # since when it costs; NEVER where it is off, NONE without an autoscaler
    ready_ns: int  # when it comes up, NEVER where it was not ordered
    left_ns: int  # since when it gets no new requests, NEVER where it does
    # What laws and reports read afterwards.
    num_routed: int
    steps_done: int
    busy_ns: int
    min_free_blocks: int
    num_preemptions: int
    num_plans: int
    hit_tokens: int
    idle_violations: int
    decode_tokens: int
    prefill_tokens: int
    paid_ns: int  # of the times in which it was on


class BlockState:
    """One hashed block on one replica, or what is left of the cache of a preempted request.

    The cache of request i, where it waits, is block ``len(blocks) + i`` of the replica.
    """

    holders: Small  # sequences that use it, NONE where it is not cached; of a request, its blocks
    older: Small  # neighbours in the list of cached blocks by use
    newer: Small


class OutageState:
    """A replica fails, or comes back."""

    at_ns: int
    replica: int
    fails: int


class ScalerState:
    """What an autoscaler goes by; `headway.schedule.autoscale.Autoscaler`."""

    next_ns: int  # when it has something to do
    look_ns: int  # when it reads the signal again
    every_ns: int  # 0: at every arrival, NONE: there is none
    min_replicas: int
    delay_ns: int
    wait_ns: int
    counts_waiting: int


Row = TypeVar("Row", covariant=True)


class Table(Protocol[Row]):
    """A structured array, as the type checker sees it: a row's fields are its attributes."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Row: ...


class Grid(Protocol[Row]):
    """A structured array of two dimensions."""

    def __getitem__(self, index: int, /) -> Table[Row]: ...


def dtype_of(state: type) -> np.dtype[np.void]:
    """Return the structured type whose fields are those of ``state``."""
    kinds = {"int": np.int64, "Small": np.int32, "float": np.float64}
    columns = [(name, kinds[kind]) for name, kind in state.__annotations__.items()]
    return np.dtype(columns, align=True)


class Rules(NamedTuple):
    """What does not change during a run.

    Attributes:
        order: FIFO, BY_KEY, BY_LINE or BY_DUE.
        late_every: every how many starts one goes to those who cannot be in time; 0 for never.
        sheds: whether those are refused.
        key_per_token: by how much a running request's key falls with every token.
        overtakes: whether a waiting request may preempt a running one with a larger key.
        quantum: tokens that a running request produces before that, and steps between two looks.
        by_age: whether keys are those of the tokens that are out, `World.age_keys`.
        output_token_ns: work of a token of an answer.
        keeps_cache: whether blocks that nobody uses stay until they are needed.
        swap_token_ps: of moving a token of it to the host, or back; NONE where it does not go.
        asynchronous: plan a step while the one before it executes.
        chunked_prefill: prefills may be cut off by the token budget.
        reserve_full_prompt: admit only where the whole prompt fits.
        block_shift: a block holds two to this power of tokens.
        prefix_cache: whether hashed blocks of ``hash_tokens`` tokens are shared, each of
            ``hash_blocks`` blocks.
        route: ROUND_ROBIN, TWO_CHOICES or SCORED; the weights of the score follow.
        prefill_pool, decode_pool: NONE unless prefill and decode are disaggregated.
        transfer_fixed_ns, transfer_token_ps: of a cache from the one to the other.

    """

    order: int
    late_every: int
    sheds: bool
    key_per_token: float
    overtakes: bool
    quantum: int
    by_age: bool
    output_token_ns: int
    keeps_cache: bool
    swap_token_ps: int
    asynchronous: bool
    chunked_prefill: bool
    reserve_full_prompt: bool
    block_shift: int
    prefix_cache: bool
    hash_tokens: int
    hash_blocks: int
    route: int
    per_request: float
    per_prompt_token: float
    per_output_token: float
    per_hit: float
    prefill_pool: int
    decode_pool: int
    transfer_fixed_ns: int
    transfer_token_ps: int


class World(NamedTuple):
    """Everything that a run reads and writes: used once, then spent.

    Attributes:
        requests: in the order in which they reach the router.
        replicas: of all pools.
        rules: what stays.
        completions: ``(replicas, slots + 1)``, heaps of (step of the last token << 32 | request).
        stack: ``(replicas, 2 slots + 2)``, running requests, oldest admission first; those that
            ended are dropped lazily.
        finishing: ``(replicas, slots + 1)``, requests whose prefill ends with the planned step.
        ended: ``(replicas, 2 slots + 2)``, requests that are through but hold slot and blocks.
        joined: ``(replicas, slots + 1)``, requests that came with their cache and decode in the
            planned step.
        phases: ``(replicas, tokens of a block)``, decodes by the step at which they fill a block.
        hashes: of all requests' prompts, one after the other.
        blocks: ``(replicas, hashed blocks)``.
        kept: ``(requests,)``, what is left of the caches of preempted requests.
        age_keys: ``(requests, ages)``, keys by the tokens that are out, `headway.sim.age`.
        transfers: the number of requests in transfer, then a heap of them.
        decode_table: ``(pools, sequences, buckets)``, nanoseconds.
        mixed_table: ``(pools, sequences, context, prompt tokens, attended)``, nanoseconds.
        spread_table: what uneven contexts add to ``decode_table``, or ``(pools, 1, 1)``.
        outages: in time order.
        scaler: one record.
        wishes: ``(replicas + 1,)``, when so many replicas were wanted last.
        gaps: between tokens, counted by size (`headway.sim.gaps`).

    """

    requests: Table[RequestState]
    replicas: Table[ReplicaState]
    rules: Rules
    completions: Ints
    stack: Ints
    finishing: Ints
    ended: Ints
    joined: Ints
    phases: Ints
    hashes: Ints
    blocks: Grid[BlockState]
    kept: Table[BlockState]
    age_keys: Floats
    transfers: Ints
    decode_table: Ints
    mixed_table: Floats
    spread_table: Floats
    outages: Table[OutageState]
    scaler: Table[ScalerState]
    wishes: Ints
    gaps: Ints
