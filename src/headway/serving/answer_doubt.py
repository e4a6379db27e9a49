"""How sure one answer is: the error model's interval, or the interval of the steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from headway.serving.closed_loop import ClosedLoop
from headway.serving.load_steps import LoadShape
from headway.serving.load_times import LoadTimes
from headway.serving.quantity import Quantity
from headway.steptime.calibrated import CalibratedStepTime
from headway.steptime.calibration import FITTED_OCTAVES, Calibration, Subject
from headway.steptime.deployment import Deployment
from headway.steptime.error_model import NORMAL_80, features_of
from headway.steptime.local import LocalStepTime
from headway.steptime.time_estimate import Basis, TimeEstimate
from headway.steptime.work import Array

LEVEL = 0.8
ANSWERS = ("tpot", "ttft", "run", "energy")  # watts alone are answered without an interval
WIDENING_PER_OCTAVE = 0.15  # of an interval, outside the measured range
Bases = npt.NDArray[np.object_]


@dataclass(frozen=True, slots=True, eq=False)
class LogError:
    """What is expected of a log-error, and its variance; arrays of the question's shape."""

    mean: Array
    variance: Array


@dataclass(frozen=True, slots=True, eq=False)
class AnswerDoubt:
    """The doubt of one load on one deployment.

    Attributes:
        errors: by quantity; ``None`` where no engine was measured.
        level: the share of cases that intervals hold where there are no errors; ``None`` where
            they run from what the data sheet allows to poor kernels.
        octaves: how far outside the measured range the question lies, in doublings.
        draft_spread: 80% half-width of the logarithm of the tokens per pass, where drafts are
            accepted at an assumed rate.
        bases: for each question the weakest `Basis` of what its answer rests on; the second is of
            times to first token.
        words: what of the question was measured, and how far outside the measured range it lies.

    """

    errors: Mapping[str, LogError] | None
    octaves: Array
    draft_spread: float
    bases: Bases
    ttft_bases: Bases
    words: str
    level: float | None = None

    @classmethod
    def of(
        cls,
        deployment: Deployment,
        loop: ClosedLoop,
        *,
        shape: LoadShape,
        times: LoadTimes,
        step: TimeEstimate,
    ) -> AnswerDoubt:
        """Return the doubt of ``loop`` on ``deployment``, whose steps are like ``step``."""
        drafting, model = deployment.drafting, deployment.step_time_model
        spread = 0.0 if drafting is None else drafting.speculation.spread
        acceptance = Basis.ASSUMED if spread else Basis.MEASURED
        if not isinstance(model, CalibratedStepTime):
            bases = np.asarray(Basis.weakest(step.basis, acceptance), dtype=object)
            words = "from the data sheet alone: no engine is named, or none was measured"
            level = None
            if isinstance(model, LocalStepTime):
                words, level = model.fit.words, LEVEL
            if deployment.own_words is not None:
                words = f"{words}; {deployment.own_words}"
            return cls(None, np.zeros(()), spread, bases, bases, words, level)

        # What is known of the errors of this subject, at the features of this load.
        calibration, subject = deployment.calibration, model.subject
        features, octaves = load_features(shape, times), distance(deployment, loop, shape)
        widening = (1 + WIDENING_PER_OCTAVE * octaves) ** 2
        errors = {}
        for quantity in ANSWERS:
            weights = calibration.weights(subject, quantity)
            errors[quantity] = LogError(
                weights.expected(features),
                weights.variance(features) * widening,
            )

        near_and_far = [
            Basis.weakest(calibration.basis(subject, value), acceptance)
            for value in (0.0, math.inf)
        ]
        is_far = np.asarray(octaves > FITTED_OCTAVES, dtype=np.intp)
        bases = np.asarray(np.array(near_and_far, dtype=object)[is_far], dtype=object)
        return cls(
            errors=errors,
            octaves=octaves,
            draft_spread=spread,
            bases=bases,
            ttft_bases=_weakened(bases, calibration, subject),
            words=_words(calibration, subject, float(np.max(octaves))),
        )

    @property
    def basis(self) -> Basis:
        """The weakest of what any of the answers rests on."""
        return Basis.weakest(*self.bases.flat)

    def half_width(self, quantity: str) -> float:
        """Return the largest 80% half-width of a quantity's log-error; 0 if nobody measured."""
        if self.errors is None:
            return 0.0
        return float(NORMAL_80 * np.sqrt(np.max(self.errors[quantity].variance)))

    def largest(self) -> AnswerDoubt:
        """Return one doubt for all questions, of every quantity the largest."""
        if self.errors is None:
            return self
        errors = {
            quantity: LogError(np.asarray(error.mean.mean()), np.asarray(error.variance.max()))
            for quantity, error in self.errors.items()
        }
        return replace(self, errors=errors)

    def wider(self, quantity: str, factor: float) -> AnswerDoubt:
        """Return the same with wider intervals of one quantity, by ``factor`` in logarithms."""
        if self.errors is None:
            return self
        own = self.errors[quantity]
        widened = LogError(own.mean, own.variance * factor**2)
        return replace(self, errors={**self.errors, quantity: widened})

    def around(self, quantity: str, expected: Array, lower: Array, upper: Array) -> Quantity:
        """Return ``expected`` with its interval.

        ``lower`` and ``upper`` follow from those of the steps; they count where no engine was
        measured. A time per output token is corrected by its errors already, and what a run's
        tokens per second are off is that and more; of the others the interval is moved.
        """
        bases = self.ttft_bases if quantity == "ttft" else self.bases
        spread = 0.0 if quantity == "ttft" else self.draft_spread
        if self.errors is None:
            lower, upper = lower * np.exp(-spread), upper * np.exp(spread)
            return Quantity(expected, lower, upper, level=self.level, bases=bases)

        own = self.errors["run" if quantity == "throughput" else quantity]
        variance = own.variance + (spread / NORMAL_80) ** 2
        mean = np.zeros(()) if quantity == "tpot" else own.mean
        if quantity == "throughput":
            variance = variance + self.errors["tpot"].variance

        half_width = NORMAL_80 * np.sqrt(variance)
        return Quantity(
            expected,
            expected * np.exp(np.minimum(mean - half_width, 0.0)),
            expected * np.exp(np.maximum(mean + half_width, 0.0)),
            level=LEVEL,
            bases=bases,
        )


