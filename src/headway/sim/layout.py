"""A trace, a cluster and a policy laid out as the arrays that the compiled loop reads."""

from __future__ import annotations

import math

import numpy as np

from headway.errors import InputError
from headway.schedule.order import Fcfs, Keys, OrderPolicy
from headway.schedule.route import LowestScore
from headway.schedule.view import View
from headway.sim.cluster import Cluster
from headway.sim.gaps import BINS
from headway.sim.state import (
    ADMITTED_,
    ARRIVAL_,
    ASYNCHRONOUS,
    BASE_,
    BLOCK_SHIFT,
    BUDGET,
    BY_KEY,
    BY_LARGEST,
    BY_LINE,
    CAPACITY,
    CHUNKED,
    CLOCK,
    COLUMNS_,
    DECODE_POOL,
    ENDED_AT,
    FIFO,
    FINISHING_AT,
    FIRST_,
    FREE,
    HASH_BLOCKS,
    HASH_TOKENS,
    HASHES_START_,
    HASHES_STOP_,
    HEAD,
    HEAP_AT,
    JOINED_AT,
    LAST_,
    LEAST_FREE,
    LRU_NEW,
    LRU_OLD,
    NEVER,
    NEXT_,
    NONE,
    NUMBER,
    ORDER,
    OUTPUT_,
    OVERTAKE,
    PARTIAL,
    PER_HIT,
    PER_REQUEST,
    PER_TOKEN,
    PHASES_AT,
    POOL,
    POOL_,
    PREDICTED_,
    PREFILL_POOL,
    PREFIXES,
    PREVIOUS_,
    PROGRESS,
    PROMPT_,
    REPLICA_,
    RESERVE,
    RULES,
    SCORED,
    SHIFT,
    SLOTS,
    STACK_AT,
    TAIL,
    TODO_,
    TRANSFER_FIXED_NS,
    TRANSFER_TOKEN_PS,
    UP,
    Floats,
    Ints,
    World,
)
from headway.sim.times import Times, stack
from headway.workload.oracle import BlockHashes, Trace


def prepare(
    trace: Trace,
    cluster: Cluster,
    policy: OrderPolicy | None = None,
    view: View | None = None,
    pools: Ints | None = None,
) -> tuple[World, Ints]:
    """Lay out the arrays of a run; also return the requests that can never be served."""
    policy = policy or Fcfs()
    n = len(trace)
    if view is not None and len(view) != n:
        raise InputError(f"a view of {len(view)} requests does not go with a trace of {n}")
    fifo = isinstance(policy, Fcfs)
    if view is None and not fifo:
        raise InputError(f"policy {policy.name} needs a view of what is known of the requests")
    keys = Keys(trace.arrival_s) if view is None else policy.keys(view)
    order = FIFO if fifo else BY_KEY if keys.slope is None else BY_LINE
    if policy.preempts and order != BY_KEY:
        raise InputError(f"policy {policy.name} preempts, so its keys must not change with time")
    predicted = np.zeros(n) if view is None else view.mean_tokens
    bound = np.full(n, NONE, dtype=np.int64) if pools is None else np.asarray(pools, dtype=np.int64)
    if np.any(bound >= len(cluster.pools)):
        raise InputError("a request is bound to a pool that does not exist")
    hopeless = _hopeless(trace, cluster, bound)
    keep = np.setdiff1d(np.arange(n), hopeless)
    engine = cluster.pools[0].engine
    prefixes = trace.prefixes if engine.prefix_cache else None
    if prefixes is not None and prefixes.tokens % engine.kv_block_tokens:
        raise InputError(
            f"hashed blocks of {prefixes.tokens} tokens must be whole cache blocks of "
            f"{engine.kv_block_tokens}"
        )
    q = _requests(trace, np.rint(predicted), bound, prefixes)[keep]
    slope = np.zeros(n) if keys.slope is None else keys.slope
    times = stack([pool.table for pool in cluster.pools])
    num_hashes = 0 if prefixes is None else int(prefixes.hashes.max(initial=-1)) + 1
    blocks = np.full((cluster.num_replicas, max(num_hashes, 1), 3), NONE, dtype=np.int64)
    rules, weights = _rules(cluster, policy, order, prefixes)
    world = World(
        q,
        np.ascontiguousarray(np.stack([keys.key, slope], axis=1)[keep], dtype=np.float64),
        _rows(cluster, times),
        np.zeros(1, dtype=np.int64) if prefixes is None else prefixes.hashes,
        blocks,
        rules,
        weights,
        np.zeros(n + 2 if cluster.disaggregation else 2, dtype=np.int64),
        times.decode_ns,
        times.mixed_ns,
        _outages(cluster),
        np.zeros(BINS + 1, dtype=np.int64),
    )
    return world, hopeless


def nanoseconds(seconds: Floats) -> Ints:
    """Rounded up, so that nothing positive becomes 0; exact multiples of a nanosecond stay."""
    scaled = np.asarray(seconds, dtype=np.float64) * 1e9
    nearest = np.rint(scaled)
    return np.where(np.abs(scaled - nearest) < 1e-3, nearest, np.ceil(scaled)).astype(np.int64)


