"""The one interface that everything else reads: how long a forward pass takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from headway.steptime.deployment import Deployment
from headway.steptime.forward import forward
from headway.steptime.roofline import TimeEstimate, estimate
from headway.workload.step import Step


class StepTimeModel(Protocol):
    """Whatever predicts the time of one forward pass, be it analytic, fitted or measured."""

    def step_time(self, step: Step) -> TimeEstimate:
        """Time of ``step``, arrays of its leading shape."""
        ...


@dataclass(frozen=True, slots=True)
class AnalyticStepTime:
    """Counted work, priced from the data sheet under stated assumptions."""

    deployment: Deployment

    def step_time(self, step: Step) -> TimeEstimate:
        """Time of ``step`` on the deployment, with its interval."""
        d = self.deployment
        work = forward(d.model, d.precision, d.parallelism, step)
        return estimate(work, d.cluster, d.assumptions)
