"""Held-out error and interval coverage: fit without a group, predict it, compare.

Splits are by group, never by row: neighbouring points of a sweep are nearly the same point.
``cell`` leaves out combinations of hardware and model, a twelfth of them at a time, ``hardware``
every point of one accelerator, ``model`` every point of one model. Older static batches are fitted
and left out like the others, and scored apart. All that a fold chooses (coefficients, variances,
power) it chooses from the points of other groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from headway.measure.accuracy import LEVEL, AccuracyRow, accuracy_row
from headway.report.report import Report
from headway.serving.answer_doubt import load_features
from headway.serving.serving_point import ServingPoint, subject
from headway.serving.tabulated import ServingTable
from headway.steptime.calibration import kind_of
from headway.steptime.error_model import NORMAL_80
from headway.steptime.work import Array
from tools.nested_choice import choose
from tools.serving_coefficients import OLD, Rows, pooled, take
from tools.serving_errors import (
    Choice,
    ServingFit,
    fit_errors,
    quantity_errors,
    row_errors,
    row_groups,
)

CELL_FOLDS = 12
OLDER = "older"
IN_SAMPLE, CELL, HARDWARE, MODEL = "in sample", "cell", "hardware", "model"
# A time per token is scored as answered, and as whoever measured the row would measure it: some
# harnesses do it in another way, which is learned and no part of an answer.
BY_HARNESS = "tpot by its harness"
ANSWERS = ("tpot", BY_HARNESS, "ttft", "throughput", "energy", "mean_ttft", "power")
SPLITS: Mapping[str, Callable[[ServingPoint], str]] = {
    HARDWARE: lambda p: p.hardware,
    MODEL: lambda p: p.model,
    CELL: lambda p: f"{p.hardware}, {p.model}",
}
SLICES: Mapping[str, Callable[[ServingPoint], str]] = {
    "source": lambda p: p.source,
    "vendor": lambda p: p.vendor,
    "engine": lambda p: p.engine,
    "format": lambda p: p.weights,
    "kind": lambda p: kind_of(p.deployment.model),
    "hardware": lambda p: p.hardware,
    "model": lambda p: p.model,
}


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Log of measured over answered, by quantity, ``nan`` where not measured; shape ``(points,)``.

    ``fold`` is the group that was left out for each point. ``lower`` and ``upper`` are the ends of
    its stated interval, as logarithms over the answer.
    """

    split: str
    fold: tuple[str, ...]
    errors: Mapping[str, Array]
    lower: Mapping[str, Array]
    upper: Mapping[str, Array]

    def take(self, rows: Rows) -> Scored:
        """The scores of some points."""
        errors, lower, upper = (
            {name: values[rows] for name, values in by_quantity.items()}
            for by_quantity in (self.errors, self.lower, self.upper)
        )
        return Scored(self.split, tuple(self.fold[i] for i in rows), errors, lower, upper)


def score_all(
    points: Sequence[ServingPoint], table: ServingTable, executor: Executor
) -> Iterator[Scored]:
    """Score ``points``, whose stacked table is given, in sample and under every split.

    Folds know nothing of each other: ``executor`` may run them at the same time.
    """
    yield score_split(IN_SAMPLE, points, table, [""] * len(points), executor)
    for split in SPLITS:
        yield score_split(split, points, table, folds(split, points), executor)


def folds(split: str, points: Sequence[ServingPoint]) -> list[str]:
    """What each point is left out with."""
    names = [SPLITS[split](point) for point in points]
    if split != CELL:
        # Groups that only old static batches know are left out together.
        served = {name for name, p in zip(names, points, strict=True) if p.source not in OLD}
        return [name if name in served else OLDER for name in names]
    order = {name: i for i, name in enumerate(sorted(set(names)))}
    return [str(order[name] % CELL_FOLDS) for name in names]


def score_split(
    split: str,
    points: Sequence[ServingPoint],
    table: ServingTable,
    fold: Sequence[str],
    executor: Executor,
) -> Scored:
    """Fit without each group of ``fold``, and predict the group by that fit."""
    labels = np.array(fold)
    errors, lower, upper = (
        {name: np.full(len(points), np.nan) for name in ANSWERS} for _ in range(3)
    )
    groups = list(dict.fromkeys(fold))
    scored = executor.map(partial(score_fold, split, points, table, fold), groups)
    for group, scores in zip(groups, scored, strict=True):
        test = np.flatnonzero(labels == group).astype(np.int64)
        for name in ANSWERS:
            errors[name][test], lower[name][test], upper[name][test] = scores[name]
    return Scored(split, tuple(fold), errors, lower, upper)


def score_fold(
    split: str,
    points: Sequence[ServingPoint],
    table: ServingTable,
    fold: Sequence[str],
    group: str,
) -> dict[str, tuple[Array, Array, Array]]:
    """Score the points of one group by what all others choose among themselves and are fitted."""
    fit = fit_fold(split, points, table, fold, group)
    test: Rows = np.flatnonzero(np.array(fold) == group).astype(np.int64)
    return answers_of(fit, [points[i] for i in test], take(table, test))


def fit_fold(
    split: str,
    points: Sequence[ServingPoint],
    table: ServingTable,
    fold: Sequence[str],
    group: str,
) -> ServingFit:
    """Return what the points of all groups but one choose among themselves, fitted to them."""
    if split == IN_SAMPLE:
        return fit_shipped(points, table)
    train: Rows = np.flatnonzero(np.array(fold) != group).astype(np.int64)
    trained, trained_table = [points[i] for i in train], take(table, train)
    choice = choose(trained, trained_table, [fold[i] for i in train])
    return fit_points(trained, trained_table, choice)


