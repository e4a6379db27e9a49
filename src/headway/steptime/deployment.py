"""A placed model and what runs it: everything that decides how long a step takes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from headway.dtypes import DType
from headway.errors import InputError
from headway.hardware.accelerator import Accelerator
from headway.hardware.cluster import Cluster
from headway.hardware.stacks import Engine, check_stack
from headway.model.architecture import ModelArchitecture
from headway.model.precision import Precision
from headway.steptime.analytic import AnalyticStepTime
from headway.steptime.calibrated import CalibratedStepTime
from headway.steptime.calibration import Calibration, kind_of, shipped
from headway.steptime.engine_version import at_version
from headway.steptime.local import LocalStepTime, local_fits
from headway.steptime.measured import OperatorStepTime
from headway.steptime.operator_profile import Operators
from headway.steptime.parallelism import Parallelism
from headway.steptime.placed_model import MEMORY_UTILIZATION, Drafting, PlacedModel
from headway.steptime.roofline import EXPECTED, Efficiency
from headway.steptime.step_time import StepTimeModel
from headway.steptime.time_estimate import TimeEstimate
from headway.workload.step import Step

LEAST_BATCHED_TOKENS = 256  # engines with smaller steps were never measured
NO_LIMIT = 2**20
SORTING = (
    "vllm",
)  # engines that sort the vocabulary for top-p and top-k; of the others none is known
UNMIXED = ("sglang",)  # engines whose decoding waits while a prompt is computed

Answer = TypeVar("Answer", covariant=True)


class Question(Protocol[Answer]):
    """Whatever one may ask a deployment to do, such as `headway.serving.load.Load`."""

    def served_by(self, deployment: Deployment) -> Answer:
        """Answer for ``deployment``."""
        ...


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What an engine is told about its steps; the defaults are vLLM's for serving.

    Attributes:
        max_num_seqs: sequences of one group that run at once.
        max_num_batched_tokens: tokens of one step.
        poll_steps: decode steps from one look at new requests to the next (SGLang's
            ``--scheduler-recv-interval``); after a step with prompts it looks at once.
        balance_steps: steps for which a prompt waits at most until every group with attention of
            its own has one (TensorRT-LLM's ``attention_dp_config``), 0 for not at all.

    """

    max_num_seqs: int = 1024
    max_num_batched_tokens: int = 8192
    poll_steps: int = 1
    balance_steps: int = 0

    def __post_init__(self) -> None:
        if self.max_num_seqs < 1:
            raise InputError(f"max_num_seqs must be at least 1, not {self.max_num_seqs}")
        if self.max_num_batched_tokens < LEAST_BATCHED_TOKENS:
            raise InputError(
                f"max_num_batched_tokens must be at least {LEAST_BATCHED_TOKENS}, not "
                f"{self.max_num_batched_tokens}: engines with smaller steps were never measured"
            )
        if self.poll_steps < 1 or self.balance_steps < 0:
            raise InputError(
                f"poll_steps must be at least 1 and balance_steps at least 0, not "
                f"{self.poll_steps} and {self.balance_steps}"
            )


def default_limits(engine: str | None) -> EngineLimits:
    """Return vLLM's limits; without an engine, as many sequences as the memory holds."""
    return EngineLimits() if engine is not None else EngineLimits(max_num_seqs=NO_LIMIT)


def as_run(precision: Precision, accelerator: Accelerator) -> Precision:
    """Return ``precision`` as engines run it: 4-bit weights with 8-bit activations where native.

    A checkpoint with mxfp4 weights and 16-bit activations (gpt-oss) is multiplied in fp8 on
    hardware that takes both formats, and dequantized elsewhere.
    """
    native_both = accelerator.supports(DType.MXFP4) and accelerator.supports(DType.FP8)
    if precision.weights is DType.MXFP4 and precision.activations.bits == 16 and native_both:
        return Precision(
            weights=precision.weights,
            activations=DType.FP8,
            kv_cache=precision.kv_cache,
            attention_weights=precision.attention_weights,
        )
    return precision


