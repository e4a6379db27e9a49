"""A plan's choices against what was measured, with every choice hidden from the fit.

    python -m benchmarks.plan_backtest MEASURED.csv.gz

Groups are an accelerator, a model, an engine, a format and lengths, measured by InferenceX in
several layouts under several loads. A choice is a group and a bound on the time per output token,
each quartile of what was measured in the group. Pairs of accelerator and model are left out of the
fit a twelfth at a time, so nothing of a choice was seen. The rule is that of `headway plan`: in
worlds drawn from the joint error model each layout carries what it can within the bound; bought is
the layout that is cheapest with probability 90%, as much of it as is enough in 90% of the worlds.
A measurement is one point of the group; the one that the plan asks for makes that price lowest in
the mean over its outcomes, "by regret" makes the layout likeliest to be near the best, the other is
drawn at random. A layout carries what it was measured to carry at the largest load within the
bound, or, "at equal speed", what lies between its loads (interpolated on log scales).
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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
NUM_WORLDS, NUM_OUTCOMES = 600, 32
NEAR = 0.9  # of the best, to count as chosen well
TINY = 1e-12


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

    def worlds(self, point: int | None = None) -> Array:
        """Return logs of times and rates in worlds that agree with ``point`` measured.

        Shape ``(2, worlds, points)``.
        """
        random = np.random.default_rng(0 if point is None else 1)
        drawn = []
        for mean, covariance, error in zip(self.mean, self.covariance, self.errors, strict=True):
            if point is not None:
                total = covariance[point, point] + NOISE**2
                shared = covariance[:, point] / total
                mean = mean + shared * (error[point] - mean[point])
                covariance = covariance - total * np.outer(shared, shared)
            root = np.linalg.cholesky(covariance + 1e-8 * np.eye(len(mean)))
            drawn.append(mean + random.standard_normal((NUM_WORLDS, len(mean))) @ root.T)
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


def sure_rates(carried: Array, weights: Array | None = None) -> Array:
    """Return what each layout carries at least in 90% of the worlds, shape ``(layouts,)``."""
    if weights is None:
        return np.quantile(carried, 1 - SURE, axis=0)
    order = np.argsort(carried, axis=0)
    shares = np.cumsum(weights[order], axis=0)
    place = np.minimum((shares < 1 - SURE).sum(axis=0), len(carried) - 1)
    row = np.take_along_axis(order, place[None], 0)
    return np.asarray(np.take_along_axis(carried, row, 0)[0])


def asked_for(worlds: Array, carried: Array) -> tuple[int, int]:
    """Return the points to measure: for the lowest mean price, and for the least regret.

    Outcomes are those of some worlds; the others count by how near they are to it.
    """
    times = worlds[0]
    floor = max(float(carried.mean(axis=0).max()) * 0.05, TINY)
    best = np.maximum(carried.max(axis=1, keepdims=True), TINY)
    prices, shares = [], []
    for point in range(times.shape[1]):
        price = share = 0.0
        for outcome in times[:: NUM_WORLDS // NUM_OUTCOMES, point]:
            weights = np.exp(-((times[:, point] - outcome) ** 2) / (2 * NOISE**2))
            weights /= weights.sum()
            price += 1 / max(float(sure_rates(carried, weights).max()), floor)
            share += float((weights @ (carried / best)).max())
        prices.append(price)
        shares.append(share)
    return int(np.argmin(prices)), int(np.argmax(shares))


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
    """One choice: its share of the best, whether it held, its price and its doubt over the best."""

    share: float
    held: float
    price: float
    doubt: float


def score(carried: Array, truth: Array) -> Score:
    """Return how good the choice is that is made of ``carried``; ``truth`` is by layout."""
    best, sure = float(truth.max()), sure_rates(carried)
    if sure.max() <= 0:  # nothing is sure: what carries most in the mean
        layout = int(np.argmax(carried.mean(axis=0)))
        return Score(float(truth[layout]) / best, np.nan, np.nan, np.nan)

    layout = int(np.argmax(sure))
    even = float(np.median(carried, axis=0).max())
    return Score(
        share=float(truth[layout]) / best,
        held=float(truth[layout] >= sure[layout]),
        price=best / float(sure[layout]),
        doubt=even / float(sure[layout]) - 1 if even > 0 else np.nan,
    )


def scores_of(groups: list[Group], equal_speed: bool) -> tuple[dict[str, list[Score]], float]:
    """Return scores by what was measured first, and what a random layout reaches."""
    random = np.random.default_rng(0)
    scores: dict[str, list[Score]] = defaultdict(list)
    guesses: list[float] = []
    for group in groups:
        prior = group.worlds()
        for bound_s in np.quantile(np.exp(group.measured[0]), (0.25, 0.5, 0.75)):
            bound = float(bound_s)
            truth = group.carried(group.measured[:, None], bound, equal_speed)[0]
            if truth.max() <= 0:
                continue
            guesses += (truth / truth.max()).tolist()
            carried = group.carried(prior, bound, equal_speed)
            scores["nothing"].append(score(carried, truth))
            price, regret = asked_for(prior, carried)
            points = {"the plan's": price, "by regret": regret}
            points["random"] = int(random.integers(len(group.layouts)))
            for who, point in points.items():
                after = group.carried(group.worlds(point), bound, equal_speed)
                scores[who].append(score(after, truth))
    return scores, float(np.mean(guesses))


def main() -> None:
    groups = list(groups_of(Path(sys.argv[1])))
    for equal_speed in (False, True):
        scores, guess = scores_of(groups, equal_speed)
        print(
            f"\n{'at equal speed' if equal_speed else 'at measured loads'}: {len(groups)} groups, "
            f"{len(scores['nothing'])} choices; a layout drawn at random reaches {guess:.2f}"
        )
        print("measured    near  mean  tenth  sure  true  price  median  doubt")
        for who, rows in scores.items():
            share, held, price, doubt = (
                np.array([getattr(row, name) for row in rows])
                for name in ("share", "held", "price", "doubt")
            )
            paid = price[held == 1]
            print(
                f"{who:10}  {np.mean(share >= NEAR):.3f} {share.mean():.3f}  "
                f"{np.quantile(share, 0.1):.3f}  {np.isfinite(held).sum():4} "
                f"{np.nanmean(held):.3f}  {paid.mean():.2f}  {np.median(paid):.2f}  "
                f"{np.nanmedian(doubt):.2f}"
            )


if __name__ == "__main__":
    main()