def load_features(shape: LoadShape, times: LoadTimes) -> Array:
    """Return what the errors of a load go with: those of its steps, by their share of time."""
    prompt_tokens = shape.prompts_per_step * shape.prompt_tokens / shape.prompt_steps
    return features_of(shape.seats, shape.num_accelerators, prompt_tokens, times.mixed_share)


def distance(deployment: Deployment, loop: ClosedLoop, shape: LoadShape) -> Array:
    """Return by how many doublings the question leaves the measured range, all quantities added."""
    octaves = np.zeros(())
    for name, values in extent(loop, shape).items():
        low, high = deployment.calibration.ranges[name]
        below = np.maximum(np.log2(low / values), 0)
        above = np.maximum(np.log2(values / high), 0)
        octaves = octaves + below + above
    return np.asarray(octaves)


def extent(loop: ClosedLoop, shape: LoadShape) -> dict[str, Array]:
    """Return the quantities whose measured range a calibration keeps."""
    return {
        "prompt_tokens": np.maximum(loop.prompt_tokens, 1.0),
        "output_tokens": loop.output_tokens,
        "concurrency": loop.concurrency,
        "num_accelerators": shape.num_accelerators,
    }


def _weakened(bases: Bases, calibration: Calibration, subject: Subject) -> Bases:
    """Return analytic where no median time to first token of the engine was ever published."""
    if calibration.errors["ttft"].has_measured("engine", subject.engine):
        return bases
    weakened = np.empty(bases.size, dtype=object)
    weakened[:] = [Basis.weakest(basis, Basis.ANALYTIC) for basis in bases.ravel().tolist()]
    return weakened.reshape(bases.shape)


def _words(calibration: Calibration, subject: Subject, octaves: float) -> str:
    parts = [_novelty(*calibration.has_measured_of(subject))]
    ttft = _novelty(*calibration.has_measured_of(subject, "ttft"))
    if ttft != parts[0]:
        parts.append(f"of times to first token, {ttft}")
    own_words = calibration.own_words(subject)
    if own_words is not None:
        parts.append(own_words)
    if octaves > 0:
        doublings = "doubling" if octaves == 1 else "doublings"
        parts.append(f"{octaves:.2g} {doublings} outside the range")
    return "; ".join(parts)


def _novelty(has_hardware: bool, has_model: bool) -> str:
    if has_hardware and has_model:
        return "hardware and model were measured"
    if has_hardware or has_model:
        return f"this {'model' if has_hardware else 'hardware'} was never measured"
    return "neither this hardware nor this model was measured"
