"""What is simulated: everything that decides the figures of a run, checked at birth."""

from __future__ import annotations

from dataclasses import dataclass, replace

from headway.errors import InputError
from headway.schedule.autoscale import Autoscaler
from headway.schedule.consolidate import Consolidation
from headway.schedule.order import OrderPolicy
from headway.schedule.route import LEAST_LOADED, Placement
from headway.sim.engine import Engine, kv_blocks
from headway.sim.experiment import NO_OBJECTIVES, SKILL
from headway.sim.predictions import Predictions
from headway.sim.site import Disaggregation, Outage, Pool
from headway.sim.source import Workload
from headway.sim.times import tabulate
from headway.steptime.deployment import Deployment, EngineLimits
from headway.steptime.step_time import StepTimeModel
from headway.units import check_positive
from headway.workload.request import Slo

MAX_SEEDS = 10_000
MAX_LOAD = 10.0


@dataclass(frozen=True, slots=True)
class EngineFeatures:
    """What all pools share; the defaults are vLLM's. See `headway.sim.engine.Engine`."""

    kv_block_tokens: int = 16
    chunked_prefill: bool = True
    reserve_full_prompt: bool = True
    asynchronous: bool = True
    prefix_cache: bool = True
    swap_token_s: float | None = None


VLLM = EngineFeatures()
PLAIN_LIMITS = EngineLimits(256, 2048)  # where no engine is named


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PoolSpec:
    """Replicas of one deployment.

    Attributes:
        deployment: a model on its accelerators.
        replicas: engines.
        step_times: whose step times; the deployment's own where not given.
        max_num_seqs, max_num_batched_tokens: of every group with attention of its own; the
            limits of the deployment's engine where not given, 256 and 2048 where it names none.
        num_kv_blocks: what fits the memory where not given.
        max_context_tokens: of any request that will come, where that is known; it only saves time.

    """

    deployment: Deployment
    replicas: int = 1
    step_times: StepTimeModel | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    num_kv_blocks: int | None = None
    max_context_tokens: int | None = None

    @property
    def limits(self) -> tuple[int, int]:
        """Sequences and tokens of a step, of every group with attention of its own."""
        limits = self.deployment.limits if self.deployment.engine is not None else PLAIN_LIMITS
        return (
            self.max_num_seqs or limits.max_num_seqs,
            self.max_num_batched_tokens or limits.max_num_batched_tokens,
        )

    def pool(self, features: EngineFeatures = VLLM) -> Pool:
        """Return the pool, its step times tabulated.

        Raises:
            DoesNotFitError: the model leaves no memory for a cache.

        """
        deployment = self.deployment
        groups, blocks = int(deployment.parallelism.dp), self.num_kv_blocks
        max_num_seqs, max_num_batched_tokens = self.limits
        engine = Engine(
            max_num_seqs=max_num_seqs * groups,
            max_num_batched_tokens=max_num_batched_tokens * groups,
            num_kv_blocks=blocks or kv_blocks(deployment, features.kv_block_tokens),
            kv_block_tokens=features.kv_block_tokens,
            chunked_prefill=features.chunked_prefill,
            reserve_full_prompt=features.reserve_full_prompt,
            asynchronous=features.asynchronous,
            prefix_cache=features.prefix_cache,
            swap_token_s=features.swap_token_s,
        )
        model = self.step_times or deployment.step_time_model
        name = f"{deployment.model.name} on {deployment.cluster.name}"
        table = tabulate(model, engine, self.max_context_tokens)
        return Pool(engine, table, self.replicas, name)


@dataclass(frozen=True, slots=True)
class OffloadRule:
    """Long answers go to the second pool, all others to the first.

    Attributes:
        share: of the requests, those with the longest predicted answers; where not said, the one
            with the least mean e2e on training traces, which may be none.
        level: quantile of the prediction that counts.

    """

    share: float | None = None
    level: float = 0.9

    def __post_init__(self) -> None:
        if self.share is not None and not 0 < self.share < 1:
            raise InputError(f"share must lie between 0 and 1, not at {self.share:g}")


