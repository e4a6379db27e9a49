"""What the simulated world remembers, as columns of plain arrays that compiled code touches.

Three tables: ``q`` has one row per request, ``rows`` one per replica, ``blocks`` one per replica
and hashed block. Times are integer nanoseconds, tokens and blocks are counts. Names that end in an
underscore are columns of ``q``, the others of a replica's row, of ``blocks`` or of ``rules``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

NEVER = 2**62
NONE = -1

# How waiting requests are ordered.
FIFO, BY_KEY, BY_LINE = 0, 1, 2

# Columns of ``q``, one row per request in the order of arrival; those of the beaten path come
# first, so that they share cache lines.
(
    ARRIVAL_,
    PROMPT_,
    OUTPUT_,
    TODO_,  # tokens to prefill: the prompt, and after a preemption what was produced
    COMPUTED_,  # of them, so far; or PREFILLED, or DECODING
    PRODUCED_,  # tokens that were out when it began to decode
    BASE_,  # while decoding: tokens in the cache less the replica's STEP_NUMBER; NEVER: not running
    FIRST_,
    LAST_,
    ADMITTED_,
    CARRIED_,  # tokens whose cache comes with the request (disaggregated prefill)
    PREDICTED_,  # tokens the router counts on
    NEXT_,
    PREVIOUS_,
    READY_,  # when it joined its present queue
    REPLICA_,
    CACHED_,
    PREEMPTIONS_,
    POOL_,  # where it must go, or NONE
    LOST_,  # nanoseconds between preemption and the next token
    MOVED_,  # nanoseconds in transfer
    HASHES_START_,
    HASHES_STOP_,
    LEFT_,  # when its last token came out before it was preempted, moved or dropped
    COLUMNS_,
) = range(25)
PREFILLED, DECODING = -1, -2

# Columns of ``keys``: smaller goes first; the slope is per second, for BY_LINE.
KEY, SLOPE = 0, 1

# The row of a replica; five lists follow, each from the place that its AT names.
(
    CLOCK,  # when the next step is planned, NEVER while there is nothing to do
    START,  # when the planned steps begin to execute
    STEP_NS,  # how long each of them takes
    STEPS,  # how many were planned; above 1 only where all of them are the same pure decode
    END,  # when the last planned step ends
    STEP_NUMBER,  # steps so far: completions are keyed by it
    DECODES,  # sequences that decode
    KV,  # tokens in their caches
    FREE,  # blocks that are free, or cached and evictable
    RUNNING,  # sequences that hold a slot
    WAITING,
    PARTIAL,  # the request whose prefill is cut off by the token budget, or NONE
    HEAD,
    TAIL,
    WORK,  # predicted tokens that are waiting or running
    COMPLETIONS,  # heap of (step number << 32 | request)
    STACK,  # running requests, oldest admission first; ended ones are dropped lazily
    FINISHING,  # requests whose prefill ends with the planned step
    ENDED,  # requests that are through but still hold slot and blocks
    JOINED,  # requests that came with their cache and decode in the planned step
    CACHED,  # blocks that only the prefix cache holds
    LRU_OLD,
    LRU_NEW,
    UP,  # 0 while the replica is down
    SLOTS,
    BUDGET,
    CAPACITY,
    POOL,
    SHIFT,  # of the pool's table of decode times
    HEAP_AT,
    STACK_AT,
    FINISHING_AT,
    ENDED_AT,
    JOINED_AT,
    ROUTED,  # what laws and reports read afterwards
    STEPS_DONE,
    BUSY_NS,
    LEAST_FREE,
    PREEMPTIONS,
    JUMPS,
    HIT_TOKENS,
    IDLE_VIOLATIONS,
    DECODE_TOKENS,
    PREFILL_TOKENS,
    NUMBER,  # of the replica
    PHASES_AT,  # here begins the count of decodes by the step at which they fill a block
) = range(46)

# Columns of ``blocks``.
HOLDERS, OLDER, NEWER = 0, 1, 2  # sequences that use it, NONE where not cached; the LRU list

# What does not change during a run.
(
    ORDER,
    BLOCK_SHIFT,  # a block holds two to this power of tokens
    CHUNKED,  # prefills may be cut off by the token budget
    RESERVE,  # admit only where the whole prompt fits
    ASYNCHRONOUS,  # plan a step while the one before it executes
    BY_LARGEST,  # preempt the largest key instead of the latest admission
    OVERTAKE,  # preempt a running request for a waiting one with a smaller key
    PREFIXES,
    HASH_TOKENS,
    HASH_BLOCKS,
    SCORED,  # routing by score instead of round robin
    PREFILL_POOL,  # NONE unless prefill and decode are disaggregated
    DECODE_POOL,
    TRANSFER_FIXED_NS,
    TRANSFER_TOKEN_PS,
    RULES,
) = range(16)
# The weights: how a running key falls per token, and what a router minds.
PROGRESS, PER_REQUEST, PER_TOKEN, PER_HIT = 0, 1, 2, 3


class World(NamedTuple):
    """All arrays of a run: used once, then spent.

    Attributes:
        q: ``(requests, COLUMNS_)``.
        keys: ``(requests, 2)``.
        rows: ``(replicas, ...)``.
        hashes: of all requests' prompts, one after the other.
        blocks: ``(replicas, hashed blocks, 3)``.
        rules: ``(RULES,)``.
        weights: ``(4,)``.
        moving: heap of the requests in transfer, after their number.
        decode_table: ``(pools, sequences, buckets)``, nanoseconds.
        mixed_table: ``(pools, sequences, context, prompt tokens, attended)``, nanoseconds.
        outages: rows of (time, replica, 1 for failure or 0 for restart), in time order.
        gaps: between tokens, counted by size (`headway.sim.gaps`).

    """

    q: Ints
    keys: Floats
    rows: Ints
    hashes: Ints
    blocks: Ints
    rules: Ints
    weights: Floats
    moving: Ints
    decode_table: Ints
    mixed_table: Floats
    outages: Ints
    gaps: Ints
