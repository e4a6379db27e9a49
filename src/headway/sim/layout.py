"""A trace, a site and a policy laid out as the records that the compiled loop reads."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from headway.errors import InputError
from headway.schedule.autoscale import WORK
from headway.schedule.due import Dues
from headway.schedule.order import Fcfs, Keys, OrderPolicy
from headway.schedule.route import LowestScore, Placement, TwoChoices
from headway.schedule.view import View
from headway.sim.age import keys_by_age
from headway.sim.autoscale import TARGET, scaler_table
from headway.sim.gaps import BINS
from headway.sim.site import Site
from headway.sim.times import nanoseconds, stack
from headway.sim.world import (
    BY_DUE,
    BY_KEY,
    BY_LINE,
    FIFO,
    NEVER,
    NONE,
    ROUND_ROBIN,
    SCORED,
    TWO_CHOICES,
    BlockState,
    Floats,
    Ints,
    OutageState,
    ReplicaState,
    RequestState,
    Rules,
    World,
    dtype_of,
)
from headway.workload.oracle import BlockHashes, Trace


def prepare(
    trace: Trace,
    site: Site,
    policy: OrderPolicy | None = None,
    view: View | None = None,
    pools: Ints | None = None,
) -> tuple[World, Ints]:
    """Lay out the world of a run; also return which request of ``trace`` each of its is.

    Requests that can never be served are not among them.
    """
    policy = policy or Fcfs()
    n = len(trace)
    if view is not None and len(view) != n:
        raise InputError(f"a view of {len(view)} requests does not go with a trace of {n}")
    if view is None and not isinstance(policy, Fcfs):
        raise InputError(f"policy {policy.name} needs a view of what is known of the requests")
    bound = np.full(n, NONE, dtype=np.int64) if pools is None else np.asarray(pools, dtype=np.int64)
    if np.any(bound >= len(site.pools)):
        raise InputError("a request is bound to a pool that does not exist")

    # The order of service.
    keys = Keys(trace.arrival_s) if view is None else policy.keys(view)
    order = _order(policy, keys)

    # The prefix cache.
    engine = site.pools[0].engine
    prefixes = trace.prefixes if engine.prefix_cache else None
    if prefixes is not None and prefixes.tokens % engine.kv_block_tokens:
        raise InputError(
            f"hashed blocks of {prefixes.tokens} tokens must be whole cache blocks of "
            f"{engine.kv_block_tokens}"
        )
    num_hashes = 0 if prefixes is None else int(prefixes.hashes.max(initial=-1)) + 1

    # The requests, in the order in which they reach the router.
    predicted_tokens = np.zeros(n) if view is None else np.rint(view.mean_tokens)
    requests = _requests(trace, predicted_tokens, bound, keys, prefixes)
    if view is not None:
        paced = np.isfinite(view.tpot_s)
        requests["tpot_ns"][paced] = np.rint(view.tpot_s[paced] * 1e9)
    if site.autoscaler is not None:
        if view is None and site.autoscaler.signal == WORK:
            raise InputError("an autoscaler by work needs a view of what is known of the requests")
        mean_tokens = np.zeros(n) if view is None else view.mean_tokens
        shares = site.autoscaler.shares(trace.prompt_tokens.astype(np.float64), mean_tokens)
        requests["load"] = np.floor(shares * TARGET)
    requests["arrival_ns"] += site.pools[0].table.overhead_ns(trace.prompt_tokens)
    numbers = np.argsort(requests["arrival_ns"], kind="stable")
    numbers = numbers[_fits(trace, site, bound)[numbers]]

    start_ns = int(nanoseconds(trace.arrival_s[numbers]).min(initial=NEVER))
    replicas = _replicas(site, start_ns)
    count, slots = len(replicas), int(replicas["slots"].max())
    times = stack([pool.table for pool in site.pools])
    replicas["context_shift"] = times.shift[replicas["pool"]]
    blocks = np.zeros((count, max(num_hashes, 1)), dtype=dtype_of(BlockState))
    kept = np.zeros(len(numbers), dtype=dtype_of(BlockState))
    blocks[:] = kept[:] = (NONE, NONE, NONE)
    by_age = policy.preempts and policy.progress == 0.0 and order == BY_KEY and view is not None
    age_keys = (
        keys_by_age(policy, view)[numbers] if by_age and view is not None else np.zeros((1, 1))
    )

    def lists(length: int) -> Ints:
        return np.zeros((count, length), dtype=np.int64)

    structured: dict[str, Any] = {  # what compiled code sees as tables of records
        "requests": requests[numbers],
        "replicas": replicas,
        "blocks": blocks,
        "kept": kept,
        "outages": _outages(site),
        "scaler": scaler_table(site.autoscaler, start_ns),
    }
    world = World(
        **structured,
        rules=_rules(
            site,
            policy,
            order,
            dues=keys.dues,
            by_age=by_age,
            output_token_s=0.0 if view is None else view.service.output_token_s,
            prefixes=prefixes,
        ),
        completions=lists(slots + 1),
        stack=lists(2 * slots + 2),
        finishing=lists(slots + 1),
        ended=lists(2 * slots + 2),
        joined=lists(slots + 1),
        phases=lists(engine.kv_block_tokens),
        hashes=np.zeros(1, np.int32) if prefixes is None else prefixes.hashes.astype(np.int32),
        transfers=np.zeros(n + 2 if site.disaggregation else 2, dtype=np.int64),
        age_keys=age_keys,
        decode_table=times.decode_ns,
        mixed_table=times.mixed_ns,
        spread_table=times.spread_ns,
        wishes=np.full(count + 1, -NEVER, dtype=np.int64),
        gaps=np.zeros(BINS + 1, dtype=np.int64),
    )
    return world, numbers


def _order(policy: OrderPolicy, keys: Keys) -> int:
    """Return how requests wait under ``policy``."""
    if isinstance(policy, Fcfs):
        return FIFO
    if keys.slope is not None and (policy.preempts or keys.dues is not None):
        raise InputError(
            f"policy {policy.name} preempts or gives due dates, so its keys must not change with "
            "time"
        )
    if keys.dues is not None:
        return BY_DUE
    return BY_KEY if keys.slope is None else BY_LINE


def _fits(trace: Trace, site: Site, bound: Ints) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return which requests every replica that may get them can hold to their last token."""
    tokens = trace.prompt_tokens + trace.output_tokens - 1
    fits = np.ones(len(trace), dtype=np.bool_)
    for number, pool in enumerate(site.pools):
        blocks = -(-tokens // pool.engine.kv_block_tokens)
        elsewhere = (bound != NONE) & (bound != number) & (site.disaggregation is None)
        fits &= (blocks <= pool.engine.num_kv_blocks) | elsewhere
    return fits


def _requests(
    trace: Trace, predicted_tokens: Floats, bound: Ints, keys: Keys, prefixes: BlockHashes | None
) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    requests = np.zeros(len(trace), dtype=dtype_of(RequestState))
    requests["arrival_ns"] = nanoseconds(trace.arrival_s)
    requests["prompt_tokens"] = requests["todo_tokens"] = trace.prompt_tokens
    requests["output_tokens"] = trace.output_tokens
    requests["predicted_tokens"] = predicted_tokens
    requests["pool"] = bound
    requests["base"] = NEVER
    for name in ("first_ns", "last_ns", "admitted_ns", "replica", "next", "previous"):
        requests[name] = NONE

    requests["key"] = keys.key
    requests["slope"] = 0.0 if keys.slope is None else keys.slope
    requests["due_ns"] = requests["tpot_ns"] = NEVER
    if keys.dues is not None:
        dues = keys.dues
        dated = np.isfinite(dues.due_s)
        requests["due_ns"][dated] = np.rint(dues.due_s[dated] * 1e9)
        requests["work_ns"] = np.rint(dues.work_s * 1e9)
        requests["burden"] = dues.work_s / dues.value
    if prefixes is not None:
        requests["hashes_start"] = prefixes.first[:-1]
        requests["hashes_stop"] = prefixes.first[1:]
    return requests


def _replicas(site: Site, start_ns: int) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    pools = [number for number, pool in enumerate(site.pools) for _ in range(pool.replicas)]
    engines = [site.pools[number].engine for number in pools]
    replicas = np.zeros(len(pools), dtype=dtype_of(ReplicaState))
    replicas["number"] = np.arange(len(pools))
    replicas["pool"] = pools
    replicas["clock"] = NEVER
    replicas["is_up"] = 1
    replicas["ready_ns"] = replicas["left_ns"] = NEVER
    replicas["on_ns"] = NONE
    if site.autoscaler is not None:
        replicas["is_up"][site.autoscaler.min_replicas :] = 0
        replicas["on_ns"] = np.where(replicas["is_up"] == 1, start_ns, NEVER)
    for name in ("partial", "head", "tail", "due_head", "due_tail", "oldest_block", "newest_block"):
        replicas[name] = NONE

    replicas["slots"] = [engine.max_num_seqs for engine in engines]
    replicas["token_budget"] = [engine.max_num_batched_tokens for engine in engines]
    for name in ("num_blocks", "free_blocks", "min_free_blocks"):
        replicas[name] = [engine.num_kv_blocks for engine in engines]
    return replicas


def _rules(
    site: Site,
    policy: OrderPolicy,
    order: int,
    *,
    dues: Dues | None,
    by_age: bool,
    output_token_s: float,
    prefixes: BlockHashes | None,
) -> Rules:
    engine, split = site.pools[0].engine, site.disaggregation
    score = site.placement if isinstance(site.placement, LowestScore) else None
    return Rules(
        order=order,
        late_every=0 if dues is None else dues.late_every,
        sheds=dues is not None and dues.sheds,
        key_per_token=float(policy.progress),
        overtakes=bool(policy.preempts),
        quantum=policy.quantum_tokens,
        by_age=by_age,
        output_token_ns=round(output_token_s * 1e9),
        keeps_cache=engine.prefix_cache,
        swap_token_ps=(
            NONE if engine.swap_token_s is None else math.ceil(engine.swap_token_s * 1e12)
        ),
        asynchronous=engine.asynchronous,
        chunked_prefill=engine.chunked_prefill,
        reserve_full_prompt=engine.reserve_full_prompt,
        # The cache, and what of it prompts share.
        block_shift=engine.kv_block_tokens.bit_length() - 1,
        prefix_cache=prefixes is not None,
        hash_tokens=prefixes.tokens if prefixes else 0,
        hash_blocks=prefixes.tokens // engine.kv_block_tokens if prefixes else 0,
        # Where a request goes.
        route=_route(site.placement),
        per_request=float(score.per_request) if score else 0.0,
        per_prompt_token=float(score.per_prompt_token) if score else 0.0,
        per_output_token=float(score.per_output_token) if score else 0.0,
        per_hit=float(score.per_hit) if score else 0.0,
        prefill_pool=0 if split else NONE,
        decode_pool=1 if split else NONE,
        transfer_fixed_ns=math.ceil(split.transfer_s * 1e9) if split else 0,
        transfer_token_ps=math.ceil(split.transfer_token_s * 1e12) if split else 0,
    )


def _route(placement: Placement) -> int:
    if isinstance(placement, LowestScore):
        return SCORED
    return TWO_CHOICES if isinstance(placement, TwoChoices) else ROUND_ROBIN


def _outages(site: Site) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    events = [(outage.start_s, outage.replica, 1) for outage in site.outages]
    events += [(outage.stop_s, outage.replica, 0) for outage in site.outages]
    outages = np.zeros(len(events), dtype=dtype_of(OutageState))
    if events:
        at_s, replica, fails = map(np.array, zip(*sorted(events), strict=True))
        outages["at_ns"] = nanoseconds(at_s)
        outages["replica"], outages["fails"] = replica, fails
    return outages
