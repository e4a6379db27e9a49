"""The idealized runtime of any model from its configuration: no profile, no table made by hand.

A request alone on its accelerators: one prefill pass, then one decode pass per further token,
priced by the cost model: as a measured engine runs them, or from the data sheet alone. Beside
seconds there are accelerator-seconds, dollars and joules, so that a model on eight accelerators is
not taken for as cheap as one on a single one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from headway.errors import DoesNotFitError, InputError
from headway.hardware.cluster import Cluster
from headway.ideal.pass_energy import PassEnergy
from headway.ideal.request_profile import FloatArray
from headway.ideal.runtime_fit import normal_width
from headway.measure.interval import Interval
from headway.model.architecture import ModelArchitecture
from headway.model.ffn import MoeFfn
from headway.model.precision import Precision
from headway.steptime.calibrated import CalibratedStepTime
from headway.steptime.deployment import Deployment
from headway.steptime.parallelism import Parallelism
from headway.steptime.roofline import EXPECTED, Assumptions, Basis, TimeEstimate
from headway.steptime.step_time import AnalyticStepTime, StepTimeModel
from headway.units import GB
from headway.workload.step import Step

# Contexts between which a decode pass is taken as straight; its time is, but for full windows.
CONTEXTS = 257
MOST_TOKENS = 1e8
# Intervals of `CalibratedStepTime` reach from the 10% to the 90% quantile.
CALIBRATED_CONFIDENCE = 0.8


TIMES = ("expected_s", "lower_s", "upper_s")


@dataclass(slots=True, eq=False)
class IdealizedRuntime:
    """Runtime of single requests under a model of step time, with its interval.

    Attributes:
        steps: whatever predicts a forward pass: analytic, fitted or measured.
        energy: of passes; ``None`` where joules are not asked for or no TDP is known.
        confidence: of the interval that ``steps`` give; ``None`` for bounds, which have none.

    """

    steps: StepTimeModel
    energy: PassEnergy | None = None
    confidence: float | None = None
    _decode: tuple[FloatArray, dict[str, FloatArray]] | None = field(default=None, init=False)

    def predict(self, prompt_tokens: npt.ArrayLike, output_tokens: npt.ArrayLike) -> FloatArray:
        """Expected seconds; arrays broadcast. Without output tokens, those of the prompt."""
        return self._sums(prompt_tokens, output_tokens)["expected_s"]

    def interval(
        self,
        prompt_tokens: npt.ArrayLike,
        output_tokens: npt.ArrayLike,
        confidence: float = 0.9,
    ) -> tuple[FloatArray, FloatArray]:
        """Seconds between which the truth lies with probability ``confidence``.

        An analytic model has no probability: from the hardware's bound to poor kernels.
        """
        sums = self._sums(prompt_tokens, output_tokens)
        if self.confidence is None:
            return sums["lower_s"], sums["upper_s"]
        wider, middle = normal_width(confidence) / normal_width(self.confidence), sums["expected_s"]
        lower, upper = ((sums[end] / middle) ** wider * middle for end in TIMES[1:])
        return lower, upper

    def joules(
        self, prompt_tokens: npt.ArrayLike, output_tokens: npt.ArrayLike
    ) -> FloatArray | None:
        """Expected joules of all accelerators; ``None`` without a model of energy."""
        return self._sums(prompt_tokens, output_tokens).get("joules")

    def _sums(
        self, prompt_tokens: npt.ArrayLike, output_tokens: npt.ArrayLike
    ) -> dict[str, FloatArray]:
        prompts, outputs = np.broadcast_arrays(
            np.asarray(prompt_tokens, dtype=np.float64), np.asarray(output_tokens, dtype=np.float64)
        )
        if np.any(prompts < 1) or np.any(outputs < 0) or np.any(prompts + outputs > MOST_TOKENS):
            raise InputError("a request has 1 prompt token or more, and less than 10^8 in all")
        prefill = self._of(Step.prefill(1, prompts.ravel()))
        further = np.maximum(outputs.ravel() - 1, 0)
        contexts, decodes = self._decodes(float((prompts + outputs).max()))
        found = {}
        for name, values in decodes.items():
            summed = _Integral(contexts, values)
            # The step that reads c cached tokens covers c - 1/2 to c + 1/2 of the integral.
            first, last = prompts.ravel() - 0.5, prompts.ravel() - 0.5 + further
            tokens = summed(last) - summed(first)
            found[name] = np.asarray(prefill[name] + tokens).reshape(prompts.shape)
        return found

    def _decodes(self, most: float) -> tuple[FloatArray, dict[str, FloatArray]]:
        if self._decode is None or self._decode[0][-1] < most + 1:
            even = np.geomspace(0.5, max(2 * most, 4096), CONTEXTS)
            # Windows fill at powers of two; a corner of the curve should be a knot.
            powers = 2.0 ** np.arange(7, np.ceil(np.log2(even[-1])))
            contexts = np.union1d(even, powers)
            found = self._of(Step.decode(1, contexts))
            self._decode = (
                contexts,
                {name: np.broadcast_to(values, contexts.shape) for name, values in found.items()},
            )
        return self._decode

    def _of(self, step: Step) -> dict[str, FloatArray]:
        """Seconds, their bounds and joules of ``step``, by name."""
        times: TimeEstimate = self.steps.step_time(step)
        found = {name: np.asarray(getattr(times, name)) for name in TIMES}
        if self.energy is not None:
            found["joules"] = self.energy.joules(step, found["expected_s"])
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """A model alone on accelerators: its runtime, and what they cost and draw meanwhile.

    ``engine`` is the measured one that runs it, ``None`` for the data sheet alone.
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
        """Dollars of ``runtime_s``; raise `InputError` where no price is known."""
        rate = self.deployment.cluster.usd_per_accelerator_s * self.num_accelerators
        return np.asarray(runtime_s * rate)

    def mean_joules(self, prompt_tokens: FloatArray, output_tokens: FloatArray) -> Interval | None:
        """Mean joules of requests, 80% interval; ``None`` where the data sheet has no TDP.

        Never above the TDP of every accelerator for as long as the runtime may be.
        """
        joules, tdp_w = self.runtime.joules(prompt_tokens, output_tokens), self._tdp_w
        if joules is None or tdp_w is None or self.runtime.energy is None:
            return None
        expected = float(joules.mean())
        low, high = self.runtime.energy.factors()
        most = float(self.runtime.interval(prompt_tokens, output_tokens)[1].mean()) * tdp_w
        return Interval(low * expected, expected, max(min(high * expected, most), expected))

    @property
    def _tdp_w(self) -> float | None:
        tdp_w = self.deployment.cluster.accelerator.tdp_w
        return None if tdp_w is None else tdp_w * self.num_accelerators


