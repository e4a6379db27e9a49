"""How good predictions are, against what really came: order, error, doubt."""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headway.errors import InputError
from headway.predict.log import Observation, leak_warning
from headway.predict.prediction import LEVELS, MAX_TOKENS, LengthPrediction
from headway.predict.predictor import LengthPredictor
from headway.predict.text import considered
from headway.report.column import column
from headway.report.report import Report
from headway.workload.request import Request

Floats = NDArray[np.float64]
COVERED = (0.1, 0.5, 0.9)
_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """Scores of one predictor on one set of finished requests."""

    name: str = column("", "the predictor, and the part of the log")
    count: int = column("n", "finished requests")
    tau: float | None = column("tau", "Kendall's tau-b of the median and the length; order")
    r2: float | None = column(
        "R2", "1 - squared error of the mean over the lengths' variance", digits=2
    )
    mae_tokens: float = column("MAE", "mean absolute error of the median", unit="tokens")
    pinball_tokens: float = column(
        "pinball", "mean quantile loss at levels 10, 50 and 90%", unit="tokens"
    )
    covered_10: float = column("≤10%", "lengths up to the 10% quantile", unit="%", scale=100)
    covered_50: float = column("≤50%", "lengths up to the 50% quantile", unit="%", scale=100)
    covered_90: float = column("≤90%", "lengths up to the 90% quantile", unit="%", scale=100)
    mean_tokens: float = column("mean", "mean of the lengths", unit="tokens")

    @property
    def coverage(self) -> dict[float, float]:
        """Share of lengths at or below the quantile of each level."""
        return dict(zip(COVERED, (self.covered_10, self.covered_50, self.covered_90), strict=True))


def score(
    predictions: Sequence[LengthPrediction], output_tokens: Sequence[int], name: str = "all"
) -> ScoreRow:
    """Return the scores of ``predictions`` against the lengths that came.

    Raises:
        InputError: no predictions, or not as many as lengths.
    """
    if not predictions or len(predictions) != len(output_tokens):
        raise InputError(
            f"scores need as many predictions as lengths and at least one, not {len(predictions)} "
            f"and {len(output_tokens)}"
        )
    lengths = np.asarray(output_tokens, dtype=np.float64)
    quantiles = {level: np.array([p.at(level) for p in predictions]) for level in COVERED}
    means = np.array([p.mean_tokens for p in predictions])

    variance = float(((lengths - lengths.mean()) ** 2).sum())
    losses = [
        np.maximum(level * (lengths - q), (level - 1) * (lengths - q)).mean()
        for level, q in quantiles.items()
    ]
    shares = [float((lengths <= q).mean()) for q in quantiles.values()]
    return ScoreRow(
        name=name,
        count=len(lengths),
        tau=kendall_tau(quantiles[0.5], lengths),
        r2=1 - float(((lengths - means) ** 2).sum()) / variance if variance > 0 else None,
        mae_tokens=float(np.abs(lengths - quantiles[0.5]).mean()),
        pinball_tokens=float(np.mean(losses)),
        covered_10=shares[0],
        covered_50=shares[1],
        covered_90=shares[2],
        mean_tokens=float(lengths.mean()),
    )


def kendall_tau(first: ArrayLike, second: ArrayLike) -> float | None:
    """Return Kendall's tau-b, in O(n log n) comparisons; ``None`` where one side is constant.

    Kendall 1945 for the ties, Knight 1966 for the counting.
    """
    xs, ys = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    order = np.lexsort((ys, xs))
    x, y = xs[order].tolist(), ys[order].tolist()
    pairs = len(x) * (len(x) - 1) // 2
    ties_x, ties_y = _ties(x), _ties(y)
    if pairs in (ties_x, ties_y):
        return None

    # Within equal x the ys ascend, so no pair of them counts as out of order.
    earlier: list[float] = []
    num_swapped = 0
    for value in y:
        num_swapped += len(earlier) - bisect_right(earlier, value)
        insort(earlier, value)

    num_agreeing = pairs - ties_x - ties_y + _ties(list(zip(x, y, strict=True))) - num_swapped
    return (num_agreeing - num_swapped) / math.sqrt((pairs - ties_x) * (pairs - ties_y))


