"""What the joint error model is worth where it is spent: own points, and ratios of two answers.

An accelerator is left out. Of every group on it (model, engine, format) a few points are measured,
at random or by choice, and the rest is answered. A ratio is of two points of one model under the
same load, left out with their accelerator (two engines) or with their model (any two).

Errors of one class (a vendor, an engine, a format, a kind) are shared, so that its intervals hold
more or less often by luck: errors drawn from the model itself say how many classes it keeps.

    python -m tools.spent_doubt ../shared/data/measured/measured.csv.gz

Takes some ten minutes.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headway.serving.answer_doubt import load_features
from headway.serving.serving_point import (
    ServingPoint,
    corrected_times,
    logs,
    subject,
)
from headway.serving.tabulated import ServingTable, serving_times
from headway.steptime.calibration import own_evidence
from headway.steptime.error_model import HIGHEST, LOWEST, NORMAL_80, ErrorModel
from headway.steptime.work import Array
from tools.accuracy_page import CLASSES, HOLDS, MIN_CLASS
from tools.held_out import HARDWARE, MODEL, SLICES, fit_fold, folds, serving_rows
from tools.measured_table import read_measured
from tools.serving_coefficients import OLD, Configurations, Rows, coefficients, take
from tools.serving_errors import ServingFit, row_groups

MIN_POINTS = 8  # of a group, copies not counted
DRAWS = 3
RANDOM, CHOSEN = "random", "chosen"
MAX_RATIOS = 400  # of one fold
CLASS_DRAWS = 400


@dataclass(frozen=True, slots=True)
class OwnScore:
    """The rest of one group, answered after ``points`` of it were measured ``how``."""

    how: str
    points: int
    mape: float
    holds: float
    width: float


@dataclass(frozen=True, slots=True)
class RatioScore:
    """One ratio of two answers: whether its interval holds, and logs of widths.

    ``apart`` is the width that the two intervals have if nothing is known of what they share.
    """

    error: float
    holds: bool
    width: float
    apart: float


def own_scores(
    fit: ServingFit, points: Sequence[ServingPoint], table: ServingTable
) -> Iterator[OwnScore]:
    """Score the groups among the left-out ``points`` after 0, 1 and 5 points of their own."""
    rng = np.random.default_rng(0)
    for rows in _groups(points):
        own, own_table = [points[i] for i in rows], take(table, rows)
        for how in (RANDOM, CHOSEN):
            for count in (0, 1, 5):
                draws = DRAWS if how == RANDOM and count else 1
                for _ in range(draws):
                    measured = (
                        rng.permutation(len(rows))[:count]
                        if how == RANDOM
                        else _spread_out(own_table, count)
                    )
                    yield _own_score(fit, own, own_table, measured, how=how)


def _groups(points: Sequence[ServingPoint]) -> Iterator[Rows]:
    """Yield the rows of every group of serving points, one of each configuration."""
    rows = np.array([i for i, point in enumerate(points) if point.source not in OLD], np.int64)
    rows = rows[Configurations.of([points[i] for i in rows]).rows] if len(rows) else rows
    names = np.array([str(subject(points[i]).groups["cell"]) for i in rows])
    for name in np.unique(names):
        if np.count_nonzero(names == name) >= MIN_POINTS:
            yield rows[names == name]


def _spread_out(table: ServingTable, count: int) -> Rows:
    """Return points far apart: the middle one, then each the farthest from those before."""
    shape = table.shape
    where = np.stack(
        [
            np.log(shape.concurrency),
            np.log(shape.num_accelerators),
            0.5 * np.log(shape.prompt_tokens),
            0.5 * np.log(shape.output_tokens),
        ],
        axis=1,
    )
    far = np.linalg.norm(where - np.median(where, axis=0), axis=1)
    chosen = [int(np.argmin(far))]
    while len(chosen) < count:
        nearest = np.min([np.linalg.norm(where - where[i], axis=1) for i in chosen], axis=0)
        chosen.append(int(np.argmax(nearest)))
    return np.array(chosen[:count], np.int64)


def _own_score(
    fit: ServingFit,
    points: Sequence[ServingPoint],
    table: ServingTable,
    measured: Rows,
    *,
    how: str,
) -> OwnScore:
    theta = coefficients(fit.coefficients, points)
    priced = serving_times(table, theta)
    features = np.clip(load_features(table.shape, priced), LOWEST, HIGHEST)
    tpot = logs([point.tpot_s for point in points])

    model = fit.errors["tpot"]
    if len(measured):
        rows = np.column_stack([features, tpot - np.log(priced.tpot_s)])[measured]
        model = model.given(own_evidence(model, subject(points[0]), rows))

    rest = np.setdiff1d(np.arange(len(points)), measured)
    weights = model.weights(subject(points[0]).groups)
    times = corrected_times(table, theta, [weights] * len(points))
    error = (tpot - np.log(times.tpot_s))[rest]
    half_width = NORMAL_80 * np.sqrt(weights.variance(load_features(table.shape, times))[rest])
    return OwnScore(
        how=how,
        points=len(measured),
        mape=float(np.abs(np.exp(-error) - 1).mean()),
        holds=float(np.mean(np.abs(error) <= half_width)),
        width=float(np.exp(2 * np.median(half_width))),
    )


def ratio_scores(
    fit: ServingFit, points: Sequence[ServingPoint], table: ServingTable
) -> Iterator[RatioScore]:
    """Score ratios of times per token between two accelerators or engines of one model."""
    rows = np.array([i for i, point in enumerate(points) if point.source not in OLD], np.int64)
    if not len(rows):
        return
    rows = rows[Configurations.of([points[i] for i in rows]).rows]
    chosen, chosen_table = [points[i] for i in rows], take(table, rows)
    model = fit.errors["tpot"]
    weights = [model.weights(subject(point).groups) for point in chosen]
    times = corrected_times(chosen_table, coefficients(fit.coefficients, chosen), weights)
    error = logs([point.tpot_s for point in chosen]) - np.log(times.tpot_s)
    features = load_features(chosen_table.shape, times)

    pairs = [
        (i, j) for i in range(len(chosen)) for j in range(i) if _is_comparable(chosen[i], chosen[j])
    ]
    order = np.random.default_rng(0).permutation(len(pairs))[:MAX_RATIOS]
    for i, j in (pairs[k] for k in order):
        yield _ratio_score(model, [chosen[i], chosen[j]], features[[i, j]], error[[i, j]])


def _is_comparable(one: ServingPoint, other: ServingPoint) -> bool:
    loads = one.load, other.load
    same_load = all(
        math.isclose(float(getattr(loads[0], name)), float(getattr(loads[1], name)), rel_tol=0.1)
        for name in ("prompt_tokens", "output_tokens", "concurrency")
    )
    return (
        same_load
        and one.model == other.model
        and (one.hardware, one.engine) != (other.hardware, other.engine)
    )


def _ratio_score(
    model: ErrorModel, points: Sequence[ServingPoint], features: Array, error: Array
) -> RatioScore:
    _, covariance = model.joint([subject(point).groups for point in points], features)
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    half_width = NORMAL_80 * math.sqrt(variance)
    off = float(error[0] - error[1])
    return RatioScore(
        error=off,
        holds=abs(off) <= half_width,
        width=2 * half_width,
        apart=2 * NORMAL_80 * float(np.sqrt(covariance[0, 0]) + np.sqrt(covariance[1, 1])),
    )


def draw_classes(
    fit: ServingFit, points: Sequence[ServingPoint], table: ServingTable
) -> npt.NDArray[np.bool_]:
    """Return whether intervals hold of errors that the model itself draws, ``(points, draws)``."""
    times = fit.times(points, table)
    groups = [row_groups(point) for point in points]
    _, covariance = fit.errors["tpot"].joint(groups, load_features(table.shape, times))
    root = np.linalg.cholesky(covariance)
    errors = root @ np.random.default_rng(0).standard_normal((len(points), CLASS_DRAWS))
    return np.asarray(np.abs(errors) <= NORMAL_80 * np.sqrt(np.diag(covariance))[:, None])


def class_line(points: Sequence[ServingPoint], holds: npt.NDArray[np.bool_]) -> str:
    """Return in how many classes intervals hold as often as is asked, by luck."""
    coverages = []
    for by in CLASSES:
        names = np.array([SLICES[by](point) for point in points])
        members = [names == name for name in np.unique(names)]
        coverages += [holds[own].mean(axis=0) for own in members if own.sum() >= MIN_CLASS]
    kept = ((np.array(coverages) >= HOLDS[0]) & (np.array(coverages) <= HOLDS[1])).sum(axis=0)
    low, high = np.quantile(kept, [0.05, 0.95])
    return (
        f"errors drawn from the model itself: {kept.mean():.1f} of {len(coverages)} classes hold "
        f"72 to 88% ({low:.0f} to {high:.0f} in nine of ten draws)"
    )


def own_lines(scores: Sequence[OwnScore]) -> Iterator[str]:
    """Yield a table of what own points are worth, each group and draw counting once."""
    yield "| own points | | groups, draws | median error | mean | 90th percentile | holds | width |"
    yield "|---|---|---|---|---|---|---|---|"
    for how, count in sorted({(score.how, score.points) for score in scores}):
        own = [score for score in scores if (score.how, score.points) == (how, count)]
        errors = np.array([score.mape for score in own])
        yield (
            f"| {count} | {how} | {len(own)} | {np.median(errors):.1%} | {errors.mean():.1%} "
            f"| {np.quantile(errors, 0.9):.1%} | {np.mean([s.holds for s in own]):.0%} "
            f"| x{np.median([s.width for s in own]):.2f} |"
        )


def ratio_line(scores: Sequence[RatioScore]) -> str:
    """Return in words how ratios do."""
    width = float(np.median([score.width for score in scores]))
    narrower = float(np.median([1 - score.width / score.apart for score in scores]))
    off = float(np.median([abs(score.error) for score in scores]))
    holds = float(np.mean([score.holds for score in scores]))
    return (
        f"{len(scores)} ratios, {off:.1%} off in the median: 80% intervals hold {holds:.0%}, "
        f"width x{math.exp(width):.2f}, {narrower:.0%} narrower than the two apart"
    )


def main() -> None:
    points, table, _ = read_measured(Path(sys.argv[1]))

    own: list[OwnScore] = []
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as executor:
        for split in (HARDWARE, MODEL):
            ratios: list[RatioScore] = []
            drawn, asked = [], []
            labels = folds(split, points)
            groups = list(dict.fromkeys(labels))
            fits = executor.map(partial(fit_fold, split, points, table, labels), groups)
            for group, fit in zip(groups, fits, strict=True):
                rows = np.flatnonzero(np.array(labels) == group).astype(np.int64)
                left_out, left_out_table = [points[i] for i in rows], take(table, rows)
                ratios += ratio_scores(fit, left_out, left_out_table)
                serving = serving_rows(left_out)
                if len(serving):
                    asked += [left_out[i] for i in serving]
                    drawn.append(
                        draw_classes(fit, asked[-len(serving) :], take(left_out_table, serving))
                    )
                if split == HARDWARE:
                    own += own_scores(fit, left_out, left_out_table)
            print(f"left out: {split}; {ratio_line(ratios)}")
            print(f"left out: {split}; {class_line(asked, np.concatenate(drawn))}")
    print("\n".join(own_lines(own)))


if __name__ == "__main__":
    main()
