"""Held-out error and interval coverage: fit without a group, predict it, compare.

Splits are by group, never by row: neighbouring points of a sweep are nearly the same point.
``cell`` leaves out combinations of hardware and model, a twelfth of them at a time, ``hardware``
every point of one accelerator, ``model`` every point of one model. Older static batches are fitted
and left out like the others, and scored apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headway.measure.accuracy import LEVEL, AccuracyRow, accuracy_row
from headway.measure.serving_point import ServingPoint, logs, stack_points
from headway.report.report import Report
from headway.serving.closed_loop import LoadTimes
from headway.serving.tabulated import ServingTable, serving_times
from headway.steptime.calibration import BOTH, CELL, HARDWARE, MODEL, QUANTITIES
from headway.steptime.kernel_coefficients import NAMES
from headway.steptime.power import PowerModel
from headway.steptime.work import Array
from tools.serving_coefficients import (
    OLD,
    Rows,
    coefficients,
    fit_power,
    measured_power,
    pooled,
    predict,
    take,
)

Labels = npt.NDArray[np.str_]
CELL_FOLDS = 12
IN_SAMPLE = "in sample"
SPLITS: Mapping[str, Callable[[ServingPoint], str]] = {
    HARDWARE: lambda p: p.hardware,
    MODEL: lambda p: p.model,
    CELL: lambda p: f"{p.hardware}, {p.model}",
}
SLICES: Mapping[str, Callable[[ServingPoint], str]] = {
    "vendor": lambda p: p.vendor,
    "engine": lambda p: p.engine,
    "hardware": lambda p: p.hardware,
    "model": lambda p: p.model,
}


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Log of measured over predicted, by quantity, ``nan`` where not measured; shape ``(points,)``.

    ``fold`` is the group that was left out for each point, ``center`` the median log-error of
    times per token before it was taken out: of each group, what all others say.
    """

    split: str
    fold: tuple[str, ...]
    errors: Mapping[str, Array]
    center: float = 0.0

    def take(self, rows: Rows) -> Scored:
        """The scores of some points."""
        errors = {name: error[rows] for name, error in self.errors.items()}
        return Scored(self.split, tuple(self.fold[i] for i in rows), errors, self.center)


def score_all(points: Sequence[ServingPoint]) -> Iterator[Scored]:
    """Score ``points`` in sample and under every split."""
    table = stack_points(points)
    yield _scored(IN_SAMPLE, points, table, [""] * len(points))
    for split in SPLITS:
        yield _scored(split, points, table, folds(split, points))


def folds(split: str, points: Sequence[ServingPoint]) -> list[str]:
    """What each point is left out with."""
    names = [SPLITS[split](point) for point in points]
    if split != CELL:
        return names
    order = {name: i for i, name in enumerate(sorted(set(names)))}
    return [str(order[name] % CELL_FOLDS) for name in names]


def _scored(
    split: str, points: Sequence[ServingPoint], table: ServingTable, fold: Sequence[str]
) -> Scored:
    """Fit without each group of ``fold``, and predict the group by that fit."""
    labels = np.array(fold)
    theta, scale = np.zeros((len(points), len(NAMES))), np.ones(len(points))
    power_models: dict[str, PowerModel] = {}
    for group in dict.fromkeys(fold):
        test: Rows = np.flatnonzero(labels == group).astype(np.int64)
        others: Rows = np.flatnonzero(labels != group).astype(np.int64)
        train = test if split == IN_SAMPLE else others
        train_points, train_table = [points[i] for i in train], take(table, train)

        fit = pooled(train_points, train_table)
        train_times = predict(fit, train_points, train_table)
        power_models[group] = fit_power(train_points, train_table, train_times)
        theta[test], scale[test] = coefficients(fit, [points[i] for i in test])

    # What is new is off alike: take out the median error of all other groups.
    measured = logs([p.tpot_s for p in points])
    off = measured - np.log(serving_times(table, theta, scale).tpot_s)
    is_old = np.array([point.source in OLD for point in points])
    for group in power_models if split in (HARDWARE, MODEL) else ():
        scale[labels == group] *= np.exp(np.nanmedian(off[(labels != group) & ~is_old]))

    times = serving_times(table, theta, scale)
    arithmetic, memory = table.peak_use(times)
    watts = np.array(
        [
            float(power_models[group].power_w(p.deployment.cluster.accelerator, a, m))
            for p, group, a, m in zip(points, fold, arithmetic, memory, strict=True)
        ]
    )
    run = np.array([power_models[group].run for group in fold])
    center = float(np.nanmedian(off[~is_old])) if split in (HARDWARE, MODEL) else 0.0
    return Scored(split, tuple(fold), _errors(points, table, times, watts, run), center)


