"""Measured points of serving, and the table in which a fit prices all of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headway.serving.closed_loop import ClosedLoop
from headway.serving.tabulated import ServingTable, stack_tables, tabulate_serving
from headway.steptime.calibration import Subject
from headway.steptime.deployment import Deployment
from headway.steptime.work import Array


@dataclass(frozen=True, slots=True, eq=False)
class ServingPoint:
    """One measured point; what was not measured is ``None``.

    Attributes:
        source: where it is from; points of one source and configuration are near copies.
        deployment: what was measured, its engine included.
        load: what was asked of it.
        mixes: whether its engine mixes prompts into decode steps; none does in a static batch.
        tpot_s: mean or median over requests, which differ little in the steady state.
        ttft_s, mean_ttft_s: median and mean over requests.
        total_tok_per_s: input and output tokens per second of the whole engine.
        power_w: of one accelerator. ``energy_j``: of one accelerator per output token.

    """

    source: str
    deployment: Deployment
    load: ClosedLoop
    mixes: bool = True
    tpot_s: float | None = None
    ttft_s: float | None = None
    mean_ttft_s: float | None = None
    total_tok_per_s: float | None = None
    power_w: float | None = None
    energy_j: float | None = None

    @property
    def engine(self) -> str:
        """The engine that was measured."""
        return str(self.deployment.engine)

    @property
    def model(self) -> str:
        """The model's name."""
        return self.deployment.model.name

    @property
    def hardware(self) -> str:
        """The accelerator's name."""
        return self.deployment.cluster.name

    @property
    def vendor(self) -> str:
        """The accelerator's vendor."""
        return self.deployment.cluster.accelerator.vendor

    @property
    def weights(self) -> str:
        """The format of the weights."""
        return self.deployment.precision.weights.value

    def table(self) -> ServingTable:
        """What the point made its engine do."""
        return tabulate_serving(self.deployment, self.load, mixes=self.mixes)


def subject(point: ServingPoint) -> Subject:
    """Return the names by which a calibration looks the point up."""
    deployment = point.deployment
    return Subject.of(deployment.cluster.accelerator, point.engine, deployment.model, point.weights)


def logs(values: Sequence[float | None]) -> Array:
    """Return natural logarithms, ``nan`` where there is no value."""
    return np.log(np.array([np.nan if v is None else v for v in values], dtype=np.float64))


def stack_points(points: Sequence[ServingPoint]) -> ServingTable:
    """Return the tables of all ``points`` as one, shape ``(points,)``."""
    return stack_tables([point.table() for point in points])
