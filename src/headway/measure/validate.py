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

from headway.measure.fit_points import ServingPoint, stack_points
from headway.measure.fit_serving import (
    OLD,
    Rows,
    coefficients,
    fit_power,
    logs,
    measured_power,
    pooled,
    predict,
    take,
)
from headway.report.report import Report, Row
from headway.serving.estimate import uses
from headway.serving.one_engine import ServingTable, ServingTimes, serving_times
from headway.steptime.calibration import BOTH, CELL, HARDWARE, MODEL, QUANTITIES
from headway.steptime.kernel_coefficients import NAMES
from headway.steptime.power import PowerModel
from headway.steptime.work import Array

LEVEL = 0.8
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
        kept = {name: error[rows] for name, error in self.errors.items()}
        return Scored(self.split, tuple(self.fold[i] for i in rows), kept, self.center)


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
    labels = np.array(fold)
    theta, scale = np.zeros((len(points), len(NAMES))), np.ones(len(points))
    models: dict[str, PowerModel] = {}
    for group in dict.fromkeys(fold):
        tested: Rows = np.flatnonzero(labels == group).astype(np.int64)
        others: Rows = np.flatnonzero(labels != group).astype(np.int64)
        trained = tested if split == IN_SAMPLE else others
        seen, seen_table = [points[i] for i in trained], take(table, trained)
        fit = pooled(seen, seen_table)
        models[group] = fit_power(seen, seen_table, predict(fit, seen, seen_table))
        theta[tested], scale[tested] = coefficients(fit, [points[i] for i in tested])
    off = logs([p.tpot_s for p in points]) - np.log(serving_times(table, theta, scale).tpot_s)
    old = np.array([point.source in OLD for point in points])
    for group in models if split in (HARDWARE, MODEL) else ():
        scale[labels == group] *= np.exp(np.nanmedian(off[(labels != group) & ~old]))
    times = serving_times(table, theta, scale)
    arithmetic, memory = uses(table, times)
    watts = np.array(
        [
            float(models[group].power_w(p.deployment.cluster.accelerator, a, m))
            for p, group, a, m in zip(points, fold, arithmetic, memory, strict=True)
        ]
    )
    run = np.array([models[group].run for group in fold])
    center = float(np.nanmedian(off[~old])) if split in (HARDWARE, MODEL) else 0.0
    return Scored(split, tuple(fold), _errors(points, table, times, watts, run), center)


def _errors(
    points: Sequence[ServingPoint],
    table: ServingTable,
    times: ServingTimes,
    watts: Array,
    run: Array,
) -> dict[str, Array]:
    output = times.requests_per_s * table.output_tokens
    total = times.requests_per_s * table.total_tokens
    return {
        "tpot": logs([p.tpot_s for p in points]) - np.log(times.tpot_s),
        "ttft": logs([p.ttft_s for p in points]) - np.log(times.ttft_s),
        "mean_ttft": logs([p.mean_ttft_s for p in points]) - np.log(times.mean_ttft_s),
        "throughput": logs([p.total_tok_per_s for p in points]) - np.log(total),
        "energy": logs([p.energy_j for p in points])
        - np.log(run * watts * table.num_accelerators / output),
        "power": np.log(measured_power(points, table)) - np.log(watts),
    }


def quantiles(scored: Sequence[Scored]) -> dict[str, dict[str, tuple[float, float]]]:
    """The 10% and 90% quantile of held-out errors by novelty and quantity.

    Where both hardware and model are new, the two deviations add as independent ones do.
    """
    by_split = {found.split: found for found in scored}
    made: dict[str, dict[str, tuple[float, float]]] = {}
    for novelty in (CELL, HARDWARE, MODEL):
        found = by_split[novelty]
        labels = np.array(found.fold)
        made[novelty] = {name: _pair(found.errors[name], labels) for name in QUANTITIES}
    made[BOTH] = {}
    for name in QUANTITIES:
        (a, b), (c, d) = made[HARDWARE][name], made[MODEL][name]
        made[BOTH][name] = (-float(np.hypot(a, c)), float(np.hypot(b, d)))
    return made


def centers(scored: Sequence[Scored]) -> dict[str, float]:
    """By novelty, the median log-error that is taken out of predictions."""
    made = {found.split: found.center for found in scored if found.split in (HARDWARE, MODEL)}
    return {**made, BOTH: sum(made.values())}