def fit_shipped(points: Sequence[ServingPoint], table: ServingTable) -> ServingFit:
    """Return what ships: all points choose, by accelerators and by models left out of them."""
    choice = choose(points, table, folds(HARDWARE, points), folds(MODEL, points))
    # What ships narrows nothing: users ask about chips, versions and kinds of runs that are further
    # away than any that was left out (docs/unseen.md).
    wider = {own: factor for own, factor in choice.strays.items() if factor > 1}
    choice = replace(choice, strays=wider)
    return fit_points(points, table, choice)


def fit_points(
    points: Sequence[ServingPoint], table: ServingTable, choice: Choice | None = None
) -> ServingFit:
    """Return all that is fitted to ``points``, whose stacked table is given."""
    choice = choice or Choice()
    return fit_errors(pooled(points, table, choice.form), points, table, choice)


def answers_of(
    fit: ServingFit, points: Sequence[ServingPoint], table: ServingTable
) -> dict[str, tuple[Array, Array, Array]]:
    """Return by quantity the log-errors of answers, and their intervals' lower and upper ends."""
    times = fit.times(points, table)
    measured = quantity_errors(points, table, times, fit.power)
    features = load_features(table.shape, times)
    mean, variance = {}, {}
    for name, model in fit.errors.items():
        weights = [model.weights(subject(point).groups) for point in points]
        mean[name] = np.array([w.expected(row) for w, row in zip(weights, features, strict=True)])
        variance[name] = np.array(
            [w.variance(row) for w, row in zip(weights, features, strict=True)]
        )
        if name == "tpot":
            of_rows = [row_groups(point) for point in points]
            added, variance[BY_HARNESS] = row_errors(model, of_rows, weights, features)

    # As `AnswerDoubt.around` states them.
    mean["tpot"] = mean[BY_HARNESS] = np.zeros(len(points))
    measured[BY_HARNESS] = measured["tpot"] - added
    mean["throughput"], variance["throughput"] = mean["run"], variance["run"] + variance["tpot"]
    mean["mean_ttft"], variance["mean_ttft"] = mean["ttft"], variance["ttft"]
    answers = {}
    for name in ANSWERS:
        half_width = NORMAL_80 * np.sqrt(variance[name])
        lower = np.minimum(mean[name] - half_width, 0.0)
        upper = np.maximum(mean[name] + half_width, 0.0)
        answers[name] = measured[name], lower, upper
    return answers


def serving_rows(points: Sequence[ServingPoint]) -> Rows:
    """Which points are of serving; the others are old static batches."""
    return np.flatnonzero([point.source not in OLD for point in points]).astype(np.int64)


def report(points: Sequence[ServingPoint], scored: Sequence[Scored]) -> Report[AccuracyRow]:
    """Return errors and coverage: of all points, then by vendor, engine, hardware and model.

    Old static batches come last, by source and hardware, and are in no other row.
    """
    rows_of_serving = serving_rows(points)
    older = [
        _row(scores, quantity, slicing=slicing, name=name, rows=rows)
        for scores in scored
        for quantity in ("tpot", "ttft")
        for slicing, name, rows in _older(points)
    ]

    serving = [points[i] for i in rows_of_serving]
    serving_scores = [scores.take(rows_of_serving) for scores in scored]
    everyone: Rows = np.arange(len(serving), dtype=np.int64)
    rows = [
        _row(scores, quantity, slicing="all", name="", rows=everyone)
        for scores in serving_scores
        for quantity in ANSWERS
    ]
    for scores in serving_scores:
        if scores.split != IN_SAMPLE:
            rows += _sliced(scores, serving)

    return Report(
        kind="validate",
        title=f"Held-out error of the calibrated model on {len(serving)} measured points",
        question={"points": len(serving), "interval": LEVEL},
        rows=tuple(row for row in (*rows, *older) if row is not None),
        notes=(
            "errors are |predicted / measured - 1|; a split leaves out whole groups, and all that "
            "an answer and its interval rest on is chosen from the points of the other groups",
        ),
    )


def _sliced(scores: Scored, points: Sequence[ServingPoint]) -> list[AccuracyRow | None]:
    rows = []
    for slicing, group in SLICES.items():
        names = np.array([group(point) for point in points])
        rows += [
            _row(
                scores,
                quantity,
                slicing=slicing,
                name=str(name),
                rows=np.flatnonzero(names == name),
            )
            for quantity in ("tpot", BY_HARNESS)
            for name in sorted(set(names))
        ]
    return rows


def _older(points: Sequence[ServingPoint]) -> Iterator[tuple[str, str, Rows]]:
    for slicing, group in (
        ("old source", lambda p: f"{p.source}, {p.engine}"),
        ("old hardware", lambda p: p.hardware),
        ("old model", lambda p: p.model),
    ):
        names = np.array([group(p) if p.source in OLD else "" for p in points])
        for name in sorted(set(names) - {""}):
            yield slicing, str(name), np.flatnonzero(names == name).astype(np.int64)


def _row(
    scores: Scored, quantity: str, *, slicing: str, name: str, rows: Rows
) -> AccuracyRow | None:
    errors = scores.errors[quantity][rows]
    is_measured = np.isfinite(errors)
    if not is_measured.any():
        return None

    error = errors[is_measured]
    lower = scores.lower[quantity][rows][is_measured]
    upper = scores.upper[quantity][rows][is_measured]
    return accuracy_row(
        split=scores.split,
        quantity=quantity,
        by=slicing,
        group=name,
        errors=error,
        inside=(lower <= error) & (error <= upper),
        width=np.exp(upper - lower),
    )