def _ties(values: Sequence[object]) -> int:
    return sum(count * (count - 1) // 2 for count in Counter(values).values())


def evaluate(
    predictor: LengthPredictor,
    observations: Sequence[Observation],
    *,
    online: bool = False,
    baselines: bool = True,
) -> Report[ScoreRow]:
    """Return the scores of ``predictor`` on a log, by source and model, beside the baselines.

    With ``online`` it learns from each request after predicting it. Each half of the prompts is
    predicted by baselines that learned from the other half: they have seen this log's kind, the
    predictor need not have.
    """
    scores = scores_by_source(predictor, observations, online)
    rows = [replace(row, name=f"predictor, {name}") for name, row in scores.items()]
    if baselines:
        rows += baseline_scores(observations)
    warning = leak_warning(observations)
    return Report(
        kind="predict-evaluate",
        title=f"Predicted lengths of {len(observations)} finished requests",
        question={"requests": len(observations), "online": online, "baselines": baselines},
        rows=tuple(rows),
        notes=() if warning is None else (warning,),
    )


def held_out(
    observations: Sequence[Observation], share: float, seed: int
) -> tuple[list[Observation], list[Observation]]:
    """Return (train, test), ``share`` of the prompts in test; no prompt is in both."""
    prompts = list(dict.fromkeys(o.prompt for o in observations))
    order = np.random.default_rng(seed).permutation(len(prompts))
    test = {prompts[i] for i in order[: round(share * len(prompts))]}
    return (
        [o for o in observations if o.prompt not in test],
        [o for o in observations if o.prompt in test],
    )


def scores_by_source(
    predictor: LengthPredictor, observations: Sequence[Observation], online: bool = False
) -> dict[str, ScoreRow]:
    """Return the scores on all observations and on each source and model, largest first."""
    predictions = predicted(predictor, observations, online)
    groups: dict[str, list[int]] = {"all": list(range(len(observations)))}
    for i, o in enumerate(observations):
        for name in {o.source or None, f"model {o.model}" if o.model else None} - {None}:
            groups.setdefault(str(name), []).append(i)

    ranked = sorted(groups.items(), key=lambda item: (item[0] != "all", -len(item[1]), item[0]))
    return {
        name: score(
            [predictions[i] for i in index],
            [observations[i].output_tokens for i in index],
            name,
        )
        for name, index in ranked
    }


def predicted(
    predictor: LengthPredictor, observations: Sequence[Observation], online: bool = False
) -> list[LengthPrediction]:
    """Return a prediction for each; ``online``: each is observed before the next is predicted."""
    requests = [o.request(i) for i, o in enumerate(observations)]
    predictions: list[LengthPrediction] = []
    if not online:
        for i in range(0, len(requests), _AT_ONCE):
            predictions += predictor.predict(requests[i : i + _AT_ONCE])
        return predictions

    for request, o in zip(requests, observations, strict=True):
        predictions += predictor.predict([request])
        predictor.observe(request, o.output_tokens)
    return predictions


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a predictor must beat: a line through what a prompt's size says, or a constant.

    Attributes:
        reads_size: whether it looks at the prompt's characters and words, as engines' SJF does.
        coef: of ln(1 + characters), ln(1 + words) and 1, for ln(1 + tokens).
        offsets: quantiles of the residuals at `LEVELS`.
    """

    reads_size: bool
    coef: Floats
    offsets: Floats

    @classmethod
    def fit(cls, observations: Sequence[Observation], *, reads_size: bool) -> Baseline:
        """Learn from finished requests, the residuals from a fifth that was left out."""
        rows = _sizes([o.prompt for o in observations], reads_size)
        goal = np.log1p(np.array([o.output_tokens for o in observations], dtype=np.float64))
        order = np.random.default_rng(0).permutation(len(observations))
        test, train = order[: len(order) // 5], order[len(order) // 5 :]

        part = np.linalg.lstsq(rows[train], goal[train])[0]
        offsets = np.quantile(goal[test] - rows[test] @ part, LEVELS)
        coef: Floats = np.linalg.lstsq(rows, goal)[0].astype(np.float64)
        return cls(reads_size, coef, offsets)

    def predict(self, requests: Sequence[Request]) -> list[LengthPrediction]:
        """Return the distribution of the output tokens of each request."""
        located = _sizes([r.prompt for r in requests], self.reads_size) @ self.coef
        logs = np.clip(located[:, None] + self.offsets, 0.0, math.log1p(MAX_TOKENS))
        return [
            LengthPrediction(tuple(zip(LEVELS, row, strict=True)), r.max_tokens)
            for row, r in zip(np.expm1(logs).tolist(), requests, strict=True)
        ]

    def observe(self, request: Request, output_tokens: int) -> None:
        """Learn nothing: a baseline stays as it was fitted."""


def _sizes(prompts: Sequence[str], reads_size: bool) -> Floats:
    sizes = [(len(p), len(considered(p).text.split())) if reads_size else (0, 0) for p in prompts]
    logs = np.log1p(np.array(sizes, dtype=np.float64).reshape(-1, 2))
    return np.column_stack([logs, np.ones(len(prompts))])


BASELINES: Mapping[str, bool] = {"constant": False, "input length": True}


def baseline_scores(observations: Sequence[Observation]) -> list[ScoreRow]:
    """Return each baseline's scores, each half of the prompts predicted from the other."""
    one, other = held_out(observations, 0.5, seed=0)
    if not one or not other:
        return []
    rows = []
    for name, reads_size in BASELINES.items():
        predictions = predicted(Baseline.fit(one, reads_size=reads_size), other)
        predictions += predicted(Baseline.fit(other, reads_size=reads_size), one)
        rows.append(score(predictions, [o.output_tokens for o in [*other, *one]], name))
    return rows
