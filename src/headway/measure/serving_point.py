"""Measured points of serving, and the table in which a fit prices all of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from headway.serving.one_engine import Limits, Load, ServingTable, tabulate_serving
from headway.steptime.calibration import Subject
from headway.steptime.deployment import Deployment
from headway.steptime.speculative import Speculation
from headway.steptime.work import Array
from headway.steptime.worktable import WorkTable, stack


@dataclass(frozen=True, slots=True, eq=False)
class ServingPoint:
    """One measured point; what was not measured is ``None``.

    Attributes:
        source: where it is from; points of one source and configuration are near copies.
        tpot_s: mean or median over requests, which differ little in the steady state.
        ttft_s, mean_ttft_s: median and mean over requests.
        total_tok_per_s: input and output tokens per second of the whole engine.
        power_w: of one accelerator. ``energy_j``: of one accelerator per output token.

    """

    source: str
    engine: str
    model: str
    deployment: Deployment
    load: Load
    limits: Limits
    speculation: Speculation | None = None
    drafted: int = 0
    tpot_s: float | None = None
    ttft_s: float | None = None
    mean_ttft_s: float | None = None
    total_tok_per_s: float | None = None
    power_w: float | None = None
    energy_j: float | None = None

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
        return tabulate_serving(
            self.deployment, self.load, self.limits, self.speculation, self.drafted
        )


def subject(point: ServingPoint) -> Subject:
    """Return the names by which a calibration looks the point up."""
    deployment = point.deployment
    return Subject.of(deployment.cluster.accelerator, point.engine, deployment.model, point.weights)


def logs(values: Sequence[float | None]) -> Array:
    """Return natural logarithms, ``nan`` where there is no value."""
    return np.log(np.array([np.nan if v is None else v for v in values], dtype=np.float64))


def stack_points(points: Sequence[ServingPoint]) -> ServingTable:
    """The tables of all ``points`` as one, shape ``(points,)``."""
    tables = [point.table() for point in points]
    made: dict[str, object] = {}
    for field in fields(ServingTable):
        parts = [getattr(table, field.name) for table in tables]
        if isinstance(parts[0], WorkTable):
            made[field.name] = stack(parts)
        else:
            made[field.name] = np.array(parts)
    return ServingTable(**made)  # type: ignore[arg-type]  # made of its fields
