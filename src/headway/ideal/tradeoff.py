"""Capability against efficiency: who is on the front, and in what order the rest stands.

After Narayanan et al. 2023 (arXiv 2305.02440), section 4, with three corrections. Their figures of
four scenarios plot the mean over two kinds of accelerator of one instance where the mean over
instances was meant: here every row counts once, and models with unequal numbers of rows are named.
Their test for the front drops a point that ties: here equal points stand or fall together. Their
score over the logarithm of runtime changes sign at one second, which orders nothing: it is not
offered.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headway.errors import InputError, UnknownNameError
from headway.ideal.request_profile import FloatArray
from headway.report.chart import Chart
from headway.report.column import column
from headway.report.report import Report
from headway.user_file import read_text

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.intp]
UNKNOWN_CELLS = ("", "nan", "none", "na")
MAX_NAMES = 6


@dataclass(frozen=True, slots=True)
class Score:
    """One measured point: more of ``score`` is better, less of ``metric``."""

    model: str
    scenario: str
    score: float
    metric: float


@dataclass(frozen=True, slots=True)
class Standing:
    """One model in one scenario."""

    scenario: str | None = column("scenario", "what was measured")
    model: str = column("model", "whose rows they are")
    score: float = column("score", "mean over rows, more is better")
    metric: float = column("metric", "mean over rows, less is better")
    num_rows: int = column("rows", "that the means are over", detail=True)
    on_front: bool = column("front", "no other is at least as good in both and better in one")
    layer: int = column("layer", "0 on the front, 1 on the front of the rest, and so on")
    rank: float = column("rank", "by score over metric, 0 for the best; ties share their places")
    mean_rank: float | None = column("mean rank", "over the scenarios that all models share")
    beaten_by: str | None = column("beaten by", "one that is better in one and worse in neither")


def dominates(score: FloatArray, metric: FloatArray) -> BoolArray:
    """Return which point (row) beats which (column): no worse in both, better in one."""
    no_worse = (score[:, None] >= score[None, :]) & (metric[:, None] <= metric[None, :])
    better = (score[:, None] > score[None, :]) | (metric[:, None] < metric[None, :])
    return no_worse & better


def layers(score: FloatArray, metric: FloatArray) -> IntArray:
    """Return the front that each point is on once all better fronts are removed, from 0."""
    layer = np.zeros(score.size, dtype=np.intp)
    remaining, number = np.arange(score.size), 0
    while remaining.size:
        is_beaten = dominates(score[remaining], metric[remaining]).any(axis=0)
        layer[remaining[~is_beaten]] = number
        remaining, number = remaining[is_beaten], number + 1
    return layer


def ranks(values: FloatArray) -> FloatArray:
    """Return places from 0 for the largest of ``values``; ties share the mean of their places."""
    num_above = (values[None, :] > values[:, None]).sum(axis=1)
    num_equal = (values[None, :] == values[:, None]).sum(axis=1)
    return np.asarray(num_above + (num_equal - 1) / 2)


def standings(scores: Sequence[Score]) -> tuple[Standing, ...]:
    """Return where every model stands, scenarios in order of name, the front first.

    Raises:
        InputError: there is no row, or a metric is not above 0.

    """
    if not scores:
        raise InputError("a trade-off needs at least one row with a score and a metric")
    by_scenario: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for row in scores:
        if not (np.isfinite(row.score) and np.isfinite(row.metric) and row.metric > 0):
            where = f" in {row.scenario}" if row.scenario else ""
            raise InputError(
                f"{row.model}{where} has score {row.score:g} and metric {row.metric:g}; both must "
                "be finite, and the metric above 0"
            )
        models = by_scenario.setdefault(row.scenario, {})
        models.setdefault(row.model, []).append((row.score, row.metric))

    rows = [row for name, models in sorted(by_scenario.items()) for row in _stand(name, models)]
    means = _mean_ranks(rows)
    return tuple(replace(row, mean_rank=means.get(row.model)) for row in rows)


def _stand(scenario: str, by_model: Mapping[str, Sequence[tuple[float, float]]]) -> list[Standing]:
    models = list(by_model)
    score, metric = np.asarray([np.mean(by_model[model], axis=0) for model in models]).T
    beats, layer = dominates(score, metric), layers(score, metric)
    rank = ranks(score / metric)

    rows = []
    for i, model in enumerate(models):
        # Of several that beat it, the one with the best score says most.
        better = np.flatnonzero(beats[:, i] & (layer == 0))
        row = Standing(
            scenario=scenario or None,
            model=model,
            score=float(score[i]),
            metric=float(metric[i]),
            num_rows=len(by_model[model]),
            on_front=bool(layer[i] == 0),
            layer=int(layer[i]),
            rank=float(rank[i]),
            mean_rank=None,
            beaten_by=models[int(better[np.argmax(score[better])])] if better.size else None,
        )
        rows.append(row)
    return sorted(rows, key=lambda row: (row.layer, row.metric, -row.score))


def _mean_ranks(rows: Sequence[Standing]) -> dict[str, float]:
    """Return the mean rank of each model over the scenarios that all of them share."""
    models = {row.model for row in rows}
    scenarios = {row.scenario for row in rows}
    shared = {
        scenario
        for scenario in scenarios
        if {row.model for row in rows if row.scenario == scenario} == models
    }
    if not shared:
        return {}
    return {
        model: float(np.mean([r.rank for r in rows if r.model == model and r.scenario in shared]))
        for model in models
    }


def notes(rows: Sequence[Standing]) -> list[str]:
    """Return what a reader must know: unequal numbers of rows, models that are not everywhere."""
    counts: dict[str, set[int]] = {}
    for row in rows:
        counts.setdefault(row.scenario or "", set()).add(row.num_rows)
    sentences = []
    if uneven := sorted(scenario for scenario, numbers in counts.items() if len(numbers) > 1):
        names = ", ".join(uneven) or "the only scenario"
        sentences.append(
            f"models have unequal numbers of rows in {names}, so their means are over different "
            "requests"
        )

    models = {row.model for row in rows}
    num_partial = sum(sum(r.model == model for r in rows) < len(counts) for model in models)
    if num_partial:
        sentences.append(
            f"{num_partial} of {len(models)} models are not in every scenario; mean ranks are over "
            "the scenarios that all share"
        )
    return sentences


def tradeoff_report(path: Path, metric: str, score: str) -> Report[Standing]:
    """Return the standings of a CSV file, best layer first within each scenario.

    Args:
        path: with the columns model and, if there are several, scenario.
        metric: the column to keep low.
        score: the column to make high.

    Raises:
        InputError: the file cannot be read, or has no usable row.

    """
    scores, incomplete = read_scores(path, metric, score)
    rows = standings(scores)
    sentences = notes(rows)
    if incomplete:
        names = ", ".join(incomplete[:MAX_NAMES]) + (", ..." if len(incomplete) > MAX_NAMES else "")
        sentences.append(f"left out, without {score} or {metric}: {names}")

    num_front = sum(row.on_front for row in rows)
    return Report(
        kind="tradeoff",
        title=f"{score} against {metric}: {num_front} of {len(rows)} on the front",
        question={"scores": path.name, "metric": metric, "score": score},
        rows=rows,
        notes=tuple(sentences),
        sources={"scores": str(path)},
        charts=(
            Chart(
                x="metric",
                y="score",
                series="model",
                front="on_front",
                legend="thick line: models that no other beats in both",
                x_label=metric.replace("_", " "),
                y_label=score.replace("_", " "),
            ),
        ),
    )


def read_scores(path: Path, metric: str, score: str) -> tuple[list[Score], list[str]]:
    """Return the rows of a CSV file, and the models that lack ``score`` or ``metric``.

    Raises:
        InputError: the file cannot be read, or a cell is no number.
        UnknownNameError: it has no such column.

    """
    try:
        table = list(csv.DictReader(StringIO(read_text(path, "a CSV file"))))
    except csv.Error as error:
        raise InputError(f"{path} is no CSV file: {error}") from None
    if not table:
        raise InputError(f"{path} has no rows below its head")
    names = [name for name in table[0] if name]
    for name, option in (("model", ""), (metric, "--metric"), (score, "--score")):
        if name not in names:
            raise UnknownNameError(f"column{' for ' + option if option else ''}", name, names)

    scores, incomplete = [], set()
    for line, row in enumerate(table, 2):
        model, scenario = (row.get("model") or "").strip(), (row.get("scenario") or "").strip()
        cells = {name: (row[name] or "").strip() for name in (score, metric)}
        if not model:
            raise InputError(f"{path}, line {line}: no model is named")
        if any(cell.lower() in UNKNOWN_CELLS for cell in cells.values()):
            incomplete.add(f"{model}{' in ' + scenario if scenario else ''}")
            continue
        values = {
            name: _number(cell, f"{path}, line {line}: {name}") for name, cell in cells.items()
        }
        scores.append(Score(model, scenario, values[score], values[metric]))

    if not scores:
        raise InputError(f"{path} has no row with both {score} and {metric}")
    return scores, sorted(incomplete)


def _number(cell: str, where: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        raise InputError(f"{where} is {cell[:40]!r}, no number") from None
    if not math.isfinite(value):
        raise InputError(f"{where} is not finite")
    return value