def _pair(errors: Array, labels: Labels) -> tuple[float, float]:
    """The 10% and 90% quantile, wider the fewer groups there are to tell of the next one."""
    known = np.isfinite(errors)
    low, high = np.quantile(errors[known], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    wider = 1 + 0.5 / len(set(labels[known]))
    return float(min(low, 0.0)) * wider, float(max(high, 0.0)) * wider


def covered(scored: Scored, quantity: str) -> tuple[Array, Array]:
    """Where the interval made of the other groups' errors holds, and its width, high over low."""
    errors, labels = scored.errors[quantity], np.array(scored.fold)
    known = np.flatnonzero(np.isfinite(errors))
    inside, width = np.zeros(len(known), dtype=bool), np.zeros(len(known))
    for group in dict.fromkeys(labels[known]):
        own = labels[known] == group
        others = known if own.all() else known[~own]
        low, high = _pair(errors[others], labels[others])
        inside[own] = (errors[known][own] >= low) & (errors[known][own] <= high)
        width[own] = np.exp(high - low)
    return inside, width


def serving_rows(points: Sequence[ServingPoint]) -> Rows:
    """Which points are of serving; the others are old static batches."""
    return np.flatnonzero([point.source not in OLD for point in points]).astype(np.int64)


def report(points: Sequence[ServingPoint], scored: Sequence[Scored]) -> Report:
    """Errors and coverage, all points first, then by vendor, engine, hardware and model.

    Old static batches come last, by source and hardware, and are in no other row.
    """
    serving = serving_rows(points)
    older = [
        _row(found, quantity, slicing, name, rows)
        for found in scored
        for quantity in ("tpot", "ttft")
        for slicing, name, rows in _older(points)
    ]
    points = [points[i] for i in serving]
    scored = [found.take(serving) for found in scored]
    everyone: Rows = np.arange(len(points), dtype=np.int64)
    rows: list[Row] = [
        _row(found, quantity, "all", "", everyone)
        for found in scored
        for quantity in (*QUANTITIES, "mean_ttft", "power")
    ]
    for found in scored:
        if found.split in (HARDWARE, MODEL):
            for slicing, group in SLICES.items():
                names = np.array([group(point) for point in points])
                rows += [
                    _row(
                        found,
                        "tpot",
                        slicing,
                        str(name),
                        everyone[names == name],
                    )
                    for name in sorted(set(names))
                ]
    return Report(
        kind="validation",
        title=f"Held-out error of the calibrated model on {len(points)} measured points",
        question={"points": len(points), "interval": LEVEL},
        rows=tuple(row for row in (*rows, *older) if row["points"]),
        notes=(
            "errors are |predicted / measured - 1|; a split leaves out whole groups, and "
            "intervals are made of the errors of the other groups",
        ),
    )


def _older(points: Sequence[ServingPoint]) -> Iterator[tuple[str, str, Rows]]:
    for slicing, group in (
        ("old source", lambda p: f"{p.source}, {p.engine}"),
        ("old hardware", lambda p: p.hardware),
        ("old model", lambda p: p.model),
    ):
        names = np.array([group(p) if p.source in OLD else "" for p in points])
        for name in sorted(set(names) - {""}):
            yield slicing, str(name), np.flatnonzero(names == name).astype(np.int64)


def _row(found: Scored, quantity: str, slicing: str, name: str, rows: Rows) -> Row:
    errors = found.errors[quantity][rows]
    known = np.isfinite(errors)
    if not known.any():
        return {"split": found.split, "quantity": quantity, "by": slicing, "points": 0}
    off = np.abs(np.exp(-errors[known]) - 1)
    inside, width = covered(found, quantity)
    among = np.isin(np.flatnonzero(np.isfinite(found.errors[quantity])), rows)
    return {
        "split": found.split,
        "quantity": quantity,
        "by": slicing,
        "group": name,
        "points": int(known.sum()),
        "mape": float(off.mean()),
        "median": float(np.median(off)),
        "within_25": float(np.mean(off <= 0.25)),
        "bias": float(np.exp(-np.median(errors[known])) - 1),
        "coverage": float(inside[among].mean()),
        "width": float(np.median(width[among])),
    }
