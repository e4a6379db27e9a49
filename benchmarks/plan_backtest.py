"""A plan's choices against what was measured, with every choice hidden from the fit.

    python -m benchmarks.plan_backtest MEASURED.csv.gz

Groups are an accelerator, a model, an engine, a format and lengths, measured by InferenceX in
several layouts under several loads. A choice is a group and a bound on the time per output token,
each quartile of what was measured in the group. Pairs of accelerator and model are left out of the
fit a twelfth at a time, so nothing of a choice was seen. In worlds drawn from the joint error model
each layout carries what it can within the bound. Of the layouts, the one is bought that is cheapest
with probability 90% (the rule of `headway plan`), or the one that is likeliest to be within 10% of
the best; as much of it as is enough in 90% of the worlds.

Before a measurement, errors are those of the model. After one they are those of a distribution with
heavy tails that knows layouts (`Tails`), fitted to the groups of other pairs. What is measured
first: one point, drawn at random or the one that makes the choice likeliest to be near the best;
one layout at all its loads, likewise; or every layout at one load, that which is predicted to be
nearest the bound. A layout carries what it was measured to carry at the largest load within the
bound, or, "at equal speed", what lies between its loads (interpolated on log scales).
"""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from tools.held_out import CELL, fit_points, folds
from tools.published_points import read_points
from tools.serving_coefficients import take

from headway.plan.names import layout_name
from headway.serving.answer_doubt import load_features
from headway.serving.serving_point import ServingPoint, stack_points, subject
from headway.steptime.work import Array

SOURCE = "inferencex"
SURE = 0.9
NOISE = 0.03  # log-deviation of a repeated run
NUM_WORLDS, NUM_OUTCOMES = 400, 20
NEAR = 0.9  # of the best, to count as chosen well
NUM_FOLDS = 6  # of pairs, for what groups teach of each other
TINY = 1e-12
FARTHEST = 3.0  # log-error beyond which no world lies


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """The points among which there is a choice; arrays over points.

    Attributes:
        layouts: number of the layout of each.
        concurrency: of its load.
        measured, predicted: logs of the time per output token and of tokens per second of one
            accelerator, shape ``(2, points)``.
        mean, covariance: of the errors of times, and of rates times times, ``(2, points, ...)``.

    """

    name: str
    layouts: np.ndarray[tuple[int], np.dtype[np.int64]]
    concurrency: Array
    measured: Array
    predicted: Array
    mean: Array
    covariance: Array

    @property
    def errors(self) -> Array:
        """Logs of measured over predicted times, and of rates times times; ``(2, points)``."""
        time, rate = self.measured - self.predicted
        return np.stack([time, rate + time])

    @property
    def pair(self) -> str:
        """Accelerator and model."""
        return ",".join(self.name.split(",")[:2])

    def worlds(self, points: Sequence[int] = (), tails: tuple[Tails, Tails] | None = None) -> Array:
        """Return logs of times and rates in worlds that agree with the measured ``points``.

        Shape ``(2, worlds, points)``; errors are normal, or those of ``tails``.
        """
        random = np.random.default_rng(len(points))
        drawn = []
        for quantity, (mean, error) in enumerate(zip(self.mean, self.errors, strict=True)):
            covariance, freedom = self.covariance[quantity], np.inf
            if tails is not None:
                covariance, freedom = tails[quantity].scale(self, quantity), tails[quantity].freedom

            # What a point shows moves the others; one that surprises makes all less sure.
            places = list(points)
            if places:
                total = covariance[np.ix_(places, places)] + NOISE**2 * np.eye(len(places))
                surprise = np.linalg.solve(total, error[places] - mean[places])
                length = float((error[places] - mean[places]) @ surprise)
                mean = mean + covariance[:, places] @ surprise
                covariance = covariance - covariance[:, places] @ np.linalg.solve(
                    total, covariance[places]
                )
                if np.isfinite(freedom):
                    covariance = covariance * (freedom + length) / (freedom + len(places))
                    freedom += len(places)

            root = np.linalg.cholesky(covariance + 1e-8 * np.eye(len(mean)))
            deviations = random.standard_normal((NUM_WORLDS, len(mean))) @ root.T
            if np.isfinite(freedom):
                chi = random.chisquare(freedom, NUM_WORLDS) / freedom
                deviations = np.clip(deviations / np.sqrt(chi)[:, None], -FARTHEST, FARTHEST)
            drawn.append(mean + deviations)
        time, run = drawn
        return np.asarray(self.predicted[:, None] + np.stack([time, run - time]))

    def carried(self, worlds: Array, bound_s: float, equal_speed: bool) -> Array:
        """Return what one accelerator of each layout carries, ``(worlds, layouts)``.

        Tokens per second within the bound; 0 where no load is.
        """
        bound = np.log(bound_s)
        columns = []
        for layout in range(self.layouts.max() + 1):
            places = np.flatnonzero(self.layouts == layout)
            places = places[np.argsort(self.concurrency[places], kind="stable")]
            times, rates = worlds[:, :, places]
            if not equal_speed:
                columns.append(np.where(times <= bound, np.exp(rates), 0.0).max(axis=1))
                continue

            # More load is never faster, nor carries less.
            times, rates = (np.maximum.accumulate(a, axis=1) for a in (times, rates))
            met = (times <= bound).sum(axis=1)
            low, high = (np.clip(met - k, 0, len(places) - 1)[:, None] for k in (1, 0))
            ends = [
                np.take_along_axis(a, at, 1)[:, 0] for a in (times, rates) for at in (low, high)
            ]
            part = np.clip((bound - ends[0]) / np.maximum(ends[1] - ends[0], TINY), 0.0, 1.0)
            rate = np.exp(ends[2] + part * (ends[3] - ends[2]))
            columns.append(np.where(met > 0, rate, 0.0))
        return np.stack(columns, axis=1)


