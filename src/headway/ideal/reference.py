"""A model alone on reference accelerators: its fastest layout, and what requests take there.

Beside seconds there are accelerator-seconds, dollars and joules, so that a model on eight
accelerators is not taken for as cheap as one on a single one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from headway.errors import DoesNotFitError, InputError
from headway.hardware.catalogue import find_cluster
from headway.hardware.cluster import Cluster
from headway.ideal.idealized import IdealizedRuntime, PassEnergy
from headway.ideal.request_profile import FloatArray
from headway.measure.trials import Interval
from headway.model.architecture import ModelArchitecture
from headway.model.catalogue import find_model, find_precision
from headway.model.ffn import MoeFfn
from headway.model.precision import Precision
from headway.steptime.calibrated import CalibratedStepTime
from headway.steptime.calibration import shipped
from headway.steptime.deployment import Deployment
from headway.steptime.parallelism import Parallelism
from headway.steptime.roofline import Basis
from headway.steptime.step_time import AnalyticStepTime, StepTimeModel
from headway.units import GB
from headway.workload.step import Step

# Intervals of `CalibratedStepTime` reach from the 10% to the 90% quantile.
CALIBRATED_CONFIDENCE = 0.8


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """A model alone on accelerators: its runtime, and what they cost and draw meanwhile.

    Attributes:
        deployment: the model in its fastest layout.
        runtime: of single requests.
        engine: the measured one that runs the model, ``None`` for the data sheet alone.
        basis: what the runtime rests on.

    """

    deployment: Deployment
    runtime: IdealizedRuntime
    engine: str | None
    basis: Basis

    @property
    def num_accelerators(self) -> int:
        """Accelerators that the model has to itself."""
        return int(self.deployment.parallelism.num_accelerators)

    def usd(self, runtime_s: FloatArray) -> FloatArray:
        """Return dollars of ``runtime_s``; raise `InputError` where no price is known."""
        usd_per_s = self.deployment.cluster.usd_per_accelerator_s * self.num_accelerators
        return np.asarray(runtime_s * usd_per_s)

    def mean_joules(self, prompt_tokens: FloatArray, output_tokens: FloatArray) -> Interval | None:
        """Return mean joules of requests, 80% interval; ``None`` where no TDP is known.

        Never above the TDP of every accelerator for as long as the runtime may be.
        """
        joules, energy = self.runtime.joules(prompt_tokens, output_tokens), self.runtime.energy
        tdp_w = self.deployment.cluster.accelerator.tdp_w
        if joules is None or energy is None or tdp_w is None:
            return None

        expected = float(joules.mean())
        low, high = energy.error_factors
        max_s = float(self.runtime.interval(prompt_tokens, output_tokens)[1].mean())
        max_j = max_s * tdp_w * self.num_accelerators
        return Interval(low * expected, expected, max(min(high * expected, max_j), expected))


def idealize(
    model: ModelArchitecture | str,
    on: Cluster | str = "a100",
    *,
    engine: str | None = "vllm",
    precision: Precision | str | None = None,
    num_accelerators: int | None = None,
    context_tokens: float = 4096,
) -> Reference:
    """Return ``model`` in its fastest layout on reference accelerators, all to itself.

    "Fastest" is by a decode pass plus a prefill pass of 512 tokens, batch 1.

    Args:
        model: or its name.
        on: accelerators, or their name.
        engine: the measured engine that runs the model; ``None`` for the data sheet alone.
        precision: of the model; as it was published, where a name is given.
        num_accelerators: how many, or as few as hold the model, in powers of two.
        context_tokens: that one sequence must have room for.

    Raises:
        UnknownNameError: nobody has measured that engine, or a name is unknown.
        DoesNotFitError: neither that many nor any number within reach holds the model.
        InputError: the model cannot be split over exactly ``num_accelerators``.

    """
    if isinstance(precision, str):
        precision = Precision.parse(precision)
    if isinstance(model, str):
        precision = precision or find_precision(model)
        model = find_model(model)
    if precision is None:
        raise InputError(f"give the precision of {model.name}, such as bf16")
    cluster = find_cluster(on) if isinstance(on, str) else on
    if engine is not None:
        shipped().check_engine(engine)

    counts = [num_accelerators] if num_accelerators else _powers_of_two(cluster.reach)
    does_not_fit: DoesNotFitError | None = None
    for count in counts:
        try:
            deployments = _deployments(model, precision, cluster, count, context_tokens)
        except DoesNotFitError as error:
            if does_not_fit is None or error.missing_bytes < does_not_fit.missing_bytes:
                does_not_fit = error
            continue
        if deployments:
            return _reference(min(deployments, key=lambda d: _speed_s(d, engine)), engine)

    raise does_not_fit or InputError(
        f"{model.name} cannot be laid out over {counts[0]} {cluster.name}; the cluster reaches "
        f"{cluster.reach}, and heads and layers must divide"
    )


def _deployments(
    model: ModelArchitecture,
    precision: Precision,
    cluster: Cluster,
    count: int,
    context_tokens: float,
) -> list[Deployment]:
    """Return the layouts that hold one sequence; none where the model cannot be split so.

    Raises:
        DoesNotFitError: the model can be split, and no layout has the memory.

    """
    deployments = [
        Deployment(cluster, model, precision, layout)
        for layout in _layouts(model, count)
        if bool(layout.valid(model, cluster))
    ]
    missing = [float(d.missing_bytes(1, context_tokens)) for d in deployments]
    if missing and min(missing) > 0:
        raise DoesNotFitError(
            f"{model.name} in {precision} with one sequence of {context_tokens:g} tokens lacks "
            f"{min(missing) / GB:.1f} GB on each of {count} {cluster.name}; name more "
            "accelerators or a smaller precision",
            min(missing),
        )
    return [d for d, lacks in zip(deployments, missing, strict=True) if lacks <= 0]


def _layouts(model: ModelArchitecture, count: int) -> Iterator[Parallelism]:
    has_experts = any(isinstance(group.ffn, MoeFfn) for group in model.layers)
    for pp in (n for n in range(1, count + 1) if count % n == 0):
        tp = count // pp
        for ep in (1, tp) if has_experts and tp > 1 else (1,):
            yield Parallelism(tp=tp, pp=pp, ep=ep)


def _powers_of_two(maximum: int) -> list[int]:
    return [2**n for n in range(maximum.bit_length()) if 2**n <= maximum]


def _step_time_model(deployment: Deployment, engine: str | None) -> StepTimeModel:
    if engine is None:
        return AnalyticStepTime(deployment)
    return CalibratedStepTime(deployment, engine)


def _speed_s(deployment: Deployment, engine: str | None) -> float:
    steps = _step_time_model(deployment, engine)
    decode_s = steps.step_time(Step.decode(1, 512)).expected_s
    prefill_s = steps.step_time(Step.prefill(1, 512)).expected_s
    return float(np.sum(decode_s) + np.sum(prefill_s))


def _reference(deployment: Deployment, engine: str | None) -> Reference:
    steps = _step_time_model(deployment, engine)
    has_tdp = deployment.cluster.accelerator.tdp_w is not None
    runtime = IdealizedRuntime(
        steps,
        energy=PassEnergy(deployment) if has_tdp else None,
        confidence=None if engine is None else CALIBRATED_CONFIDENCE,
    )
    return Reference(deployment, runtime, engine, steps.step_time(Step.decode(1, 512)).basis)
