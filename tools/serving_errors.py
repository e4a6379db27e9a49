"""The error models of all quantities, and the calibration that ships, from measured points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from headway.serving.answer_doubt import extent, load_features
from headway.serving.closed_loop import ClosedLoop
from headway.serving.load_times import LoadTimes
from headway.serving.serving_point import (
    ServingPoint,
    corrected_times,
    logs,
    step_features,
    subject,
)
from headway.serving.tabulated import ServingTable, serving_times
from headway.steptime.calibration import QUANTITIES, Calibration
from headway.steptime.error_model import FEATURES, ErrorModel, Groups, Names, Weights
from headway.steptime.power import PowerModel
from headway.steptime.work import Array
from tools.error_fit import fit_error_model, summarise
from tools.fit_form import FitForm
from tools.pooled_fit import PooledFit
from tools.serving_coefficients import (
    HARNESSES,
    OLD,
    Configurations,
    Rows,
    coefficients,
    fit_power,
    groups,
    measured_power,
    merged,
    take,
)

# What points share beyond the groups of their subject: who measured.
HARNESS_LEVELS = ("harness", "harness, engine", "harness, hardware", "harness, small")
LEVELS = (
    "all",
    "vendor",
    "engine",
    "vendor, engine",
    "vendor, engine, kind",
    "kind",
    "hardware",
    "weights, kind",
    "model",
    "model, engine",
    "model, weights",
    "cell",
    *HARNESS_LEVELS,
)
# How far a group may stray in its times per token, as a log-deviation: where variances start, and
# what is counted as evidence for them. Slopes are given as shares of the constant's.
SPREAD, HARNESS_SPREAD, ALL_SPREAD = 0.08, 0.25, 0.1
SLOPES = np.array([1.0, 0.4, 0.4, 1.0])
MIN_SPREAD = 0.01


@dataclass(frozen=True, slots=True)
class Choice:
    """What a fit chooses beforehand, or is chosen for it (`tools/nested_choice.py`).

    Attributes:
        form: how coefficients and errors are fitted.
        strays: factors on the deviations of errors of times per token, by level and group.

    """

    form: FitForm = field(default_factory=FitForm)
    strays: Mapping[tuple[str, str], float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class ServingFit:
    """Coefficients, errors and power, fitted to the same points."""

    coefficients: PooledFit
    errors: Mapping[str, ErrorModel]
    power: PowerModel

    def times(self, points: Sequence[ServingPoint], table: ServingTable) -> LoadTimes:
        """Return the answers for ``points``, corrected by what is known of their errors."""
        weights = [self.errors["tpot"].weights(subject(point).groups) for point in points]
        return corrected_times(table, coefficients(self.coefficients, points), weights)


def fit_tpot_errors(
    fit: PooledFit, points: Sequence[ServingPoint], table: ServingTable, form: FitForm
) -> ErrorModel:
    """Return the error model of the times per token that ``fit`` leaves open of ``points``."""
    serving, served = _serving(points, table)
    priced = serving_times(served, coefficients(fit, serving))
    error = logs([point.tpot_s for point in serving]) - np.log(priced.tpot_s)
    return _fit("tpot", serving, load_features(served.shape, priced), error, form)


def fit_errors(
    fit: PooledFit, points: Sequence[ServingPoint], table: ServingTable, choice: Choice
) -> ServingFit:
    """Return the error models of all that ``fit`` leaves open of serving ``points``."""
    form = choice.form
    serving, served = _serving(points, table)
    features = load_features(served.shape, serving_times(served, coefficients(fit, serving)))

    # Times per token are held against what the coefficients say.
    tpot = fit_tpot_errors(fit, points, table, form)
    errors = {"tpot": replace(tpot, strays=choice.strays)}

    # All else is held against answers, which the first model corrects.
    _fit_first_token(fit, points, table, errors["tpot"])
    weights = [errors["tpot"].weights(subject(point).groups) for point in serving]
    answered = corrected_times(served, coefficients(fit, serving), weights)
    power = fit_power(serving, served, answered)
    for quantity, error in quantity_errors(serving, served, answered, power).items():
        if quantity in QUANTITIES and quantity != "tpot":
            errors[quantity] = _fit(quantity, serving, features, error, form)
    return ServingFit(fit, errors, power)


def _serving(
    points: Sequence[ServingPoint], table: ServingTable
) -> tuple[list[ServingPoint], ServingTable]:
    """Return the points that are not old static batches, and their table."""
    rows = np.array([i for i, p in enumerate(points) if p.source not in OLD], np.int64)
    return [points[i] for i in rows], take(table, rows)


def _fit_first_token(
    fit: PooledFit, points: Sequence[ServingPoint], table: ServingTable, errors: ErrorModel
) -> None:
    """Fit how the first token is handled, after steps that ``errors`` correct."""
    rows, times = merged(points)
    configurations, counted = [points[i] for i in rows], take(table, rows)
    weights = [errors.weights(subject(point).groups) for point in configurations]
    decode, mixed = (
        np.array([one.expected(row) for one, row in zip(weights, features, strict=True)])
        for features in step_features(counted.shape)
    )
    fit.fit_first_token(
        counted, groups(configurations), times, stretch=decode, prompt_stretch=mixed - decode
    )


def quantity_errors(
    points: Sequence[ServingPoint], table: ServingTable, times: LoadTimes, power: PowerModel
) -> dict[str, Array]:
    """Return log of measured over answered by quantity, ``nan`` where not measured."""
    output = times.requests_per_s * table.shape.output_tokens
    total = times.requests_per_s * table.shape.total_tokens
    use = zip(points, *table.peak_use(times), strict=True)
    watts = np.array([float(power.power_w(p.deployment.cluster.accelerator, *u)) for p, *u in use])
    joules = power.run * watts * table.shape.num_accelerators / output

    tpot = logs([p.tpot_s for p in points]) - np.log(times.tpot_s)
    throughput = logs([p.total_tok_per_s for p in points]) - np.log(total)
    return {
        "tpot": tpot,
        "ttft": logs([p.ttft_s for p in points]) - np.log(times.ttft_s),
        "mean_ttft": logs([p.mean_ttft_s for p in points]) - np.log(times.mean_ttft_s),
        "throughput": throughput,
        "run": throughput + tpot,
        "energy": logs([p.energy_j for p in points]) - np.log(joules),
        "power": np.log(measured_power(points, table)) - np.log(watts),
    }


def row_groups(point: ServingPoint) -> Groups:
    """Return the groups of a measured row: those of its subject, and of who measured it."""
    groups = dict(subject(point).groups)
    if point.source in HARNESSES:
        groups["harness"] = point.source
        groups["harness, engine"] = f"{point.source}, {point.engine}"
        groups["harness, hardware"] = f"{point.source}, {point.hardware}"
        if float(point.deployment.parallelism.num_accelerators) == 1:
            groups["harness, small"] = f"{point.source}, one {point.hardware}"
    return groups


def row_errors(
    model: ErrorModel, of_rows: Sequence[Groups], of_subjects: Sequence[Weights], features: Array
) -> tuple[Array, Array]:
    """Return what is expected of rows for who measured them, and the variance of rows, ``(n,)``.

    ``of_subjects`` are what is known of their subjects, whoever measures.
    """
    rows = list(zip((model.weights(own) for own in of_rows), of_subjects, features, strict=True))
    return (
        np.array([own.expected(row) - subject.expected(row) for own, subject, row in rows]),
        np.array([own.variance(row) for own, _, row in rows]),
    )


def group_names(points: Sequence[ServingPoint], levels: Sequence[str]) -> Names:
    """Return the group of every point at every one of ``levels``, ``(n, levels)``."""
    rows = []
    for point in points:
        own = row_groups(point)
        rows.append([own.get(level, "") for level in levels])
    return np.array(rows, dtype=np.str_)


def _fit(
    quantity: str,
    points: Sequence[ServingPoint],
    features: Array,
    error: Array,
    form: FitForm,
) -> ErrorModel:
    """Fit the errors of one quantity; copies of a configuration count as one."""
    configurations = Configurations.of(points)
    first, mean = configurations.rows, configurations.mean(error)
    rows: Rows = np.flatnonzero(np.isfinite(mean)).astype(np.int64)
    places = first[rows]
    names = group_names([points[i] for i in places], LEVELS)
    return fit_error_model(
        LEVELS,
        _typical(quantity, mean[rows]),
        summarise(names, features[places], mean[rows]),
        typical_groups=form.typical_groups,
    )


def _typical(quantity: str, error: Array) -> Array:
    """Return the variances that `LEVELS` start from, ``(levels, features)``.

    Those of times per token were chosen on inner folds. Of all else, whose errors move intervals
    and no answers, all levels of a row together stray as far as the ``error`` that is trained on.
    """
    spread, harness_spread, all_spread = SPREAD, HARNESS_SPREAD, ALL_SPREAD
    if quantity != "tpot":
        num_levels = len(LEVELS) - len(HARNESS_LEVELS)
        spread = max(float(np.std(error)) / np.sqrt(num_levels), MIN_SPREAD)
        harness_spread = all_spread = spread

    typical = np.tile((spread * SLOPES) ** 2, (len(LEVELS), 1))
    for level in HARNESS_LEVELS:
        typical[LEVELS.index(level), 0] = harness_spread**2
    typical[LEVELS.index("all")] = [all_spread**2, *[1e-8] * (len(FEATURES) - 1)]
    return typical


def assemble(
    fit: ServingFit,
    points: Sequence[ServingPoint],
    table: ServingTable,
    *,
    provenance: Mapping[str, object],
) -> Calibration:
    """Return the calibration that ships, from a fit to all points."""
    # What only old static batches show is still new to a question about serving.
    serving, served = _serving(points, table)
    load = ClosedLoop(
        [float(point.load.prompt_tokens) for point in serving],
        [float(point.load.output_tokens) for point in serving],
        served.shape.concurrency,
    )
    ranges = {
        name: (float(values.min()), float(values.max()))
        for name, values in extent(load, served.shape).items()
    }
    pooled = fit.coefficients
    return Calibration(
        prior=pooled.prior,
        factors={
            **{key: v for key, v in pooled.coefficients_.items() if key[0] != "harness"},
            **pooled.fixed,
        },
        errors=fit.errors,
        engines=frozenset(point.engine for point in serving),
        vendors=frozenset(point.vendor for point in serving),
        ranges=ranges,
        power=fit.power,
        provenance=provenance,
    )
