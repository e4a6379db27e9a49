"""The idealized runtime of requests under any model of step time: no profile, no table by hand.

A request alone on its accelerators: what the engine adds to a request, one prefill pass, then one
decode pass per further token.
Joules are those of its passes: modelled power, from how much of its peaks each pass uses, times
its time. The power model was fitted with the calibration (`headway.steptime.power`); its doubt is
what it missed on deployments that it had not seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from headway.errors import InputError
from headway.ideal.request_profile import FloatArray
from headway.ideal.runtime_fit import check_lengths, normal_width
from headway.steptime.calibration import Calibration, Subject, shipped
from headway.steptime.deployment import Deployment
from headway.steptime.roofline import bound_of
from headway.steptime.step_time import StepTimeModel
from headway.workload.step import Step

# Contexts between which a decode pass is taken as straight; its time is, but for full windows.
NUM_CONTEXTS = 257
MAX_TOKENS = 1e8
# Joules do not depend on the engine's name beyond its times; a group must be named all the same.
ANY_ENGINE = "vllm"


@dataclass(frozen=True, slots=True, eq=False)
class PassEnergy:
    """Joules on all accelerators of ``deployment``, whose data sheet must have a TDP."""

    deployment: Deployment
    calibration: Calibration = field(default_factory=shipped)

    def joules(self, step: Step, seconds: FloatArray) -> FloatArray:
        """Return joules of ``step`` if it takes ``seconds``, arrays of its leading shape."""
        d = self.deployment
        bound = bound_of(d.forward(step), d.cluster)
        arithmetic = np.minimum(bound.arithmetic_s / seconds, 1.0)
        memory = np.minimum(bound.memory_s / seconds, 1.0)

        power_w = self.calibration.power.power_w(d.cluster.accelerator, arithmetic, memory)
        return np.asarray(power_w * seconds * d.parallelism.num_accelerators)

    @property
    def waiting_w(self) -> float:
        """Watts of all accelerators while they have requests and no pass runs."""
        d, nothing = self.deployment, np.zeros(())
        power_w = self.calibration.power.power_w(d.cluster.accelerator, nothing, nothing)
        return float(power_w) * float(d.parallelism.num_accelerators)

    @property
    def error_factors(self) -> tuple[float, float]:
        """By what joules may be off, 10% and 90% quantile."""
        d, calibration = self.deployment, self.calibration
        subject = Subject.of(d.cluster.accelerator, ANY_ENGINE, d.model, d.precision.weights.value)
        return calibration.error_factors(subject, "energy")


@dataclass(frozen=True, slots=True, eq=False)
class Totals:
    """Expected seconds of passes or requests, the ends of their interval, and joules.

    ``joules`` is ``None`` without a model of energy. Arrays of one shape.
    """

    expected_s: FloatArray
    lower_s: FloatArray
    upper_s: FloatArray
    joules: FloatArray | None


@dataclass(slots=True, eq=False)
class IdealizedRuntime:
    """Runtime of single requests under a model of step time, with its interval.

    Attributes:
        steps: whatever predicts a forward pass: analytic, calibrated, fitted or measured.
        energy: of passes; ``None`` where joules are not wanted or no TDP is known.
        confidence: of the interval that ``steps`` give; ``None`` for bounds, which have none.
        with_overhead: whether what the engine adds to a request is in it, beside the passes.
        cached_tokens: of every prompt, found in a prefix cache: not computed again, but attended
            to. They broadcast against the lengths that are asked for.

    """

    steps: StepTimeModel
    energy: PassEnergy | None = None
    confidence: float | None = None
    with_overhead: bool = True
    cached_tokens: FloatArray | float = 0.0
    _decode: tuple[FloatArray, Totals] | None = field(default=None, init=False)

    def predict(self, prompt_tokens: npt.ArrayLike, output_tokens: npt.ArrayLike) -> FloatArray:
        """Return expected seconds; arrays broadcast. Without output tokens, those of the prompt."""
        return self._totals(prompt_tokens, output_tokens).expected_s

    def interval(
        self, prompt_tokens: npt.ArrayLike, output_tokens: npt.ArrayLike, confidence: float = 0.9
    ) -> tuple[FloatArray, FloatArray]:
        """Return seconds between which the truth lies with probability ``confidence``.

        An analytic model has no probability: from the hardware's bound to poor kernels.
        """
        totals = self._totals(prompt_tokens, output_tokens)
        if self.confidence is None:
            return totals.lower_s, totals.upper_s

        # The logarithm of the error is taken as normal on either side.
        widening = normal_width(confidence) / normal_width(self.confidence)
        lower_s = (totals.lower_s / totals.expected_s) ** widening * totals.expected_s
        upper_s = (totals.upper_s / totals.expected_s) ** widening * totals.expected_s
        return lower_s, upper_s

    def joules(
        self, prompt_tokens: npt.ArrayLike, output_tokens: npt.ArrayLike
    ) -> FloatArray | None:
        """Return expected joules of all accelerators; ``None`` without a model of energy."""
        return self._totals(prompt_tokens, output_tokens).joules

    def _totals(self, prompt_tokens: npt.ArrayLike, output_tokens: npt.ArrayLike) -> Totals:
        prompts, outputs = np.broadcast_arrays(*check_lengths(prompt_tokens, output_tokens))
        if np.any(prompts + outputs > MAX_TOKENS):
            raise InputError("a request has 1 prompt token or more, and less than 10^8 in all")
        # At least the last token of a prompt is computed.
        cached = np.minimum(np.broadcast_to(self.cached_tokens, prompts.shape), prompts - 1)
        prefill = self._pass_totals(Step.prefill(1, prompts.ravel(), cached.ravel()))
        contexts, decode = self._decode_totals(float((prompts + outputs).max()))

        # The step that reads c cached tokens covers c - 1/2 to c + 1/2 of the integral.
        further = np.maximum(outputs.ravel() - 1, 0)
        first = prompts.ravel() - 0.5

        def decoding(values: FloatArray) -> FloatArray:
            integral = _Integral(contexts, values)
            return integral(first + further) - integral(first)

        def overhead_s(values: FloatArray) -> FloatArray:
            step_s = np.interp(prompts.ravel() + further / 2, contexts, values)
            return self.steps.request_overhead.seconds((prompts - cached).ravel(), step_s)

        def seconds(of_prefill: FloatArray, of_decode: FloatArray) -> FloatArray:
            passes_s = of_prefill + decoding(of_decode)
            if self.with_overhead:
                passes_s = passes_s + overhead_s(of_decode)
            return passes_s.reshape(prompts.shape)

        # While the engine is at anything else than a pass, the accelerators wait for it.
        joules = None
        if self.energy is not None and prefill.joules is not None and decode.joules is not None:
            joules = (prefill.joules + decoding(decode.joules)).reshape(prompts.shape)
            if self.with_overhead:
                waiting_s = overhead_s(decode.expected_s).reshape(prompts.shape)
                joules = joules + self.energy.waiting_w * waiting_s
        return Totals(
            expected_s=seconds(prefill.expected_s, decode.expected_s),
            lower_s=seconds(prefill.lower_s, decode.lower_s),
            upper_s=seconds(prefill.upper_s, decode.upper_s),
            joules=joules,
        )

    def _decode_totals(self, max_context: float) -> tuple[FloatArray, Totals]:
        """Return contexts up to ``max_context`` or beyond, and a decode pass at each of them."""
        if self._decode is None or self._decode[0][-1] < max_context + 1:
            even = np.geomspace(0.5, max(2 * max_context, 4096), NUM_CONTEXTS)
            # Windows fill at powers of two; a corner of the curve should be a knot.
            powers = 2.0 ** np.arange(7, np.ceil(np.log2(even[-1])))
            contexts = np.union1d(even, powers)
            self._decode = contexts, self._pass_totals(Step.decode(1, contexts))
        return self._decode

    def _pass_totals(self, step: Step) -> Totals:
        times = self.steps.step_time(step)
        expected_s = np.asarray(times.expected_s)
        return Totals(
            expected_s=expected_s,
            lower_s=np.broadcast_to(times.lower_s, expected_s.shape),
            upper_s=np.broadcast_to(times.upper_s, expected_s.shape),
            joules=None if self.energy is None else self.energy.joules(step, expected_s),
        )


class _Integral:
    """The integral of straight pieces from the first knot, exact; beyond the ends flat."""

    def __init__(self, knots: FloatArray, values: FloatArray) -> None:
        self.knots, self.values = knots, values
        pieces = np.diff(knots) * (values[1:] + values[:-1]) / 2
        self.sums = np.concatenate([[0.0], np.cumsum(pieces)])

    def __call__(self, ends: FloatArray) -> FloatArray:
        inside = np.clip(ends, self.knots[0], self.knots[-1])
        after = np.clip(np.searchsorted(self.knots, inside), 1, self.knots.size - 1)
        before = self.knots[after - 1]
        middle = (self.values[after - 1] + np.interp(inside, self.knots, self.values)) / 2
        return np.asarray(self.sums[after - 1] + (inside - before) * middle)
