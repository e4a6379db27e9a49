"""What serves: pools of alike replicas, how requests are placed, and what breaks when."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headway.errors import InputError, UnknownNameError
from headway.schedule.autoscale import MAX_REPLICAS, Autoscaler
from headway.schedule.route import (
    LEAST_LOADED,
    PREFIX_AFFINE,
    WORK_LEFT,
    Placement,
    RoundRobin,
    TwoChoices,
)
from headway.schedule.view import ServiceTime
from headway.sim.compile import compiled
from headway.sim.engine import Engine
from headway.sim.times import BUCKETS, StepTable, mixed_ns
from headway.sim.world import Floats, Ints
from headway.workload.oracle import Trace

PLACEMENTS: dict[str, Placement] = {
    rule.name: rule for rule in (LEAST_LOADED, WORK_LEFT, PREFIX_AFFINE, RoundRobin(), TwoChoices())
}


def find_placement(name: str) -> Placement:
    """Return the placement rule called ``name``; raise `UnknownNameError` for another name."""
    if name not in PLACEMENTS:
        raise UnknownNameError("route", name, PLACEMENTS)
    return PLACEMENTS[name]


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Replicas of one engine on one kind of hardware."""

    engine: Engine
    table: StepTable
    replicas: int = 1
    name: str = "pool"

    def __post_init__(self) -> None:
        if not 1 <= self.replicas <= MAX_REPLICAS:
            raise InputError(f"a pool has 1 to {MAX_REPLICAS} replicas, not {self.replicas}")


@dataclass(frozen=True, slots=True)
class Disaggregation:
    """Prefill on the first pool, decode on the second, the cache moved in between.

    Attributes:
        transfer_s: per request.
        transfer_token_s: per token of the prompt.

    """

    transfer_s: float = 1e-3
    transfer_token_s: float = 0.0

    def __post_init__(self) -> None:
        if min(self.transfer_s, self.transfer_token_s) < 0:
            raise InputError("transfer times must not be negative")


@dataclass(frozen=True, slots=True)
class Outage:
    """A replica, counted over all pools, is down for a while."""

    replica: int
    start_s: float
    stop_s: float

    def __post_init__(self) -> None:
        if not 0 <= self.start_s < self.stop_s:
            raise InputError("an outage must start at 0 or later, and stop after it started")


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """Everything that serves.

    Attributes:
        pools: of different hardware; a request goes to any of them unless it is bound to one.
        placement: which replica.
        disaggregation: ``None`` where every replica prefills and decodes.
        outages: what breaks.
        autoscaler: how many of the pool's replicas are on; ``None``: all, all the time.

    """

    pools: tuple[Pool, ...]
    placement: Placement = LEAST_LOADED
    disaggregation: Disaggregation | None = None
    outages: tuple[Outage, ...] = ()
    autoscaler: Autoscaler | None = None

    def __post_init__(self) -> None:
        if not self.pools:
            raise InputError("a site needs at least one pool")
        if self.disaggregation is not None and len(self.pools) != 2:
            raise InputError("disaggregation needs two pools: prefill first, then decode")
        if self.disaggregation is not None and self.pools[0].engine.swap_token_s is not None:
            raise InputError("disaggregation and swapping to the host exclude each other")

        shared = {
            (
                engine.kv_block_tokens,
                engine.chunked_prefill,
                engine.reserve_full_prompt,
                engine.asynchronous,
                engine.prefix_cache,
                engine.swap_token_s,
            )
            for engine in (pool.engine for pool in self.pools)
        }
        if len(shared) > 1:
            raise InputError(
                "pools may differ in slots, token budget, blocks and step times, but must share "
                "block size, chunked prefill, reservation, asynchronous planning, prefix cache and "
                "swapping"
            )

        if self.autoscaler is not None:
            if len(self.pools) > 1 or self.outages:
                raise InputError("an autoscaler needs one pool, whose replicas do not fail")
            if self.autoscaler.max_replicas != self.num_replicas:
                raise InputError(
                    f"an autoscaler of up to {self.autoscaler.max_replicas} replicas does not go "
                    f"with a pool of {self.num_replicas}"
                )
        for outage in self.outages:
            if not 0 <= outage.replica < self.num_replicas:
                raise InputError(f"an outage names replica {outage.replica} of {self.num_replicas}")

    @property
    def num_replicas(self) -> int:
        """Replicas of all pools."""
        return sum(pool.replicas for pool in self.pools)


def alone_ns(
    prompt_tokens: Ints, output_tokens: Ints, pool: Pool, decode_pool: Pool | None = None
) -> tuple[Ints, Ints]:
    """Return nanoseconds of prefill on an empty replica of ``pool``, and of decode.

    Decode is there, or on an empty replica of ``decode_pool``; overhead is in neither.
    """
    table = pool.table if decode_pool is None else decode_pool.table
    max_tokens = int((prompt_tokens + output_tokens).max())
    bucket = np.minimum(np.arange(max_tokens + 1) >> table.shift, BUCKETS - 1)
    until_ns = np.concatenate([[0], np.cumsum(table.decode_ns[1, bucket])])
    decode = until_ns[prompt_tokens + output_tokens - 1] - until_ns[prompt_tokens]

    engine = pool.engine
    budget = engine.max_num_batched_tokens if engine.chunked_prefill else max_tokens
    prefill = np.zeros(len(prompt_tokens), dtype=np.int64)
    _prefills(prompt_tokens, budget, pool.table.mixed_ns, prefill)
    return prefill, decode


@compiled
def _prefills(prompt_tokens: Ints, budget: int, mixed_table: Floats, times_ns: Ints) -> None:
    """Add the nanoseconds of every prompt's chunks to ``times_ns``."""
    for i in range(len(prompt_tokens)):
        start = 0
        while start < prompt_tokens[i]:
            chunk = min(budget, prompt_tokens[i] - start)
            pairs = chunk * start + chunk * (chunk + 1) // 2
            times_ns[i] += mixed_ns(mixed_table, 0, 0, chunk, pairs)
            start += chunk


def share_of_work(pool: Pool, trace: Trace) -> ServiceTime:
    """Return what a token takes from a replica that is shared: the work that orders weigh.

    At a full batch of requests as in ``trace``, an output token is one step's time over the batch;
    a prompt token is what a large chunk adds to such a step, over the chunk. Both follow from the
    tables, no run is needed.
    """
    engine, table = pool.engine, pool.table
    context = float(trace.prompt_tokens.mean() + trace.output_tokens.mean() / 2)
    batch = int(max(1, min(engine.max_num_seqs, engine.kv_tokens // max(context, 1.0))))
    kv_tokens = int(batch * context)
    step_ns = table.decode_step_ns(batch, kv_tokens)

    chunk = max(1, min(int(trace.prompt_tokens.mean()), engine.max_num_batched_tokens - batch))
    with_chunk_ns = table.mixed_step_ns(batch, kv_tokens, chunk, chunk * (chunk + 1) // 2)
    added_ns = max(with_chunk_ns - step_ns, 1)
    return ServiceTime(
        fixed_s=0.0,
        prompt_token_s=added_ns * 1e-9 / chunk,
        output_token_s=step_ns * 1e-9 / batch,
    )
