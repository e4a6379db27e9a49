"""Measured points of serving: tabulated, so that all are priced at once, and as evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from headway.serving.answer_doubt import load_features
from headway.serving.closed_loop import ClosedLoop
from headway.serving.load_steps import LoadShape
from headway.serving.load_times import LoadTimes
from headway.serving.served_load import serve_loop
from headway.serving.tabulated import ServingTable, serving_times, stack_tables, tabulate_serving
from headway.steptime.calibration import QUANTITIES, Calibration, Subject
from headway.steptime.deployment import Deployment
from headway.steptime.error_model import FEATURES, HIGHEST, LOWEST, Weights, features_of
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


def corrected_times(table: ServingTable, theta: Array, weights: Sequence[Weights]) -> LoadTimes:
    """Return the times of points, each corrected by what is known of its subject's errors."""
    decode_log, mixed_log = (
        np.array([one.expected(row) for one, row in zip(weights, features, strict=True)])
        for features in step_features(table.shape)
    )
    return serving_times(table, theta, np.exp(decode_log), np.exp(mixed_log - decode_log))


def step_features(shape: LoadShape) -> tuple[Array, Array]:
    """Return the features of a load's decode steps, and of its steps with prompts."""
    prompt_tokens = shape.prompts_per_step * shape.prompt_tokens / shape.prompt_steps
    return (
        features_of(shape.seats, shape.num_accelerators, 0.0),
        features_of(shape.seats, shape.num_accelerators, prompt_tokens),
    )


def own_rows(points: Sequence[ServingPoint], calibration: Calibration) -> dict[str, Array]:
    """Return by quantity features and log-error of the points that measured it.

    All are held against answers by ``calibration``; of times per output token, what these were
    corrected by is added again, as the evidence is of coefficients alone.
    """
    answers = [_answer(point, calibration) for point in points]
    features = np.stack([answer.features for answer in answers])
    expected = [
        calibration.weights(subject(point)).expected(row)
        for point, row in zip(points, features, strict=True)
    ]

    tpot = logs([point.tpot_s for point in points]) - logs([one.tpot_s for one in answers])
    rate = logs([point.total_tok_per_s for point in points])
    errors = {
        "tpot": tpot + np.array(expected),
        "ttft": logs([point.ttft_s for point in points]) - logs([one.ttft_s for one in answers]),
        "run": rate - logs([one.total_tok_per_s for one in answers]) + tpot,
    }
    features = np.clip(features, LOWEST, HIGHEST)
    nothing = np.zeros((0, len(FEATURES) + 1))
    return {
        name: np.column_stack([features, errors[name]])[np.isfinite(errors[name])]
        if name in errors
        else nothing
        for name in QUANTITIES
    }


@dataclass(frozen=True, slots=True)
class _Answer:
    """What is answered for a point, and the features of its errors."""

    features: Array
    tpot_s: float
    ttft_s: float
    total_tok_per_s: float


def _answer(point: ServingPoint, calibration: Calibration) -> _Answer:
    deployment = replace(point.deployment, calibration=calibration)
    served = serve_loop(deployment, point.load)
    shape, times = served.shape, served.times
    return _Answer(
        features=load_features(shape, times),
        tpot_s=float(times.tpot_s),
        ttft_s=float(times.ttft_s),
        total_tok_per_s=float(times.requests_per_s * shape.total_tokens),
    )
