"""What is asked of a plan, as one object: model, demand, objectives, and where it may run."""

from __future__ import annotations

from dataclasses import dataclass, field

from headway.errors import InputError
from headway.hardware.cluster import Cluster
from headway.model.architecture import ModelArchitecture
from headway.model.precision import Precision
from headway.plan.demand import Demand
from headway.plan.drafted import OneTokenSteps
from headway.serving.closed_loop import ClosedLoop
from headway.sim.scenario import VLLM, PoolSpec
from headway.sim.site import Pool
from headway.sim.world import Floats
from headway.steptime.calibration import Calibration, shipped
from headway.steptime.deployment import Deployment
from headway.steptime.placed_model import Drafting
from headway.steptime.work import Array
from headway.workload.objective import Objective
from headway.workload.record import Records

DEFAULT_SLO = "ttft p95 < 2s, tpot p95 < 50ms"
MAX_REPLICA_ACCELERATORS = 64
MAX_TABLES = 64  # that are kept, of a few megabytes each


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """Engines with their step times, tabulated once for a question and all its variants.

    The latest `MAX_TABLES` are kept.
    """

    _pools: dict[object, tuple[object, Pool]] = field(default_factory=dict)

    def pool(self, deployment: Deployment, longest_tokens: int) -> Pool:
        """Return one replica of ``deployment`` whose requests have at most ``longest_tokens``."""
        cluster, layout = deployment.cluster, deployment.parallelism
        drafting = deployment.drafting

        # What decides a step's time: objects by their identity, the rest by its value.
        objects = (deployment.model, deployment.calibration, cluster.accelerator, *cluster.links)
        degrees = (layout.tp, layout.pp, layout.dp, layout.ep, layout.rows)
        key = (
            *map(id, objects),
            *map(float, degrees),
            str(deployment.precision),
            deployment.engine,
            deployment.engine_version,
            deployment.limits,
            None if drafting is None else (id(drafting.speculation), float(drafting.tokens)),
            longest_tokens,
        )

        if key not in self._pools:
            if len(self._pools) >= MAX_TABLES:
                self._pools.pop(next(iter(self._pools)))  # the oldest
            spec = PoolSpec(
                deployment=deployment,
                step_times=None if drafting is None else OneTokenSteps(deployment, drafting),
                max_context_tokens=longest_tokens,
            )
            owners = (*objects, drafting)  # whose identities no other object may get
            self._pools[key] = owners, spec.pool(VLLM)
        return self._pools[key][1]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Problem:
    """A question for a plan.

    Attributes:
        model: what is served.
        demand: who asks.
        objectives: what must hold.
        clusters: what one can rent, each with its price and how many there are.
        precisions: number formats; ``None`` is the format in which the model was published.
        drafts: ways to draft; ``None`` for not at all.
        apart: whether prefill and decode on engines of their own are considered.
        engine: the only serving engine considered; ``None`` for all that were measured.
        sure: probability with which the objectives must be met.
        survive: replicas that may fail at once.
        max_replica_accelerators: largest engine considered.
        seeds: runs that decide between close calls.
        calibration: what was measured of engines.
        tables: engines that were tabulated so far.

    """

    model: ModelArchitecture
    demand: Demand
    objectives: tuple[Objective, ...]
    clusters: tuple[Cluster, ...]
    precisions: tuple[Precision | None, ...] = (None,)
    drafts: tuple[Drafting | None, ...] = (None,)
    apart: bool = False
    engine: str | None = None
    sure: float = 0.9
    survive: int = 0
    max_replica_accelerators: int = MAX_REPLICA_ACCELERATORS
    seeds: int = 5
    calibration: Calibration = field(default_factory=shipped)
    tables: Tables = field(default_factory=Tables, repr=False)

    def __post_init__(self) -> None:
        if not 0.5 <= self.sure < 1:
            raise InputError(
                f"sure must be a probability from 0.5 (even odds) to below 1, not {self.sure:g}"
            )
        if not 0 <= self.survive <= 1000:
            raise InputError(f"survive must be a number of replicas, not {self.survive}")
        if self.seeds < 1:
            raise InputError(f"seeds must be at least 1, not {self.seeds}")
        if not self.objectives:
            raise InputError(f"a plan needs objectives, such as {DEFAULT_SLO!r}")
        if not self.clusters:
            raise InputError("a plan needs at least one accelerator with a price")

    def loop(self, concurrency: Array | float) -> ClosedLoop:
        """Return the mean request, ``concurrency`` of them in the system."""
        demand = self.demand
        return ClosedLoop(
            demand.prompt_tokens, demand.output_tokens, concurrency, demand.cached_fraction
        )


def check_priced(cluster: Cluster) -> None:
    """Raise `InputError` where no price of ``cluster`` is known."""
    if not cluster.is_priced:
        raise InputError(f"no price is known for {cluster.name}; give one with --price")


def quantity_of(objective: Objective, records: Records) -> Floats:
    """Return the quantity that ``objective`` bounds, of every request, in seconds."""
    values: Floats = getattr(records, f"{objective.quantity}_s")
    return values
