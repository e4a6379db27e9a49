"""Step times of a measured engine: counted work, priced by what was fitted, corrected by errors."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from headway.steptime.calibration import Calibration, Subject, shipped
from headway.steptime.engine_version import fastest_step_s
from headway.steptime.error_model import NORMAL_80, Weights, features_of
from headway.steptime.kernel_coefficients import AT
from headway.steptime.kernel_reach import kernel_reach
from headway.steptime.placed_model import PlacedModel
from headway.steptime.step_time import RequestOverhead
from headway.steptime.time_estimate import Basis, Bound, ComponentTimes, TimeEstimate
from headway.steptime.work import Array
from headway.steptime.worktable import StepParts, price, tabulate
from headway.workload.step import Step


@dataclass(frozen=True, slots=True, eq=False)
class CalibratedStepTime:
    """Counted work, priced by the coefficients of a measured ``engine``."""

    placed: PlacedModel
    engine: str
    calibration: Calibration = field(default_factory=shipped)

    @property
    def subject(self) -> Subject:
        """The names by which the calibration knows model, engine and hardware."""
        placed = self.placed
        return Subject.of(
            placed.cluster.accelerator,
            self.engine,
            placed.model,
            weights=placed.precision.weights.value,
        )

    @property
    def coefficients(self) -> Array:
        """The coefficients of the subject."""
        accelerator = self.placed.cluster.accelerator
        is_measured = ("kernels", accelerator.name) in self.calibration.factors
        logs = self.calibration.logs(self.subject) + kernel_reach(accelerator, is_measured)
        return np.asarray(np.exp(logs))

    @property
    def request_overhead(self) -> RequestOverhead:
        """As it was fitted to measured times to first token."""
        theta = self.coefficients
        return RequestOverhead(
            fixed_s=float(theta[AT["request_s"]]),
            prompt_token_s=float(theta[AT["prompt_token_s"]]),
            held_steps=float(theta[AT["held_steps"]]),
        )

    def features(self, step: Step) -> Array:
        """Return what the errors of ``step`` go with, shape ``(..., features)``."""
        is_prompt = step.scheduled_tokens > step.sampled_tokens
        prompt_tokens = (step.num_sequences * step.scheduled_tokens * is_prompt).sum(axis=-1)
        return features_of(step.total_sequences, self.placed.num_accelerators, prompt_tokens)

    def stretch(self, step: Step) -> Array:
        """Return the factor by which what was measured corrects the priced ``step``."""
        weights = self.calibration.weights(self.subject)
        return np.asarray(np.exp(weights.expected(self.features(step))))

    def step_time(self, step: Step) -> TimeEstimate:
        """Return the time of ``step``, what the engine adds to it included, with 80% interval.

        A step with prompt tokens (more than one scheduled per sequence, none of them drafted)
        takes what the engine adds to mixed steps too.
        """
        table, features = tabulate(self.placed, step), self.features(step)
        weights = self.calibration.weights(self.subject)
        stretch = np.exp(weights.expected(features))
        parts = price(table, self.coefficients, stretch).at_least(fastest_step_s(self.engine))
        return CalibratedTime(
            parts,
            table.bound,
            self.calibration.basis(self.subject, 0.0),
            weights=weights,
            features=features,
        )


class CalibratedTime(TimeEstimate):
    """The time of priced work, whose interval is computed when it is asked for."""

    weights: Weights
    features: Array

    def __init__(
        self,
        parts: StepParts,
        bound: Bound,
        basis: Basis,
        *,
        weights: Weights,
        features: Array,
    ) -> None:
        values = {
            "expected_s": parts.total_s,
            "basis": basis,
            "components": ComponentTimes(
                arithmetic_s=parts.arithmetic_s,
                memory_s=parts.memory_s,
                network_s=parts.network_s,
                latency_s=parts.latency_s + parts.engine_s,
                total_s=parts.total_s,
            ),
            "bound": bound,
            "spread_s": None,
            "weights": weights,
            "features": features,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @cached_property
    def lower_s(self) -> Array:
        """The lower end; no machine with this data sheet is faster, whatever the errors say."""
        assert self.bound is not None
        low_s = self.expected_s * np.exp(-self._half_width)
        return np.maximum(low_s, np.minimum(self.bound.total_s, self.expected_s))

    @cached_property
    def upper_s(self) -> Array:
        """The upper end."""
        return np.asarray(self.expected_s * np.exp(self._half_width))

    @property
    def _half_width(self) -> Array:
        return np.asarray(NORMAL_80 * np.sqrt(self.weights.variance(self.features)))