def _hopeless(trace: Trace, cluster: Cluster, bound: Ints) -> Ints:
    """Requests that no allowed replica can hold to their last token."""
    need = trace.prompt_tokens + trace.output_tokens - 1
    fits = np.zeros(len(trace), dtype=bool)
    for number, pool in enumerate(cluster.pools):
        size = pool.engine.kv_block_tokens
        blocks = -(-need // size)
        ok = blocks <= pool.engine.num_kv_blocks
        if cluster.disaggregation is not None:
            fits = ok if number == 0 else fits & ok
        else:
            # Routing looks at load, not at size: an unbound request must fit everywhere.
            ok |= (bound != NONE) & (bound != number)
            fits = ok if number == 0 else fits & ok
    return np.flatnonzero(~fits)


def _requests(trace: Trace, predicted: Floats, bound: Ints, prefixes: BlockHashes | None) -> Ints:
    q = np.zeros((len(trace), COLUMNS_), dtype=np.int64)
    q[:, ARRIVAL_] = nanoseconds(trace.arrival_s)
    q[:, PROMPT_] = trace.prompt_tokens
    q[:, TODO_] = trace.prompt_tokens
    q[:, OUTPUT_] = trace.output_tokens
    q[:, PREDICTED_] = predicted
    q[:, POOL_] = bound
    q[:, BASE_] = NEVER
    q[:, [FIRST_, LAST_, ADMITTED_, REPLICA_, NEXT_, PREVIOUS_]] = NONE
    if prefixes is not None:
        q[:, HASHES_START_] = prefixes.first[:-1]
        q[:, HASHES_STOP_] = prefixes.first[1:]
    return q


def _rows(cluster: Cluster, times: Times) -> Ints:
    pools = [k for k, pool in enumerate(cluster.pools) for _ in range(pool.replicas)]
    engines = [cluster.pools[k].engine for k in pools]
    slots = max(e.max_num_seqs for e in engines)
    heap_at = PHASES_AT + engines[0].kv_block_tokens
    stack_at = heap_at + slots + 1
    finishing_at = stack_at + 2 * slots + 2
    ended_at = finishing_at + slots + 1
    joined_at = ended_at + 2 * slots + 2
    rows = np.zeros((len(pools), joined_at + slots + 1), dtype=np.int64)
    rows[:, CLOCK] = NEVER
    rows[:, [PARTIAL, HEAD, TAIL, LRU_OLD, LRU_NEW]] = NONE
    rows[:, UP] = 1
    rows[:, [HEAP_AT, STACK_AT, FINISHING_AT]] = heap_at, stack_at, finishing_at
    rows[:, [ENDED_AT, JOINED_AT]] = ended_at, joined_at
    rows[:, SLOTS] = [e.max_num_seqs for e in engines]
    rows[:, BUDGET] = [e.max_num_batched_tokens for e in engines]
    rows[:, CAPACITY] = [e.num_kv_blocks for e in engines]
    rows[:, FREE] = rows[:, LEAST_FREE] = rows[:, CAPACITY]
    rows[:, POOL] = pools
    rows[:, NUMBER] = np.arange(len(pools))
    rows[:, SHIFT] = times.shift[pools]
    return rows


def _rules(
    cluster: Cluster, policy: OrderPolicy, order: int, prefixes: BlockHashes | None
) -> tuple[Ints, Floats]:
    engine = cluster.pools[0].engine
    place, split = cluster.placement, cluster.disaggregation
    rules = np.zeros(RULES, dtype=np.int64)
    rules[ORDER] = order
    rules[BLOCK_SHIFT] = engine.kv_block_tokens.bit_length() - 1
    rules[CHUNKED] = engine.chunked_prefill
    rules[RESERVE] = engine.reserve_full_prompt
    rules[ASYNCHRONOUS] = engine.asynchronous
    rules[BY_LARGEST] = order == BY_KEY
    rules[OVERTAKE] = policy.preempts
    rules[SCORED] = isinstance(place, LowestScore)
    rules[[PREFILL_POOL, DECODE_POOL]] = NONE
    if prefixes is not None:
        rules[PREFIXES] = 1
        rules[HASH_TOKENS] = prefixes.tokens
        rules[HASH_BLOCKS] = prefixes.tokens // engine.kv_block_tokens
    if split is not None:
        rules[[PREFILL_POOL, DECODE_POOL]] = 0, 1
        rules[TRANSFER_FIXED_NS] = math.ceil(split.transfer_s * 1e9)
        rules[TRANSFER_TOKEN_PS] = math.ceil(split.transfer_token_s * 1e12)
    weights = np.zeros(4)
    weights[PROGRESS] = policy.progress
    if isinstance(place, LowestScore):
        weights[[PER_REQUEST, PER_TOKEN, PER_HIT]] = (
            place.per_request,
            place.per_token,
            place.per_hit,
        )
    return rules, weights


def _outages(cluster: Cluster) -> Ints:
    rows = [(o.start_s, o.replica, 1) for o in cluster.outages]
    rows += [(o.stop_s, o.replica, 0) for o in cluster.outages]
    table = np.array(sorted(rows), dtype=np.float64).reshape(-1, 3)
    return np.stack([nanoseconds(table[:, 0]), *table[:, 1:].astype(np.int64).T], axis=1)
