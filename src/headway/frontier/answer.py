"""The frontier of speed against cost, over several clusters, as a report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from headway.errors import DoesNotFitError, UnsupportedError
from headway.frontier.pareto import marks, pareto_front
from headway.frontier.question import Question
from headway.frontier.search import Points, front, search
from headway.hardware.catalogue import find_clusters
from headway.hardware.cluster import Cluster
from headway.hardware.price import unlike_kinds
from headway.model.architecture import ModelArchitecture
from headway.model.catalogue import find_model
from headway.model.precision import Precision
from headway.report.column import Value
from headway.report.report import Report
from headway.serving.estimate import serve
from headway.serving.load import Load
from headway.serving.report import NOTES, notes_of, rows_of, sources_of
from headway.serving.row import FRONTIER_CHART, UNPRICED_CHART, ServingRow
from headway.steptime.calibration import NO_ENGINE, Calibration, engine_named, shipped
from headway.steptime.layouts import MAX_ACCELERATORS
from headway.steptime.placed_model import native
from headway.steptime.speculative import Speculation


class Frontier(Report[ServingRow]):
    """The fronts of several clusters as a report, with its three points to look at by name."""

    __slots__ = ()

    @property
    def preferred(self) -> ServingRow:
        """The point with the largest speed^3 / cost (Erdil 2025, section 4.1)."""
        return self.rows[self.marks["preferred"]]

    @property
    def cheapest(self) -> ServingRow:
        """The point with the least cost per output token."""
        return self.rows[self.marks["cheapest"]]

    @property
    def fastest(self) -> ServingRow:
        """The point with the most tokens per second and user."""
        return self.rows[self.marks["fastest"]]


def frontier(
    model: ModelArchitecture | str,
    on: Cluster | str | Sequence[Cluster | str],
    *,
    load: Load | None = None,
    engine: str | None = None,
    precision: Precision | str | None = None,
    speculation: Speculation | None = None,
    prefilled: bool = False,
    max_accelerators: int = MAX_ACCELERATORS,
    calibration: Calibration | None = None,
) -> Frontier:
    """Return speed per user against cost per token, over all layouts and requests at once.

    Args:
        model: what is served, or its name.
        on: accelerators, or their names (``"h100,mi300x"``, ``"all"``).
        load: lengths of the requests, 2000 tokens in and 400 out by default; how many are there at
            once is what the frontier varies.
        engine: the serving engine whose step times are taken; by default vllm where they were
            measured, elsewhere and with ``"none"`` those of the data sheet.
        precision: of weights, activations and KV cache; as the model was published by default.
        speculation: who drafts, ``None`` for nobody.
        prefilled: whether prompts are computed elsewhere: decoding alone is searched and billed.
        max_accelerators: largest engine considered.
        calibration: what was measured of engines; what ships with Headway by default.

    Raises:
        DoesNotFitError: the model fits on none of the clusters.
        InputError: a name is unknown.

    """
    lengths = Load(prompt=2000, output=400) if load is None else load
    question = Question(
        model=find_model(model) if isinstance(model, str) else model,
        precision=Precision.parse(precision) if isinstance(precision, str) else precision,
        prompt_tokens=float(np.asarray(lengths.prompt)),
        output_tokens=float(np.asarray(lengths.output)),
        cached_fraction=float(np.asarray(lengths.cached)),
        prefilled=prefilled,
        speculation=speculation,
        max_accelerators=max_accelerators,
        calibration=shipped() if calibration is None else calibration,
    )
    clusters = clusters_of(on)
    engines = [engine_named(engine, cluster.accelerator) for cluster in clusters]
    return frontier_of([replace(question, engine=name) for name in engines], clusters)


def clusters_of(on: Cluster | str | Sequence[Cluster | str]) -> tuple[Cluster, ...]:
    """Return the clusters that ``on`` names or holds."""
    parts = [on] if isinstance(on, Cluster | str) else on
    groups = (find_clusters(part) if isinstance(part, str) else (part,) for part in parts)
    return tuple(cluster for clusters in groups for cluster in clusters)


def frontier_of(questions: Sequence[Question], clusters: Sequence[Cluster]) -> Frontier:
    """Return the fronts of ``clusters``, with the preferred, cheapest and fastest point of all.

    Each cluster has its question; they differ in nothing but the engine. A cluster where the
    engine does not run, or on which the model does not fit, is left out; one without a price has
    rows without dollars, its own front of speed against accelerator-hours. The notes say so.

    Raises:
        DoesNotFitError: the model fits on none; the one of the least short cluster.
        UnsupportedError: the engine runs on none of them.

    """
    rows: list[ServingRow] = []
    notes: list[str] = []
    failures: list[DoesNotFitError] = []
    unsupported: list[UnsupportedError] = []
    sources: dict[str, str] = {}
    for question, cluster in zip(questions, clusters, strict=True):
        try:
            points = front(search(question, cluster.by_the_hour))
        except UnsupportedError as error:
            unsupported.append(error)
            notes.append(f"{cluster.name} is left out: {error}")
            continue
        except DoesNotFitError as error:
            failures.append(error)
            notes.append(str(error))
            continue

        answer = _describe(question, cluster, points)
        rows += answer.rows
        notes += answer.notes
        sources |= answer.sources

    if not rows:
        if failures:
            raise min(failures, key=lambda error: error.missing_bytes)
        raise unsupported[0]
    marked_rows, marks = mark(rows)
    return Frontier(
        kind="frontier",
        title=_title(questions, clusters),
        question=question_of(questions[0], clusters) | {"engine": ",".join(_engines(questions))},
        rows=tuple(marked_rows),
        marks=marks,
        notes=(*NOTES, *dict.fromkeys(notes), *_price_notes(rows, clusters)),
        sources=sources,
        charts=(FRONTIER_CHART if any(row.usd_per_hour for row in rows) else UNPRICED_CHART,),
    )


@dataclass(frozen=True, slots=True)
class _Answer:
    rows: tuple[ServingRow, ...]
    notes: tuple[str, ...]
    sources: Mapping[str, str]


def _describe(question: Question, cluster: Cluster, points: Points) -> _Answer:
    """Serve the load on every point once more, in full."""
    drafting = points.drafting(question.speculation)
    deployment = question.deployment(cluster, points.parallelism, drafting)
    served = serve(deployment, question.loop(points.concurrency))
    return _Answer(
        rows=tuple(rows_of(served)),
        notes=(*notes_of(served), *_precision_notes(question, cluster)),
        sources=sources_of(deployment),
    )


def mark(rows: Sequence[ServingRow]) -> tuple[list[ServingRow], Mapping[str, int]]:
    """Flag the rows on the front over all accelerators, and name the three points to look at.

    Of the rows with dollars, if there are any; else accelerator-hours are the cost.
    """
    usd = [row.usd_per_mtok_output for row in rows]
    rivals = [place for place, one in enumerate(usd) if one is not None] or [*range(len(rows))]
    speed = np.array([rows[place].tok_per_s_per_user.expected for place in rivals])
    cost = np.array([_cost(rows[place]) for place in rivals])

    flags = dict.fromkeys(rivals, False)
    flags |= {rivals[place]: True for place in pareto_front(speed, cost)}
    marked = [replace(row, on_front=flags.get(place)) for place, row in enumerate(rows)]
    places = marks([rows[place].accelerator for place in rivals], speed, cost)
    return marked, {name: rivals[place] for name, place in places.items()}


def question_of(question: Question, clusters: Sequence[Cluster]) -> dict[str, Value]:
    """Return the question as a flat row, defaults included."""
    speculation = question.speculation
    return {
        "model": question.model.name,
        "on": ",".join(cluster.name for cluster in clusters),
        "precision": str(question.precision or question.model.precision),
        "prompt_tokens": question.prompt_tokens,
        "output_tokens": question.output_tokens,
        "cached_fraction": question.cached_fraction,
        "prefilled": question.prefilled,
        "engine": question.engine,
        "concurrency": question.concurrency,
        "pipeline": question.pipeline,
        "demand_tok_per_s": question.demand_tok_per_s,
        "max_accelerators": question.max_accelerators,
        "num_accelerators": question.num_accelerators,
        "draft": speculation.draft.name if speculation else None,
        "acceptance": speculation.acceptance if speculation else None,
        "bonus_token": speculation.bonus_token if speculation else None,
    }


def _cost(row: ServingRow) -> float:
    if row.usd_per_mtok_output is not None:
        return row.usd_per_mtok_output.expected
    return 1 / row.output_tok_per_s_per_accelerator.expected


def _precision_notes(question: Question, cluster: Cluster) -> Iterator[str]:
    """Say where the hardware computes in another format than was asked for."""
    precision = question.precision or question.model.precision
    if precision is None:
        return
    computed = native(precision, cluster.accelerator)
    if computed != precision:
        yield f"{cluster.name} runs {precision} as {computed} (weights/activations/KV cache)"


def _price_notes(rows: Sequence[ServingRow], clusters: Sequence[Cluster]) -> Iterator[str]:
    """Mark a comparison of, say, prices on demand with one of a rental for three years."""
    names = {row.accelerator for row in rows}
    unpriced = [cluster.name for cluster in clusters if not cluster.is_priced]
    if names & set(unpriced):
        yield (
            f"no price is known for {', '.join(unpriced)}: rows without dollars, of the front of "
            "speed against accelerator-hours; give one with --price"
        )
    sentence = unlike_kinds({c.name: c.price for c in clusters if c.name in names})
    if sentence is not None:
        yield sentence


def _engines(questions: Sequence[Question]) -> list[str]:
    """Return the engines that serve, each once."""
    return list(dict.fromkeys(question.engine or NO_ENGINE for question in questions))


def _title(questions: Sequence[Question], clusters: Sequence[Cluster]) -> str:
    question = questions[0]
    engines = " or ".join("data sheet" if e == NO_ENGINE else e for e in _engines(questions))
    names = ", ".join(cluster.name for cluster in clusters)
    speculation = question.speculation
    draft = (
        f", drafted by {speculation.draft.name} at acceptance {speculation.acceptance:g}"
        if speculation
        else ""
    )
    prompts = "prompts computed elsewhere, " if question.prefilled else ""
    return (
        f"{question.model.name} in {question.precision or question.model.precision} on {names}: "
        f"{question.prompt_tokens:g} tokens in, {question.output_tokens:g} out, {prompts}"
        f"{engines}{draft}"
    )
