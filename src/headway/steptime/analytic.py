"""Step times from the data sheet, under stated assumptions of how near software comes to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headway.steptime.placed_model import PlacedModel
from headway.steptime.roofline import EXPECTED, POOR, Efficiency, bound_of, time_of
from headway.steptime.step_time import RequestOverhead
from headway.steptime.time_estimate import Basis, TimeEstimate
from headway.workload.step import Step


@dataclass(frozen=True, slots=True, eq=False)
class AnalyticStepTime:
    """Counted work, priced from the data sheet.

    The interval runs from the bound, which no machine with this data sheet can beat, to poor
    kernels. An engine adds nothing to a request: nobody measured it.
    """

    placed: PlacedModel
    efficiency: Efficiency = EXPECTED

    @property
    def request_overhead(self) -> RequestOverhead:
        """Nothing is known of it, and nothing is added."""
        return RequestOverhead()

    def step_time(self, step: Step) -> TimeEstimate:
        """Return the time of ``step``; raise `UnsupportedError` where a format is not native."""
        forward, cluster = self.placed.forward(step), self.placed.cluster
        components = time_of(forward, cluster, self.efficiency)
        poor_s = time_of(forward, cluster, POOR).total_s
        bound = bound_of(forward, cluster)
        return TimeEstimate(
            expected_s=components.total_s,
            lower_s=bound.total_s,
            upper_s=np.maximum(poor_s, components.total_s),
            basis=Basis.ASSUMED,
            components=components,
            bound=bound,
        )
