"""Step times from the data sheet, under stated assumptions of how near software comes to it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from headway.hardware.cluster import Cluster
from headway.steptime.placed_model import PlacedModel
from headway.steptime.roofline import EXPECTED, POOR, Efficiency, bound_of, time_of
from headway.steptime.step_time import RequestOverhead
from headway.steptime.time_estimate import Basis, Bound, ComponentTimes, TimeEstimate
from headway.steptime.work import Array, Forward
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
        return AnalyticTime(forward, cluster, time_of(forward, cluster, self.efficiency))


class AnalyticTime(TimeEstimate):
    """The time of counted work, whose interval is priced when it is asked for.

    A search over many thousand layouts asks for the expected time only, which is a third of it.
    """

    forward: Forward
    cluster: Cluster

    def __init__(self, forward: Forward, cluster: Cluster, components: ComponentTimes) -> None:
        values = {
            "expected_s": components.total_s,
            "basis": Basis.ASSUMED,
            "components": components,
            "spread_s": None,
            "forward": forward,
            "cluster": cluster,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @cached_property
    def bound(self) -> Bound:
        """What no machine with this data sheet can beat."""
        return bound_of(self.forward, self.cluster)

    @property
    def lower_s(self) -> Array:
        """The bound."""
        return self.bound.total_s

    @cached_property
    def upper_s(self) -> Array:
        """The time with poor kernels."""
        poor_s = time_of(self.forward, self.cluster, POOR).total_s
        return np.maximum(poor_s, self.expected_s)
