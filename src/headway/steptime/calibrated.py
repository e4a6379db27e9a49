"""The step-time model that was fitted: what the simulator and the gateway may read instead."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from headway.steptime.calibration import Calibration, Subject, shipped
from headway.steptime.deployment import Deployment
from headway.steptime.forward import forward
from headway.steptime.kernel_coefficients import AT
from headway.steptime.roofline import TimeEstimate
from headway.steptime.worktable import price, tabulate
from headway.workload.step import Step


@dataclass(frozen=True, slots=True, eq=False)
class CalibratedStepTime:
    """Counted work, priced by the coefficients of a measured ``engine``."""

    deployment: Deployment
    engine: str
    calibration: Calibration = field(default_factory=shipped)

    def step_time(self, step: Step) -> TimeEstimate:
        """Time of ``step``, what the engine adds to every step included, with its 80% interval.

        A step with prompt tokens (more than one scheduled per sequence, none of them drafted)
        takes what the engine adds to mixed steps too.
        """
        d, calibration = self.deployment, self.calibration
        subject = Subject.of(d.cluster.accelerator, self.engine, d.model, d.precision.weights.value)
        logs, stretch = calibration.logs(subject)
        theta, scale = np.exp(logs), np.exp(stretch)
        table = tabulate(forward(d.model, d.precision, d.parallelism, step), d.cluster, d.precision)
        priced = price(table, theta, scale)
        prompts = step.num_sequences * (step.scheduled_tokens > step.sampled_tokens)
        engine_s = (
            theta[AT["step_s"]]
            + theta[AT["sequence_s"]] * step.total_sequences / d.parallelism.dp
            + theta[AT["mixed_s"]] * (prompts.sum(axis=-1) > 0)
        )
        total_s = priced.total_s + engine_s
        low, high = calibration.quantiles[calibration.novelty(subject)]["tpot"]
        return TimeEstimate(
            priced.arithmetic_s,
            priced.memory_s,
            priced.network_s,
            priced.latency_s + engine_s,
            total_s,
            np.maximum(total_s * np.exp(low), np.minimum(table.bound_s, total_s)),
            total_s * np.exp(high),
            calibration.basis(subject, 0.0),
        )