@dataclass(frozen=True, slots=True)
class Tails:
    """Errors within a group: a Student distribution of ``freedom`` that knows layouts.

    Attributes:
        of_model: on the standard deviations of the error model.
        layout: log-deviation that all loads of a layout share.
        slope: of a layout, per unit of log load.
        freedom: few degrees are heavy tails.

    """

    of_model: float
    layout: float
    slope: float
    freedom: float

    def scale(self, group: Group, quantity: int) -> Array:
        """Return the scale matrix of a group's errors."""
        same = group.layouts[:, None] == group.layouts
        load = np.log(group.concurrency) - np.log(group.concurrency).mean()
        own = self.layout**2 + self.slope**2 * np.outer(load, load)
        covariance = self.of_model**2 * group.covariance[quantity] + same * own
        return np.asarray(covariance + 1e-4 * np.eye(len(load)))

    @classmethod
    def fit(cls, groups: Sequence[Group], quantity: int) -> Tails:
        """Return the likeliest for ``groups``."""

        def cost(logs: Array) -> float:
            tails, total = cls(*np.exp(logs)), 0.0
            for group in groups:
                root = np.linalg.cholesky(tails.scale(group, quantity))
                error = group.errors[quantity] - group.mean[quantity]
                length = float(np.sum(np.linalg.solve(root, error) ** 2))
                nu, n = tails.freedom, len(error)
                total += np.log(np.diag(root)).sum() + n / 2 * np.log(nu * np.pi)
                total += math.lgamma(nu / 2) - math.lgamma((nu + n) / 2)
                total += (nu + n) / 2 * np.log1p(length / nu)
            return float(total)

        minimize: Any = import_module("scipy.optimize").minimize  # ships no types
        start = np.log([0.5, 0.05, 0.03, 3.0])
        best = minimize(cost, start, method="Nelder-Mead", options={"maxiter": 120, "fatol": 0.5})
        return cls(*map(float, np.exp(best.x)))


