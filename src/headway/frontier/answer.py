"""Answers as reports: the frontier over several clusters, and single deployments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from headway.errors import DoesNotFitError
from headway.frontier.describe import describe
from headway.frontier.pareto import pareto_front, preferred
from headway.frontier.question import Question
from headway.frontier.search import NoLayoutError, front, search
from headway.hardware.cluster import Cluster
from headway.report.report import Report, Row, Value
from headway.steptime.deployment import native
from headway.steptime.parallelism import Parallelism

DECODE_NOTE = (
    "decode only, at a fixed context: prompts are not billed; "
    "the interval runs from the data sheet's bound to poor kernels"
)


def frontier(question: Question, clusters: Sequence[Cluster]) -> Report:
    """The fronts of ``clusters``, with the preferred, the cheapest and the fastest point of all.

    A cluster on which the model does not fit is left out and named in the notes; where it fits on
    none, the `DoesNotFitError` of the least short one is raised.
    """
    rows: list[Row] = []
    notes: list[str] = []
    failures: list[DoesNotFitError] = []
    for cluster in clusters:
        try:
            points = front(search(question, cluster))
        except DoesNotFitError as error:
            failures.append(error)
            notes.append(str(error))
            continue
        notes += precision_notes(question, cluster)
        rows += describe(question, cluster, points).rows(question.model.name)
    if not rows:
        raise min(failures, key=lambda error: error.missing_bytes)
    marked_rows, marks = mark(rows)
    return Report(
        kind="frontier",
        title=_title(question, clusters),
        question=asked(question, clusters),
        rows=tuple(marked_rows),
        marks=marks,
        notes=(DECODE_NOTE, *notes),
        sources=sources(clusters),
    )


def estimate(question: Question, cluster: Cluster, layout: Parallelism | None) -> Report:
    """The fastest deployment of ``question`` in ``layout``, or in the best layout of all.

    Without a layout and without a number of accelerators, the fewest that fit are taken.
    """
    notes = [DECODE_NOTE, *precision_notes(question, cluster)]
    if layout is not None:
        layout.check(question.model, cluster)
        degrees = (layout.tp, layout.pp, layout.dp, layout.ep, layout.rows)
        points = search(question, cluster, Parallelism(*(d.reshape(1, 1) for d in degrees)))
    else:
        try:
            points = search(question, cluster)
        except NoLayoutError as error:
            asked_for = question.exactly_accelerators
            fewer = replace(question, exactly_accelerators=None, most_accelerators=asked_for or 1)
            points = search(fewer, cluster)
            notes.append(f"not all {asked_for} accelerators are used: {error}")
    if layout is None and question.exactly_accelerators is None:
        points = points.take(points.num_accelerators == points.num_accelerators.min())
    best = points.take(np.array([np.argmax(points.tok_per_s_per_user)]))
    return Report(
        kind="estimate",
        title=_title(question, [cluster]),
        question=asked(question, [cluster]),
        rows=tuple(describe(question, cluster, best).rows(question.model.name)),
        notes=tuple(notes),
        sources=sources([cluster]),
    )


def mark(rows: Sequence[Row]) -> tuple[list[Row], Mapping[str, int]]:
    """Flag the rows on the front over all accelerators, and name the three points to look at."""
    speed = np.array([float(row["tok_per_s_per_user"] or 0) for row in rows])
    usd = np.array([float(row["usd_per_mtok"] or 0) for row in rows])
    on_front = set(pareto_front(speed, usd).tolist())
    flagged: list[Row] = [{**row, "on_front": i in on_front} for i, row in enumerate(rows)]
    marks = {
        "preferred": preferred(speed, usd),
        "cheapest": int(np.argmin(usd)),
        "fastest": int(np.argmax(speed)),
    }
    names = [str(row["accelerator"]) for row in rows]
    for name in dict.fromkeys(names) if len(set(names)) > 1 else ():
        own = np.flatnonzero(np.array(names) == name)
        marks[f"preferred:{name}"] = int(own[preferred(speed[own], usd[own])])
    return flagged, marks


def asked(question: Question, clusters: Sequence[Cluster]) -> dict[str, Value]:
    """The question as a flat row, defaults included."""
    speculation = question.speculation
    return {
        "model": question.model.name,
        "on": ",".join(cluster.name for cluster in clusters),
        "precision": str(question.precision),
        "context_tokens": question.context_tokens,
        "batch": question.batch,
        "pipeline": question.pipeline,
        "demand_tok_per_s": question.demand_tok_per_s,
        "most_accelerators": question.most_accelerators,
        "exactly_accelerators": question.exactly_accelerators,
        "draft": speculation.draft.name if speculation else None,
        "acceptance": speculation.acceptance if speculation else None,
        "bonus_token": speculation.bonus_token if speculation else None,
        **{
            name: getattr(question.assumptions, name)
            for name in question.assumptions.__dataclass_fields__
        },
    }


def sources(clusters: Sequence[Cluster]) -> dict[str, str]:
    """Where every number of the clusters was read."""
    return {
        f"{cluster.name} {what}": f"{citation.url} ({citation.date})"
        for cluster in clusters
        for origin in (cluster.accelerator.sources, cluster.sources)
        for what, citation in origin.items()
    }


def precision_notes(question: Question, cluster: Cluster) -> list[str]:
    """Say where the hardware computes in another format than was asked for."""
    used = native(question.precision, cluster.accelerator)
    if used == question.precision:
        return []
    return [f"{cluster.name} runs {question.precision} as {used} (weights/activations/KV cache)"]


def _title(question: Question, clusters: Sequence[Cluster]) -> str:
    names = ", ".join(cluster.name for cluster in clusters)
    speculation = question.speculation
    drafted = (
        f", drafted by {speculation.draft.name} at acceptance {speculation.acceptance:g}"
        if speculation
        else ""
    )
    return (
        f"{question.model.name} in {question.precision} on {names}, "
        f"context {question.context_tokens:g} tokens{drafted}"
    )