@dataclass(frozen=True, slots=True)
class Tenant:
    """Who asks: a tenant, or a class of service.

    Attributes:
        share: of the requests of a profile; a trace says itself whose its requests are.
        weight: in fair shares.
        ttft_s, tpot_s, e2e_s: its objectives; those of everybody where not given.
        tier: class of service for the order ``strict``, the smallest goes first.
        value: what it is worth to meet the objectives of a request.

    """

    share: float | None = None
    weight: float = 1.0
    ttft_s: float | None = None
    tpot_s: float | None = None
    e2e_s: float | None = None
    tier: int = 0
    value: float = 1.0

    def __post_init__(self) -> None:
        for name in ("share", "weight", "ttft_s", "tpot_s", "e2e_s", "value"):
            if getattr(self, name) is not None:
                check_positive(getattr(self, name), name)

    def slo(self, common: Slo) -> Slo:
        """Return its objectives beside those of everybody."""
        return replace(
            common,
            ttft_s=self.ttft_s or common.ttft_s,
            tpot_s=self.tpot_s or common.tpot_s,
            e2e_s=self.e2e_s or common.e2e_s,
            tier=self.tier,
            value=self.value,
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Scenario:
    """Everything that decides the figures of a simulation.

    Attributes:
        workload: where requests come from.
        pools: what serves.
        rate_rps, load: arrivals; at most one of the two, load as a fraction of saturation.
        seeds: runs of everything.
        policies: orders that are compared with first come first served; a name is looked up in
            `headway.schedule.policies`, its time constants set for this place.
        predictions: of the lengths of answers.
        placement: how a replica is chosen.
        slo: objectives of everybody.
        features: of the engines.
        disaggregation: prefill on the first pool, decode on the second.
        outages: of replicas, counted over all pools.
        autoscaler: how many of the pool's replicas are on.
        offload: of long answers to the second pool.
        batch: static batches instead of continuous batching.
        tenants: by name.
        goal: what the order ``headway`` is chosen for, `headway.sim.tune`; attainment where there
            are objectives, else the mean within a bound on the tail.

    """

    workload: Workload
    pools: tuple[PoolSpec, ...]
    rate_rps: float | None = None
    load: float | None = None
    seeds: int = 5
    policies: tuple[str | OrderPolicy, ...] = ("fcfs",)
    predictions: Predictions = SKILL
    placement: Placement = LEAST_LOADED
    slo: Slo = NO_OBJECTIVES
    features: EngineFeatures = VLLM
    disaggregation: Disaggregation | None = None
    outages: tuple[Outage, ...] = ()
    autoscaler: Autoscaler | None = None
    offload: OffloadRule | None = None
    batch: Consolidation | None = None
    tenants: tuple[tuple[str, Tenant], ...] = ()
    goal: str | None = None

    def __post_init__(self) -> None:
        if not self.pools:
            raise InputError(
                "say what serves: a deployment MODEL@HARDWARE:LAYOUT, such as llama-3.1-8b@h100:tp1"
            )
        if self.rate_rps is not None and self.load is not None:
            raise InputError("a rate and a load exclude each other: give one of them, not both")
        if self.load is not None and not 0 < self.load <= MAX_LOAD:
            raise InputError(
                f"load is a fraction of saturation such as 0.9, not {self.load:g}; for requests "
                "per second give a rate"
            )
        if not 1 <= self.seeds <= MAX_SEEDS:
            raise InputError(f"seeds must be from 1 to {MAX_SEEDS}, not {self.seeds}")
        if self.offload is not None and (len(self.pools) != 2 or self.disaggregation):
            raise InputError("offload needs two pools, fast and slow, that both prefill and decode")
        if self.autoscaler is not None:
            self._check_autoscaler(self.autoscaler)
        if self.batch is not None:
            self._check_batch(self.batch)
        self._check_tenants()

    def _check_autoscaler(self, autoscaler: Autoscaler) -> None:
        if len(self.pools) > 1 or self.outages or self.batch is not None:
            raise InputError(
                "an autoscaler needs one deployment that batches continuously and does not fail"
            )
        if self.pools[0].replicas not in (1, autoscaler.max_replicas):
            raise InputError(
                f"an autoscaler of {autoscaler.min_replicas}..{autoscaler.max_replicas} says how "
                f"many replicas there are: leave out the {self.pools[0].replicas}"
            )
        object.__setattr__(
            self, "pools", (replace(self.pools[0], replicas=autoscaler.max_replicas),)
        )

    def _check_batch(self, batch: Consolidation) -> None:
        max_pools = 2 if self.offload is not None else 1
        if len(self.pools) > max_pools or self.disaggregation or self.outages:
            raise InputError(
                "static batches run on one replica that does not fail, with a second pool only to "
                "offload to"
            )
        if any(pool.replicas > 1 for pool in self.pools):
            raise InputError("static batches run on one replica per pool")
        if any(batch.max_batch > pool.limits[0] for pool in self.pools):
            raise InputError(
                f"a static batch of {batch.max_batch} needs a pool with max_num_seqs of as many"
            )

    def _check_tenants(self) -> None:
        have_share = [tenant.share is not None for _, tenant in self.tenants]
        if any(have_share) and not all(have_share):
            raise InputError("either every tenant has a share of the requests, or none")
        if self.tenants and not any(have_share) and self.workload.trace is None:
            raise InputError(
                f"profile {self.workload.name} does not say who asks: give every tenant a share"
            )
