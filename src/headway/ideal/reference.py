"""A model alone on reference accelerators: its fastest layout, and what requests take there.

Beside seconds there are accelerator-seconds, dollars and joules, so that a model on eight
accelerators is not taken for as cheap as one on a single one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from headway.hardware.catalogue import find_cluster
from headway.hardware.cluster import Cluster
from headway.ideal.idealized import IdealizedRuntime, PassEnergy
from headway.ideal.request_profile import FloatArray
from headway.measure.trials import Interval
from headway.model.architecture import ModelArchitecture
from headway.model.catalogue import find_model
from headway.model.precision import Precision
from headway.steptime.calibration import Calibration, engine_named
from headway.steptime.deployment import Deployment
from headway.steptime.layouts import PROBE_TOKENS, fastest_deployment
from headway.steptime.time_estimate import Basis
from headway.workload.step import Step

# Intervals of `CalibratedStepTime` reach from the 10% to the 90% quantile.
CALIBRATED_CONFIDENCE = 0.8


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """A model alone on accelerators: its runtime, and what they cost and draw meanwhile.

    Attributes:
        deployment: the model in its fastest layout.
        runtime: of single requests.
        engine: the measured one that runs the model, ``None`` for the data sheet alone.
        basis: what the runtime rests on.

    """

    deployment: Deployment
    runtime: IdealizedRuntime
    engine: str | None
    basis: Basis

    @property
    def num_accelerators(self) -> int:
        """Accelerators that the model has to itself."""
        return int(self.deployment.parallelism.num_accelerators)

    @property
    def passes_only(self) -> Reference:
        """The same without what the engine adds to a request: as it runs in process."""
        return replace(self, runtime=replace(self.runtime, with_overhead=False))

    def usd(self, runtime_s: FloatArray) -> FloatArray:
        """Return dollars of ``runtime_s``; raise `InputError` where no price is known."""
        usd_per_s = self.deployment.cluster.usd_per_accelerator_s * self.num_accelerators
        return np.asarray(runtime_s * usd_per_s)

    def mean_joules(self, prompt_tokens: FloatArray, output_tokens: FloatArray) -> Interval | None:
        """Return mean joules of requests, 80% interval; ``None`` where no TDP is known.

        Never above the TDP of every accelerator for as long as the runtime may be.
        """
        joules, energy = self.runtime.joules(prompt_tokens, output_tokens), self.runtime.energy
        tdp_w = self.deployment.cluster.accelerator.tdp_w
        if joules is None or energy is None or tdp_w is None:
            return None

        expected = float(joules.mean())
        low, high = energy.error_factors
        max_s = float(self.runtime.interval(prompt_tokens, output_tokens)[1].mean())
        max_j = max_s * tdp_w * self.num_accelerators
        return Interval(low * expected, expected, max(min(high * expected, max_j), expected))


def idealize(
    model: ModelArchitecture | str,
    on: Cluster | str = "a100",
    *,
    engine: str | None = None,
    precision: Precision | str | None = None,
    num_accelerators: int | None = None,
    context_tokens: float = 4096,
    calibration: Calibration | None = None,
) -> Reference:
    """Return ``model`` in its fastest layout on reference accelerators, all to itself.

    "Fastest" is by a decode pass plus a prefill pass of 512 tokens, batch 1.

    Args:
        model: or its name.
        on: accelerators, or their name.
        engine: the serving engine whose measured step times are taken, ``"none"`` for the data
            sheet alone; by default vllm where it was measured.
        precision: of the model; as it was published, where a name is given.
        num_accelerators: how many, or as few as hold the model, in powers of two.
        context_tokens: that one sequence must have room for.
        calibration: what was measured of engines; what ships with Headway by default.

    Raises:
        UnknownNameError: nobody has measured that engine, or a name is unknown.
        DoesNotFitError: neither that many nor any number within reach holds the model.
        InputError: the model cannot be split over exactly ``num_accelerators``.

    """
    cluster = find_cluster(on) if isinstance(on, str) else on
    deployment = fastest_deployment(
        find_model(model) if isinstance(model, str) else model,
        cluster,
        precision=precision,
        engine=engine_named(engine, cluster.accelerator),
        num_accelerators=num_accelerators,
        context_tokens=context_tokens,
        calibration=calibration,
    )
    return reference(deployment)


def reference(deployment: Deployment) -> Reference:
    """Return ``deployment`` with one request at a time on it."""
    steps = deployment.step_time_model
    has_tdp = deployment.cluster.accelerator.tdp_w is not None
    runtime = IdealizedRuntime(
        steps,
        energy=PassEnergy(deployment) if has_tdp else None,
        confidence=CALIBRATED_CONFIDENCE if deployment.is_measured else None,
    )
    basis = steps.step_time(Step.decode(1, PROBE_TOKENS)).basis
    return Reference(deployment, runtime, deployment.engine, basis)
