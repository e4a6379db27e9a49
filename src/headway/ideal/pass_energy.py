"""Joules of a forward pass: modelled power, from how much of its peaks the pass uses, times time.

The power model was fitted with the calibration (`headway.steptime.power`); its doubt is what it
missed on deployments that it had not seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from headway.ideal.request_profile import FloatArray
from headway.steptime.calibration import Calibration, Subject, shipped
from headway.steptime.deployment import Deployment
from headway.steptime.forward import forward
from headway.steptime.worktable import tabulate
from headway.workload.step import Step

# Joules do not depend on the engine's name beyond its times; a group must be named all the same.
ANY_ENGINE = "vllm"


@dataclass(frozen=True, slots=True, eq=False)
class PassEnergy:
    """Joules on all accelerators of ``deployment``, whose data sheet must have a TDP."""

    deployment: Deployment
    calibration: Calibration = field(default_factory=shipped)

    def joules(self, step: Step, seconds: FloatArray) -> FloatArray:
        """Joules of ``step`` if it takes ``seconds``, arrays of its leading shape."""
        d = self.deployment
        table = tabulate(forward(d.model, d.precision, d.parallelism, step), d.cluster, d.precision)
        arithmetic = np.minimum(table.arithmetic_s.sum(axis=-1) / seconds, 1.0)
        memory = np.minimum((table.weight_s + table.cache_s).sum(axis=-1) / seconds, 1.0)
        watts = self.calibration.power.power_w(d.cluster.accelerator, arithmetic, memory)
        return np.asarray(watts * seconds * d.parallelism.num_accelerators)

    def factors(self) -> tuple[float, float]:
        """By what joules may be off, 10% and 90% quantile."""
        d, calibration = self.deployment, self.calibration
        subject = Subject.of(d.cluster.accelerator, ANY_ENGINE, d.model, d.precision.weights.value)
        low, high = calibration.quantiles[calibration.novelty(subject)]["energy"]
        return float(np.exp(low)), float(np.exp(high))