def reference(
    model: ModelArchitecture,
    precision: Precision,
    cluster: Cluster,
    num_accelerators: int | None = None,
    context_tokens: float = 4096,
    assumptions: Assumptions = EXPECTED,
    engine: str | None = None,
) -> Reference:
    """The fastest layout of ``model`` on ``num_accelerators``, or on as few as hold it.

    As few as hold it are counted in powers of two. "Fastest" is by a decode pass plus a prefill
    pass of 512 tokens, batch 1. A measured ``engine`` runs it, or none: then passes take what the
    data sheet and ``assumptions`` say.

    Raises:
        UnknownNameError: nobody has measured that engine.
        DoesNotFitError: neither that many nor any number within reach holds the model.
        InputError: the model cannot be split over exactly ``num_accelerators``.

    """
    counts = [num_accelerators] if num_accelerators else _powers(cluster.reach)
    least: DoesNotFitError | None = None
    allowed = False
    for count in counts:
        fitting = []
        for layout in _layouts(model, count):
            if not bool(layout.valid(model, cluster)):
                continue
            allowed = True
            deployment = Deployment(cluster, model, precision, layout, assumptions)
            missing = float(deployment.missing_bytes(1, context_tokens))
            if missing <= 0:
                fitting.append(deployment)
            elif least is None or missing < least.missing_bytes:
                least = DoesNotFitError(
                    f"{model.name} in {precision} with one sequence of {context_tokens:g} tokens "
                    f"lacks {missing / GB:.1f} GB on each of {count} {cluster.name}; name more "
                    "accelerators or a smaller precision",
                    missing,
                )
        if fitting:
            return _made(min(fitting, key=lambda deployment: _speed(deployment, engine)), engine)
    if least is not None:
        raise least
    if not allowed:
        raise InputError(
            f"{model.name} cannot be laid out over {counts[0]} {cluster.name}; the cluster reaches "
            f"{cluster.reach}, and heads and layers must divide"
        )
    raise AssertionError("every allowed layout either fits or lacks memory")


def _steps(deployment: Deployment, engine: str | None) -> StepTimeModel:
    if engine is None:
        return AnalyticStepTime(deployment)
    return CalibratedStepTime(deployment, engine)


def _made(deployment: Deployment, engine: str | None) -> Reference:
    steps = _steps(deployment, engine)
    has_tdp = deployment.cluster.accelerator.tdp_w is not None
    runtime = IdealizedRuntime(
        steps,
        PassEnergy(deployment) if has_tdp else None,
        None if engine is None else CALIBRATED_CONFIDENCE,
    )
    return Reference(deployment, runtime, engine, steps.step_time(Step.decode(1, 512)).basis)


def _speed(deployment: Deployment, engine: str | None) -> float:
    steps = _steps(deployment, engine)
    decode = steps.step_time(Step.decode(1, 512)).expected_s
    prefill = steps.step_time(Step.prefill(1, 512)).expected_s
    return float(np.sum(decode) + np.sum(prefill))


def _layouts(model: ModelArchitecture, count: int) -> list[Parallelism]:
    experts = any(isinstance(group.ffn, MoeFfn) for group in model.layers)
    found = []
    for pp in (n for n in range(1, count + 1) if count % n == 0):
        tp = count // pp
        found += [Parallelism(tp=tp, pp=pp, ep=ep) for ep in ({1, tp} if experts else {1})]
    return found


def _powers(most: int) -> Sequence[int]:
    return [2**n for n in range(most.bit_length()) if 2**n <= most]


class _Integral:
    """The integral of straight pieces from the first knot, exact; beyond the ends flat."""

    def __init__(self, at: FloatArray, values: FloatArray) -> None:
        self.at, self.values = at, values
        pieces = np.diff(at) * (values[1:] + values[:-1]) / 2
        self.sums = np.concatenate([[0.0], np.cumsum(pieces)])

    def __call__(self, ends: FloatArray) -> FloatArray:
        inside = np.clip(ends, self.at[0], self.at[-1])
        after = np.clip(np.searchsorted(self.at, inside), 1, self.at.size - 1)
        left = self.at[after - 1]
        middle = (self.values[after - 1] + np.interp(inside, self.at, self.values)) / 2
        return np.asarray(self.sums[after - 1] + (inside - left) * middle)