@dataclass(frozen=True, slots=True, eq=False, init=False, kw_only=True)
class Deployment(PlacedModel):
    """A model on a cluster, and the engine that runs it.

    Attributes:
        engine: the serving engine; its step times are taken where it was measured ("vllm",
            "sglang", "tensorrt-llm") or scored by many ("llama.cpp"), and the data sheet under
            ``efficiency`` for another ("mlc") and for ``None``.
        engine_version: of the engine, ``None`` for the mean of those that were measured.
        limits: of the engine.
        calibration: what was measured of engines; what ships with Headway by default.
        efficiency: how near software comes to the data sheet, where no engine is named.
        operators: measured operators whose sums are the step times, instead of either.
        top_p: whether tokens are chosen among the likeliest.

    """

    engine: str | None
    engine_version: str | None
    limits: EngineLimits
    calibration: Calibration = field(repr=False)
    efficiency: Efficiency
    operators: Operators | None = field(repr=False)
    top_p: bool

    def __init__(
        self,
        model: ModelArchitecture,
        cluster: Cluster,
        *,
        tp: int = 1,
        pp: int = 1,
        dp: int = 1,
        ep: int = 1,
        parallelism: Parallelism | None = None,
        precision: Precision | str | None = None,
        engine: str | None = None,
        engine_version: str | None = None,
        limits: EngineLimits | None = None,
        drafting: Drafting | None = None,
        calibration: Calibration | None = None,
        efficiency: Efficiency = EXPECTED,
        operators: Operators | None = None,
        memory_utilization: float = MEMORY_UTILIZATION,
        top_p: bool = False,
    ) -> None:
        """Place ``model`` on ``cluster``.

        Args:
            model: what runs.
            cluster: where it runs.
            tp: tensor-parallel ranks, unless ``parallelism`` says them; so for the next three.
            pp: pipeline stages.
            dp: groups with attention of their own.
            ep: expert-parallel groups.
            parallelism: the layout; its degrees may be arrays.
            precision: of weights, activations and KV cache, such as "fp8"; as the model was
                published where not given.
            engine: the engine that runs it, perhaps with its version ("vllm@0.19"); ``None`` for
                the data sheet.
            engine_version: see the attributes; instead of one behind the name.
            limits: of the engine, `default_limits` where not given.
            drafting: how it drafts, ``None`` for not at all.
            calibration: see the attributes.
            efficiency: see the attributes.
            operators: see the attributes.
            memory_utilization: fraction of the memory that weights and KV cache may take.
            top_p: whether tokens are chosen among the likeliest (top-p or top-k), for which vLLM
                sorts the vocabulary (measured of 0.11); benchmarks take the likeliest one.

        Raises:
            InputError: the layout does not divide the model, or the precision is unknown.
            UnsupportedError: the engine does not run there, or not in this format.

        """
        if isinstance(precision, str):
            precision = Precision.parse(precision)
        if precision is None:
            precision = model.precision
        if precision is None:
            raise InputError(f"{model.name} does not say its precision; give one, such as bf16")

        calibration = shipped() if calibration is None else calibration
        if engine is not None:
            precision = as_run(precision, cluster.accelerator)
            stack = Engine.parse(engine)
            engine, engine_version = stack.name, stack.version or engine_version
        if parallelism is None:
            parallelism = Parallelism(tp=tp, pp=pp, dp=dp, ep=ep)

        values = {
            "model": model,
            "cluster": cluster,
            "precision": precision,
            "parallelism": parallelism,
            "drafting": drafting,
            "memory_utilization": memory_utilization,
            "top_p": top_p,
            "engine": engine,
            "engine_version": engine_version,
            "limits": default_limits(engine) if limits is None else limits,
            "calibration": calibration,
            "efficiency": efficiency,
            "operators": operators,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        PlacedModel.__post_init__(self)
        if engine is not None:
            stack = Engine(engine, engine_version)
            check_stack(str(stack), cluster.accelerator, self.precision.weights, kind_of(model))

    @property
    def mixes_prompts(self) -> bool:
        """Whether a step may hold prompts and decoding sequences at once."""
        return self.engine not in UNMIXED

    @property
    def sorted_logits(self) -> int:
        """Numbers that are sorted to choose one token; every rank sorts all of them."""
        return self.model.vocab_size if self.top_p and self.engine in SORTING else 0

    @property
    def is_measured(self) -> bool:
        """Whether an engine is named whose step times were measured on any chip."""
        return self.engine in self.calibration.engines

    @property
    def step_time_model(self) -> StepTimeModel:
        """The object that says how long a step takes; all other questions ask it.

        Of an engine that nobody has measured or scored the data sheet alone is known.
        """
        if self.operators is not None:
            return OperatorStepTime(self, self.operators)
        if self.engine is not None and self.is_measured:
            engine = Engine(self.engine, self.engine_version)
            return CalibratedStepTime(self, self.engine, at_version(self.calibration, engine))
        if self.engine is not None and self.engine in local_fits():
            return LocalStepTime(self, local_fits()[self.engine])
        return AnalyticStepTime(self, self.efficiency)

    @property
    def own_words(self) -> str | None:
        """What the user's own points in the calibration tell of it; ``None`` without any."""
        model = self.step_time_model
        if isinstance(model, CalibratedStepTime):
            return self.calibration.own_words(model.subject)
        if not self.calibration.owns:
            return None
        return "your points are of an engine, and these step times are of none: they do not count"

    def step_time(self, batch: npt.ArrayLike, context: npt.ArrayLike = 0) -> TimeEstimate:
        """Return the time of a step in which ``batch`` sequences of ``context`` tokens decode.

        Args:
            batch: sequences; arrays broadcast against the context and the layout.
            context: tokens of each sequence that are computed already.

        """
        verified = 1.0 if self.drafting is None else self.drafting.verified_tokens
        sequences, tokens = np.asarray(batch, np.float64), np.asarray(context, np.float64)
        return self.step_time_model.step_time(Step.decode(sequences, tokens, verified))

    def serve(self, load: Question[Answer]) -> Answer:
        """Return what serving ``load`` takes: times, throughput, dollars, joules."""
        return load.served_by(self)

    def with_parallelism(self, parallelism: Parallelism) -> Deployment:
        """Return the same model on the same cluster in another layout."""
        return replace(self, parallelism=parallelism)

    def with_limits(self, limits: EngineLimits) -> Deployment:
        """Return the same deployment under other limits of its engine."""
        return replace(self, limits=limits)

    def with_drafting(self, drafting: Drafting | None) -> Deployment:
        """Return the same deployment, drafting in another way."""
        return replace(self, drafting=drafting)

    def __str__(self) -> str:
        engine = ""
        if self.engine is not None:
            engine = f" with {Engine(self.engine, self.engine_version)}"
        return (
            f"{self.model.name} in {self.precision} on {self.num_accelerators:g} "
            f"{self.cluster.name} ({self.parallelism}){engine}"
        )
