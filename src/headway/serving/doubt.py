"""How sure an answer is: quantiles of what a calibration missed, or the interval of the steps.

Quantiles are of points that the calibration had not seen (split conformal, by group: Vovk et al.
2005, section 4.5; Angelopoulos and Bates 2021), taken from the kind of novelty the question has,
and widened with its distance from the measured range.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headway.serving.closed_loop import ClosedLoop, LoadShape
from headway.serving.quantity import Quantity
from headway.steptime.calibrated import CalibratedStepTime
from headway.steptime.calibration import FITTED_OCTAVES
from headway.steptime.deployment import Deployment
from headway.steptime.time_estimate import Basis, TimeEstimate
from headway.steptime.work import Array

WIDENING_PER_OCTAVE = 0.15
LEVEL = 0.8  # of the quantiles that a calibration holds
NOVELTY_IN_WORDS = {
    "cell": "hardware and model were measured",
    "hardware": "this hardware was never measured",
    "model": "this model was never measured",
    "both": "neither this hardware nor this model was measured",
}


@dataclass(frozen=True, slots=True, eq=False)
class Doubt:
    """The doubt of one load on one deployment.

    Attributes:
        log_quantiles: 10% and 90% quantile of log(measured / predicted) by quantity; ``None``
            where no engine was measured.
        octaves: how far outside the measured range the question lies, in doublings.
        draft_spread: 80% half-width of the logarithm of the tokens per pass, where drafts are
            accepted at an assumed rate.
        novelty: what of the question was never measured, as `calibration.NOVELTIES` names it;
            ``None`` without a measured engine.
        bases: for each question the weakest `Basis` of what its answer rests on.

    """

    log_quantiles: Mapping[str, tuple[float, float]] | None
    octaves: Array
    draft_spread: float
    novelty: str | None
    bases: npt.NDArray[np.object_]

    @classmethod
    def of(
        cls, deployment: Deployment, loop: ClosedLoop, shape: LoadShape, step: TimeEstimate
    ) -> Doubt:
        """Return the doubt of ``loop`` on ``deployment``, whose steps are like ``step``."""
        drafting, model = deployment.drafting, deployment.step_time_model
        spread = 0.0 if drafting is None else drafting.speculation.spread
        acceptance = Basis.ASSUMED if spread else Basis.MEASURED
        if not isinstance(model, CalibratedStepTime):
            return cls(
                log_quantiles=None,
                octaves=np.zeros(()),
                draft_spread=spread,
                novelty=None,
                bases=np.asarray(Basis.weakest(step.basis, acceptance), dtype=object),
            )

        octaves, calibration = distance(deployment, loop, shape), deployment.calibration
        novelty = calibration.novelty(model.subject)
        near_and_far = [
            Basis.weakest(calibration.basis(model.subject, value), acceptance)
            for value in (0.0, math.inf)
        ]
        is_far = np.asarray(octaves > FITTED_OCTAVES, dtype=np.intp)
        return cls(
            log_quantiles=calibration.quantiles[novelty],
            octaves=octaves,
            draft_spread=spread,
            novelty=novelty,
            bases=np.asarray(np.array(near_and_far, dtype=object)[is_far], dtype=object),
        )

    @property
    def basis(self) -> Basis:
        """The weakest of what any of the answers rests on."""
        return Basis.weakest(*self.bases.flat)

    def around(self, quantity: str, expected: Array, lower: Array, upper: Array) -> Quantity:
        """Return ``expected`` with its interval.

        ``lower`` and ``upper`` follow from those of the steps; they count where no engine was
        measured.
        """
        spread = 0.0 if quantity == "ttft" else self.draft_spread
        if self.log_quantiles is None:
            lower, upper = lower * np.exp(-spread), upper * np.exp(spread)
            return Quantity(expected, lower, upper, level=None, bases=self.bases)

        low, high = self.log_quantiles[quantity]
        widening = 1 + WIDENING_PER_OCTAVE * self.octaves
        return Quantity(
            expected,
            expected * np.exp(-np.hypot(low * widening, spread)),
            expected * np.exp(np.hypot(high * widening, spread)),
            level=LEVEL,
            bases=self.bases,
        )

    @property
    def words(self) -> str:
        """What of the question was measured, and how far outside the measured range it lies."""
        if self.novelty is None:
            return "from the data sheet alone: no engine is named, or none was measured"
        octaves = float(np.max(self.octaves))
        words = NOVELTY_IN_WORDS[self.novelty]
        doublings = "doubling" if octaves == 1 else "doublings"
        return words if octaves == 0 else f"{words}; {octaves:.2g} {doublings} outside the range"


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
