"""What is asked of a frontier."""

from __future__ import annotations

from dataclasses import dataclass, field

from headway.errors import InputError
from headway.hardware.cluster import Cluster
from headway.model.architecture import ModelArchitecture
from headway.model.precision import Precision
from headway.serving.closed_loop import ClosedLoop
from headway.steptime.calibration import Calibration, shipped
from headway.steptime.deployment import Deployment
from headway.steptime.layouts import MAX_ACCELERATORS
from headway.steptime.parallelism import Parallelism
from headway.steptime.placed_model import MEMORY_UTILIZATION, Drafting, native
from headway.steptime.roofline import EXPECTED, Efficiency
from headway.steptime.speculative import Speculation
from headway.steptime.work import Array
from headway.units import check_positive

MAX_CONCURRENCY = 2**18


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A model under requests of one kind, and the limits of the search.

    Attributes:
        precision: ``None`` for that in which the model was published.
        prompt_tokens, output_tokens: of every request, in the mean.
        cached_fraction: of the prompt, found in the prefix cache.
        prefilled: whether prompts are computed elsewhere: decoding alone is searched and billed.
        engine: the measured engine that serves; ``None`` for the data sheet alone.
        concurrency: the only number of requests at once considered, ``None`` for any.
        speculation: who drafts, ``None`` for nobody.
        demand_tok_per_s: the most output tokens per second that one engine can sell.
        max_accelerators: largest engine considered.
        num_accelerators: the only size of engine considered, ``None`` for any.
        pipeline: whether pipeline parallelism is considered.
        efficiency: how near software comes to the data sheet, where no engine is named.

    """

    model: ModelArchitecture
    precision: Precision | None = None
    prompt_tokens: float = 2000.0
    output_tokens: float = 400.0
    cached_fraction: float = 0.0
    prefilled: bool = False
    engine: str | None = None
    concurrency: int | None = None
    speculation: Speculation | None = None
    demand_tok_per_s: float | None = None
    max_accelerators: int = MAX_ACCELERATORS
    num_accelerators: int | None = None
    pipeline: bool = True
    efficiency: Efficiency = EXPECTED
    memory_utilization: float = MEMORY_UTILIZATION
    calibration: Calibration = field(default_factory=shipped)

    def __post_init__(self) -> None:
        self.loop(1.0)  # checks lengths and fractions at birth
        longest, limit = self.prompt_tokens + self.output_tokens, self.model.max_context_tokens
        if limit is not None and longest - 1 > limit:
            raise InputError(
                f"{self.model.name} takes at most {limit} tokens of context, not {longest:g}"
            )
        if self.demand_tok_per_s is not None:
            check_positive(self.demand_tok_per_s, "demand in output tokens/s")
        for count in (self.max_accelerators, self.num_accelerators):
            if count is not None:
                check_positive(count, "number of accelerators", 2.0**20)
        if self.concurrency is not None:
            check_positive(self.concurrency, "requests at once", MAX_CONCURRENCY)

    def loop(self, concurrency: Array | float) -> ClosedLoop:
        """Return the requests, ``concurrency`` of them in the system."""
        return ClosedLoop(
            self.prompt_tokens,
            self.output_tokens,
            concurrency,
            self.cached_fraction,
            prefilled=self.prefilled,
        )

    def native_on(self, cluster: Cluster) -> Precision:
        """Return the precision as ``cluster`` computes it; raise `InputError` for an unknown."""
        precision = self.precision or self.model.precision
        if precision is None:
            raise InputError(f"{self.model.name} does not say its precision; give one, as bf16")
        return native(precision, cluster.accelerator)

    def deployment(
        self, cluster: Cluster, parallelism: Parallelism, drafting: Drafting | None = None
    ) -> Deployment:
        """Return the model on ``cluster`` in ``parallelism``, an array of layouts."""
        return Deployment(
            self.model,
            cluster,
            parallelism=parallelism,
            precision=self.precision,
            engine=self.engine,
            drafting=drafting,
            calibration=self.calibration,
            efficiency=self.efficiency,
            memory_utilization=self.memory_utilization,
        )
