"""A plan's choices against what was measured, with every choice hidden from the fit.

    python -m benchmarks.plan_backtest MEASURED.csv.gz

Groups are an accelerator, a model, an engine, a format and lengths, measured by InferenceX in
several layouts under several loads. A choice is a group and a bound on the time per output token,
each quartile of what was measured in the group. Pairs of accelerator and model are left out of the
fit a twelfth at a time, so nothing of a choice was seen. The rule is that of `headway plan`: the
most throughput per accelerator among the points whose time per token meets the bound, at even odds
or with probability 90%. A measurement is one point of the group; the one that the plan asks for
saves most in the mean over its outcomes, the other is drawn at random.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

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
Z_SURE = NormalDist().inv_cdf(SURE)
NOISE = 0.03  # log-deviation of a repeated run
OUTCOMES = np.array([NormalDist().inv_cdf((k + 0.5) / 24) for k in range(24)])
NEAR = 0.9  # of the best, to count as chosen well


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """The points among which there is a choice; arrays over points.

    Attributes:
        layouts: number of the layout of each.
        measured_s, predicted_s: time per output token.
        measured_rate, predicted_rate: tokens per second of one accelerator.
        covariance: of the log-errors of the predicted times.

    """

    name: str
    layouts: np.ndarray[tuple[int], np.dtype[np.int64]]
    measured_s: Array
    predicted_s: Array
    measured_rate: Array
    predicted_rate: Array
    covariance: Array

    def best_measured(self, layout: int, bound_s: float) -> float:
        """Return the most that a layout was measured to do within the bound; 0 for nothing."""
        meets = (self.layouts == layout) & (self.measured_s <= bound_s)
        return float(self.measured_rate[meets].max()) if meets.any() else 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Belief:
    """Means and deviations of the log-errors of a group's points."""

    mean: Array
    deviation: Array

    def choice(self, group: Group, bound_s: float, z: float) -> int | None:
        """Return the point of most throughput that meets the bound ``z`` deviations surely."""
        upper = np.log(group.predicted_s) + self.mean + z * self.deviation
        meets = upper <= np.log(bound_s)
        if not meets.any():
            return None
        rate = group.predicted_rate * np.exp(-self.mean)
        return int(np.argmax(np.where(meets, rate, 0.0)))

    def price(self, group: Group, bound_s: float) -> float:
        """Return a token's price in accelerator-seconds, 90% sure; the safest's if none is."""
        place = self.choice(group, bound_s, Z_SURE)
        if place is None:
            upper = np.log(group.predicted_s) + self.mean + Z_SURE * self.deviation
            place = int(np.argmin(upper))
        return float(np.exp(self.mean[place]) / group.predicted_rate[place])


def before(group: Group) -> Belief:
    return Belief(np.zeros(len(group.layouts)), np.sqrt(np.diag(group.covariance)))


def after(group: Group, point: int, error: float) -> Belief:
    """Return what is believed once the log-error of ``point`` is measured."""
    shared = group.covariance[:, point]
    total = group.covariance[point, point] + NOISE**2
    left = np.diag(group.covariance) - shared**2 / total
    return Belief(shared / total * error, np.sqrt(np.maximum(left, 0.0)))


def asked_for(group: Group, bound_s: float) -> int:
    """Return the point whose measurement makes a sure token cheapest in the mean."""

    def mean_price(point: int) -> float:
        spread = float(np.sqrt(group.covariance[point, point] + NOISE**2))
        prices = [after(group, point, spread * z).price(group, bound_s) for z in OUTCOMES]
        return float(np.mean(prices))

    return min(range(len(group.layouts)), key=mean_price)


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
            _, covariance = fit.errors["tpot"].joint(
                [subject(p).groups for p in chosen], features[places]
            )
            count = np.array([float(p.deployment.num_accelerators) for p in chosen])
            yield Group(
                name=name,
                layouts=np.unique(labels, return_inverse=True)[1].astype(np.int64),
                measured_s=np.array([p.tpot_s or 0.0 for p in chosen]),
                predicted_s=times.tpot_s[places],
                measured_rate=np.array([p.total_tok_per_s or 0.0 for p in chosen]) / count,
                predicted_rate=rates[places] / count,
                covariance=covariance,
            )


def name_of(point: ServingPoint) -> str:
    load = point.load
    lengths = f"{float(load.prompt_tokens):.0f}/{float(load.output_tokens):.0f}"
    return f"{point.hardware}, {point.model}, {point.engine}, {point.weights}, {lengths}"


@dataclass(frozen=True, slots=True)
class Score:
    """One choice, before and after a measurement: ratios to the best that was measured."""

    ratio: float
    sure_ratio: float
    held: float
    doubt: float


def score(group: Group, belief: Belief, bound_s: float, best: float) -> Score | None:
    """Return how good the choices are; ``None`` where not even the safest point is chosen."""
    even = belief.choice(group, bound_s, 0.0)
    sure = belief.choice(group, bound_s, Z_SURE)
    ratio = 0.0 if even is None else group.best_measured(int(group.layouts[even]), bound_s) / best
    doubt = np.nan
    if even is not None:
        even_price = float(np.exp(belief.mean[even]) / group.predicted_rate[even])
        doubt = belief.price(group, bound_s) / even_price - 1
    if sure is None:
        return Score(ratio, np.nan, np.nan, doubt)
    held = float(group.measured_s[sure] <= bound_s)
    return Score(ratio, float(group.measured_rate[sure]) / best, held, doubt)


def main() -> None:
    random = np.random.default_rng(0)
    scores: dict[str, list[Score]] = {"nothing": [], "the plan's": [], "random": []}
    guesses = []
    groups = list(groups_of(Path(sys.argv[1])))
    for group in groups:
        for bound_s in np.quantile(group.measured_s, (0.25, 0.5, 0.75)):
            names = sorted(set(group.layouts.tolist()))
            best = max(group.best_measured(layout, bound_s) for layout in names)
            if best <= 0:
                continue
            guesses += [group.best_measured(layout, bound_s) / best for layout in names]
            errors = np.log(group.measured_s / group.predicted_s)
            places = {"the plan's": asked_for(group, bound_s)}
            places["random"] = int(random.integers(len(group.layouts)))
            beliefs = {"nothing": before(group)}
            beliefs |= {who: after(group, m, float(errors[m])) for who, m in places.items()}
            for who, belief in beliefs.items():
                one = score(group, belief, float(bound_s), best)
                if one is not None:
                    scores[who].append(one)

    print(
        f"{len(groups)} groups, {len(scores['nothing'])} choices; a layout drawn at random "
        f"reaches {np.mean(guesses):.2f} of the best"
    )
    for who, all_scores in scores.items():
        ratio = np.array([s.ratio for s in all_scores])
        sure, held, doubt = (
            np.array([getattr(s, name) for s in all_scores])
            for name in ("sure_ratio", "held", "doubt")
        )
        cost = 1 / sure[np.isfinite(sure) & (held == 1)]
        print(json.dumps({
            "measured": who,
            "within 10%": round(float(np.mean(ratio >= NEAR)), 3),
            "mean of the best": round(float(ratio.mean()), 3),
            "worst tenth": round(float(np.quantile(ratio, 0.1)), 3),
            "sure choices": int(np.isfinite(held).sum()),
            "90% came true": round(float(np.nanmean(held)), 3),
            "cost over the oracle's, mean": round(float(cost.mean()), 3),
            "cost of doubt, median": round(float(np.nanmedian(doubt)), 3),
        }))  # fmt: skip


if __name__ == "__main__":
    main()