def tails_of(groups: Sequence[Group]) -> dict[str, tuple[Tails, Tails]]:
    """Return by pair what the groups of other pairs teach."""
    pairs = sorted({group.pair for group in groups})
    folds_of = {pair: number % NUM_FOLDS for number, pair in enumerate(pairs)}
    fits = []
    for fold in range(NUM_FOLDS):
        others = [group for group in groups if folds_of[group.pair] != fold]
        fits.append((Tails.fit(others, 0), Tails.fit(others, 1)))
    return {pair: fits[fold] for pair, fold in folds_of.items()}


def is_near(carried: Array) -> Array:
    """Return whether each layout is within 10% of the best of its world."""
    return np.asarray(carried >= NEAR * np.maximum(carried.max(axis=1, keepdims=True), TINY))


def likeliest(worlds: Array, carried: Array, units: Sequence[Sequence[int]]) -> int:
    """Return the unit (points measured together) after which the choice is likeliest near the best.

    Outcomes are those of some worlds; the others count by how near they are to it. Of a unit of
    many points, three stand for it.
    """
    near, chances = is_near(carried).astype(np.float64), []
    for unit in units:
        few = np.asarray(unit)[np.unique(np.linspace(0, len(unit) - 1, 3).astype(int))]
        times = worlds[0][:, few]
        outcomes = times[:: NUM_WORLDS // NUM_OUTCOMES]
        width = NOISE if len(unit) == 1 else 2 * NOISE
        distances = ((times[None] - outcomes[:, None]) ** 2).sum(axis=2)
        weights = np.exp(-distances / (2 * width**2))
        weights /= weights.sum(axis=1, keepdims=True)
        chances.append(float((weights @ near).max(axis=1).mean()))
    return int(np.argmax(chances))


def groups_of(path: Path) -> Iterator[Group]:
    points = [
        p for p in read_points(path)[0] if p.tpot_s is not None and p.total_tok_per_s is not None
    ]
    table, fold = stack_points(points), np.array(folds(CELL, points))
    for left_out in sorted(set(fold)):
        train, test = np.flatnonzero(fold != left_out), np.flatnonzero(fold == left_out)
        fit = fit_points([points[i] for i in train], take(table, train))
        tested, counted = [points[i] for i in test], take(table, test)
        times = fit.times(tested, counted)
        features = load_features(counted.shape, times)
        rates = times.requests_per_s * counted.shape.total_tokens

        by_group: dict[str, list[int]] = defaultdict(list)
        for place, point in enumerate(tested):
            if SOURCE in point.source:
                by_group[name_of(point)].append(place)
        for name, places in by_group.items():
            chosen = [tested[i] for i in places]
            labels = [layout_name(p.deployment.parallelism) for p in chosen]
            if len(set(labels)) < 2:
                continue

            subjects = [subject(p).groups for p in chosen]
            joint = [fit.errors[q].joint(subjects, features[places]) for q in ("tpot", "run")]
            count = np.array([float(p.deployment.num_accelerators) for p in chosen])
            measured_s = np.array([p.tpot_s or 0.0 for p in chosen])
            measured_rate = np.array([p.total_tok_per_s or 0.0 for p in chosen])
            yield Group(
                name=name,
                layouts=np.unique(labels, return_inverse=True)[1].astype(np.int64),
                concurrency=np.array([float(p.load.concurrency) for p in chosen]),
                measured=np.log([measured_s, measured_rate / count]),
                predicted=np.log([times.tpot_s[places], rates[places] / count]),
                mean=np.stack([np.zeros(len(places)), joint[1][0]]),
                covariance=np.stack([covariance for _, covariance in joint]),
            )


def name_of(point: ServingPoint) -> str:
    load = point.load
    lengths = f"{float(load.prompt_tokens):.0f}/{float(load.output_tokens):.0f}"
    return f"{point.hardware}, {point.model}, {point.engine}, {point.weights}, {lengths}"


@dataclass(frozen=True, slots=True)
class Score:
    """One choice: whether it is near the best, and what it costs, over the best where not said.

    Attributes:
        share: of the best that it carries.
        held: whether what is bought was enough; NaN where nothing is sure.
        price: of what is bought for 90%.
        doubt: of that over the price at even odds.

    """

    share: float
    held: float
    price: float
    doubt: float


def scores_after(carried: Array, truth: Array) -> dict[str, Score]:
    """Return by rule how good the choice is that is made of ``carried``; ``truth`` is by layout."""
    best = float(truth.max())
    sure = np.quantile(carried, 1 - SURE, axis=0)
    even = float(np.median(carried, axis=0).max())
    cheapest = sure if sure.max() > 0 else carried.mean(axis=0)
    near = is_near(carried) & (carried.max(axis=1, keepdims=True) > 0)
    scores = {}
    for rule, worth in (("cheapest", cheapest), ("likeliest", near.mean(axis=0))):
        layout = int(np.argmax(worth))
        share, rate = float(truth[layout]) / best, float(sure[layout])
        scores[rule] = (
            Score(share, float(truth[layout] >= rate), best / rate, max(even / rate - 1, 0.0))
            if rate > 0
            else Score(share, np.nan, np.nan, np.nan)
        )
    return scores


def scores_of(groups: list[Group], equal_speed: bool) -> tuple[dict[str, list[Score]], float]:
    """Return scores by what was measured first and by rule, and what a random layout reaches."""
    random, learned = np.random.default_rng(0), tails_of(groups)
    scores: dict[str, list[Score]] = defaultdict(list)
    guesses: list[float] = []
    for group in groups:
        tails, layouts = learned[group.pair], group.layouts
        plain, prior = group.worlds(), group.worlds(tails=tails)
        points = [[point] for point in range(len(layouts))]
        sweeps = [np.flatnonzero(layouts == k).tolist() for k in range(layouts.max() + 1)]
        for bound_s in np.quantile(np.exp(group.measured[0]), (0.25, 0.5, 0.75)):
            bound = float(bound_s)
            truth = group.carried(group.measured[:, None], bound, equal_speed)[0]
            if truth.max() <= 0:
                continue
            guesses += (truth / truth.max()).tolist()

            # Each layout at the load that is predicted to be nearest the bound.
            distance = np.abs(group.predicted[0] - np.log(bound))
            each = [min(sweep, key=lambda place: float(distance[place])) for sweep in sweeps]

            carried = group.carried(prior, bound, equal_speed)
            units = {
                "a random point": points[int(random.integers(len(points)))],
                "the best point": points[likeliest(prior, carried, points)],
                "a random layout": sweeps[int(random.integers(len(sweeps)))],
                "the best layout": sweeps[likeliest(prior, carried, sweeps)],
                "each layout once": each,
            }
            answers = {"nothing": group.carried(plain, bound, equal_speed)} | {
                who: group.carried(group.worlds(unit, tails), bound, equal_speed)
                for who, unit in units.items()
            }
            for who, answer in answers.items():
                for rule, score in scores_after(answer, truth).items():
                    scores[f"{who}, {rule}"].append(score)
    return scores, float(np.mean(guesses))


def main() -> None:
    groups = list(groups_of(Path(sys.argv[1])))
    for equal_speed in (False, True):
        scores, guess = scores_of(groups, equal_speed)
        print(
            f"\n{'at equal speed' if equal_speed else 'at measured loads'}: {len(groups)} groups, "
            f"{len(scores['nothing, cheapest'])} choices; a random layout reaches {guess:.2f}"
        )
        print("measured first, rule          near  mean  tenth  cost   true  price median doubt")
        for who, rows in scores.items():
            share, held, price, doubt = (
                np.array([getattr(row, name) for row in rows])
                for name in ("share", "held", "price", "doubt")
            )
            paid = price[held == 1]
            print(
                f"{who:28}  {np.mean(share >= NEAR):.3f} {share.mean():.3f} "
                f"{np.quantile(share, 0.1):.3f}  {(1 / share[share > 0]).mean():.2f}  "
                f"{np.nanmean(held):.3f}  {paid.mean():.2f}  {np.median(paid):.2f}  "
                f"{np.nanmedian(doubt):.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
