"""What serves: pools of alike replicas, how requests are placed, and what breaks when."""

from __future__ import annotations

from dataclasses import dataclass

from headway.errors import InputError, UnknownNameError
from headway.schedule.route import (
    LEAST_LOADED,
    PREDICTED_WORK,
    PREFIX_AFFINE,
    Placement,
    RoundRobin,
)
from headway.sim.engine import Engine
from headway.sim.times import StepTable

MAX_REPLICAS = 4096
PLACEMENTS: dict[str, Placement] = {
    rule.name: rule for rule in (LEAST_LOADED, PREDICTED_WORK, PREFIX_AFFINE, RoundRobin())
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

    """

    pools: tuple[Pool, ...]
    placement: Placement = LEAST_LOADED
    disaggregation: Disaggregation | None = None
    outages: tuple[Outage, ...] = ()

    def __post_init__(self) -> None:
        if not self.pools:
            raise InputError("a site needs at least one pool")
        if self.disaggregation is not None and len(self.pools) != 2:
            raise InputError("disaggregation needs two pools: prefill first, then decode")

        shared = {
            (
                engine.kv_block_tokens,
                engine.chunked_prefill,
                engine.reserve_full_prompt,
                engine.asynchronous,
                engine.prefix_cache,
            )
            for engine in (pool.engine for pool in self.pools)
        }
        if len(shared) > 1:
            raise InputError(
                "pools may differ in slots, token budget, blocks and step times, but must share "
                "block size, chunked prefill, reservation, asynchronous planning and prefix cache"
            )

        for outage in self.outages:
            if not 0 <= outage.replica < self.num_replicas:
                raise InputError(f"an outage names replica {outage.replica} of {self.num_replicas}")

    @property
    def num_replicas(self) -> int:
        """Replicas of all pools."""
        return sum(pool.replicas for pool in self.pools)
