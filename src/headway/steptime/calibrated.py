"""Step times of a measured engine: counted work, priced by the coefficients that were fitted."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from headway.steptime.calibration import Calibration, Subject, shipped
from headway.steptime.engine_version import fastest_step_s
from headway.steptime.kernel_coefficients import AT
from headway.steptime.placed_model import PlacedModel
from headway.steptime.step_time import RequestOverhead
from headway.steptime.time_estimate import ComponentTimes, TimeEstimate
from headway.steptime.work import Array
from headway.steptime.worktable import price, tabulate
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
    def coefficients(self) -> tuple[Array, float]:
        """The coefficients of the subject, and the factor by which the whole is stretched."""
        logs, stretch = self.calibration.logs(self.subject)
        return np.exp(logs), float(np.exp(stretch))

    @property
    def request_overhead(self) -> RequestOverhead:
        """As it was fitted to measured times to first token."""
        theta, _ = self.coefficients
        return RequestOverhead(
            fixed_s=float(theta[AT["request_s"]]),
            prompt_token_s=float(theta[AT["prompt_token_s"]]),
            held_steps=float(theta[AT["held_steps"]]),
        )

    def step_time(self, step: Step) -> TimeEstimate:
        """Return the time of ``step``, what the engine adds to it included, with 80% interval.

        A step with prompt tokens (more than one scheduled per sequence, none of them drafted)
        takes what the engine adds to mixed steps too.
        """
        theta, scale = self.coefficients
        table = tabulate(self.placed, step)
        parts = price(table, theta, scale).at_least(fastest_step_s(self.engine))

        # No machine with this data sheet is faster, whatever the quantile says.
        low, high = self.calibration.quantiles[self.calibration.novelty(self.subject)]["tpot"]
        total_s, bound = parts.total_s, table.bound
        lower_s = np.maximum(total_s * np.exp(low), np.minimum(bound.total_s, total_s))
        return TimeEstimate(
            expected_s=total_s,
            lower_s=lower_s,
            upper_s=total_s * np.exp(high),
            basis=self.calibration.basis(self.subject, 0.0),
            components=ComponentTimes(
                arithmetic_s=parts.arithmetic_s,
                memory_s=parts.memory_s,
                network_s=parts.network_s,
                latency_s=parts.latency_s + parts.engine_s,
                total_s=total_s,
            ),
            bound=bound,
        )