def _errors(
    points: Sequence[ServingPoint],
    table: ServingTable,
    times: LoadTimes,
    watts: Array,
    run: Array,
) -> dict[str, Array]:
    output = times.requests_per_s * table.shape.output_tokens
    total = times.requests_per_s * table.shape.total_tokens
    return {
        "tpot": logs([p.tpot_s for p in points]) - np.log(times.tpot_s),
        "ttft": logs([p.ttft_s for p in points]) - np.log(times.ttft_s),
        "mean_ttft": logs([p.mean_ttft_s for p in points]) - np.log(times.mean_ttft_s),
        "throughput": logs([p.total_tok_per_s for p in points]) - np.log(total),
        "energy": logs([p.energy_j for p in points])
        - np.log(run * watts * table.shape.num_accelerators / output),
        "power": np.log(measured_power(points, table)) - np.log(watts),
    }


def quantiles(scored: Sequence[Scored]) -> dict[str, dict[str, tuple[float, float]]]:
    """Return the 10% and 90% quantile of held-out errors by novelty and quantity.

    Where both hardware and model are new, the two deviations add as independent ones do.
    """
    by_split = {scores.split: scores for scores in scored}
    by_novelty: dict[str, dict[str, tuple[float, float]]] = {}
    for novelty in (CELL, HARDWARE, MODEL):
        scores = by_split[novelty]
        labels = np.array(scores.fold)
        by_novelty[novelty] = {name: _pair(scores.errors[name], labels) for name in QUANTITIES}

    by_novelty[BOTH] = {}
    for name in QUANTITIES:
        (a, b), (c, d) = by_novelty[HARDWARE][name], by_novelty[MODEL][name]
        by_novelty[BOTH][name] = (-float(np.hypot(a, c)), float(np.hypot(b, d)))
    return by_novelty


def centers(scored: Sequence[Scored]) -> dict[str, float]:
    """Return, by novelty, the median log-error that is taken out of predictions."""
    own = {scores.split: scores.center for scores in scored if scores.split in (HARDWARE, MODEL)}
    return {**own, BOTH: sum(own.values())}


def _pair(errors: Array, labels: Labels) -> tuple[float, float]:
    """Return the 10% and 90% quantile, wider the fewer groups there are to tell of the next."""
    is_measured = np.isfinite(errors)
    low, high = np.quantile(errors[is_measured], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    wider = 1 + 0.5 / len(set(labels[is_measured]))
    return float(min(low, 0.0)) * wider, float(max(high, 0.0)) * wider


def covered(scored: Scored, quantity: str) -> tuple[npt.NDArray[np.bool_], Array]:
    """Return where the interval of the other groups' errors holds, and its width, high over low."""
    errors, labels = scored.errors[quantity], np.array(scored.fold)
    measured = np.flatnonzero(np.isfinite(errors))
    inside, width = np.zeros(len(measured), dtype=bool), np.zeros(len(measured))

    for group in dict.fromkeys(labels[measured]):
        own = labels[measured] == group
        others = measured if own.all() else measured[~own]
        low, high = _pair(errors[others], labels[others])
        inside[own] = (errors[measured][own] >= low) & (errors[measured][own] <= high)
        width[own] = np.exp(high - low)
    return inside, width


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
        for quantity in (*QUANTITIES, "mean_ttft", "power")
    ]
    for scores in serving_scores:
        if scores.split in (HARDWARE, MODEL):
            rows += _sliced(scores, serving)

    return Report(
        kind="validate",
        title=f"Held-out error of the calibrated model on {len(serving)} measured points",
        question={"points": len(serving), "interval": LEVEL},
        rows=tuple(row for row in (*rows, *older) if row is not None),
        notes=(
            "errors are |predicted / measured - 1|; a split leaves out whole groups, and "
            "intervals are made of the errors of the other groups",
        ),
    )


def _sliced(scores: Scored, points: Sequence[ServingPoint]) -> list[AccuracyRow | None]:
    rows = []
    for slicing, group in SLICES.items():
        names = np.array([group(point) for point in points])
        rows += [
            _row(
                scores, "tpot", slicing=slicing, name=str(name), rows=np.flatnonzero(names == name)
            )
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

    inside, width = covered(scores, quantity)
    among = np.isin(np.flatnonzero(np.isfinite(scores.errors[quantity])), rows)
    return accuracy_row(
        split=scores.split,
        quantity=quantity,
        by=slicing,
        group=name,
        errors=errors[is_measured],
        inside=inside[among],
        width=width[among],
    )
