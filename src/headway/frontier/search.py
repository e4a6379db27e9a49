"""Every deployment of a model on a cluster under a load, and the ones worth considering.

Layouts and numbers of requests at once are the two axes of one evaluation; with speculation there
is one more for every place where the draft may run, at the number of drafted tokens best there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from headway.errors import DoesNotFitError, InputError
from headway.frontier.pareto import pareto_front
from headway.frontier.question import MAX_CONCURRENCY, Question
from headway.hardware.cluster import Cluster
from headway.serving.load_steps import seats
from headway.serving.served_load import serve_loop
from headway.steptime.analytic import AnalyticStepTime
from headway.steptime.deployment import Deployment
from headway.steptime.layouts import layouts, single
from headway.steptime.parallelism import Parallelism
from headway.steptime.placed_model import Drafting, PlacedModel
from headway.steptime.speculative import Speculation
from headway.steptime.work import Array, BoolArray, Number
from headway.units import GB, HOUR_S
from headway.workload.step import Step

MAX_DRAFT_TP = 16
PER_OCTAVE = 8


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Deployments with their answer; arrays of one shape.

    ``draft_tokens`` per pass are proposed on ``draft_tp`` ranks (0: in the model's own layout), on
    the model's own accelerators (``draft_apart`` 0) or on ``draft_tp`` more (1).
    """

    tp: Array
    pp: Array
    dp: Array
    ep: Array
    rows: Array
    concurrency: Array
    draft_tokens: Array
    draft_tp: Array
    draft_apart: Array
    tok_per_s_per_user: Array
    usd_per_mtok_output: Array

    @property
    def parallelism(self) -> Parallelism:
        """The layouts."""
        return Parallelism(self.tp, self.pp, self.dp, self.ep, self.rows)

    @property
    def num_accelerators(self) -> Array:
        """Accelerators of the engine, those of a draft of its own included."""
        return np.asarray(self.tp * self.pp * self.dp + self.draft_apart * self.draft_tp)

    def drafting(self, speculation: Speculation | None) -> Drafting | None:
        """Return how the points draft."""
        if speculation is None or not np.any(self.draft_tokens):
            return None
        return Drafting(
            speculation, tokens=self.draft_tokens, tp=self.draft_tp, apart=self.draft_apart
        )

    def take(self, chosen: npt.NDArray[np.intp] | BoolArray) -> Points:
        """Return the points at indices (or where a mask) ``chosen``."""
        return Points(*(getattr(self, field.name)[chosen] for field in fields(self)))

    @classmethod
    def join(cls, parts: list[Points]) -> Points:
        """Return all points of ``parts`` in one row."""
        return cls(
            *(
                np.concatenate([getattr(part, field.name) for part in parts])
                for field in fields(cls)
            )
        )


def search(question: Question, cluster: Cluster, layout: Parallelism | None = None) -> Points:
    """Evaluate every deployment that fits, shape ``(points,)``.

    Args:
        question: what is asked.
        cluster: where.
        layout: the only layouts considered, shape ``(layouts, 1)``; all valid ones if ``None``.

    Raises:
        DoesNotFitError: where none fits, with the bytes that the least short one lacks.
        InputError: where no layout takes exactly the accelerators asked for, none sells so little
            as is demanded, or no price is known.

    """
    if layout is None:
        layout = layouts(
            question.model,
            cluster,
            question.max_accelerators,
            question.num_accelerators,
            pipeline=question.pipeline,
            two_dimensional=question.engine is None,
        )
    sizes = concurrencies()
    if question.concurrency is not None:
        sizes = np.array([float(question.concurrency)])

    # A point is a layout and a number of requests at once that all have a seat.
    family = question.deployment(cluster, layout)
    fits = seats(family, question.loop(sizes)) >= sizes
    if not np.any(fits):
        _raise_short(question, family, sizes)
    roomy, filled = np.flatnonzero(fits.any(axis=1)), np.flatnonzero(fits.any(axis=0))
    family, sizes = family.with_parallelism(layout.take(roomy)), sizes[filled]
    fits = fits[np.ix_(roomy, filled)]

    families = [family]
    if question.speculation is not None:
        drafts = _drafts(question, question.speculation, family, sizes)
        families += [family.with_drafting(drafting) for drafting in drafts]
    planes = [_points(question, one, sizes, fits) for one in families]
    points = Points.join(planes)
    if points.concurrency.size == 0:
        raise InputError(
            f"every deployment of {question.model.name} on {cluster.name} makes more than the "
            f"demand of {question.demand_tok_per_s:g} tokens/s; raise --demand"
        )
    return points


def front(points: Points) -> Points:
    """Return the points that no other beats in speed per user and in cost, fastest first."""
    return points.take(pareto_front(points.tok_per_s_per_user, points.usd_per_mtok_output))


def concurrencies(maximum: float = MAX_CONCURRENCY) -> Array:
    """Return whole numbers up to ``maximum``: all up to 16, then evenly on a log scale."""
    octaves = np.log2(max(maximum, 1.0))
    steps = 2.0 ** np.arange(0, octaves + 1e-9, 1 / PER_OCTAVE)
    sizes = np.concatenate([np.arange(1.0, 17.0), np.round(steps)])
    return np.unique(sizes[sizes <= maximum])


def _points(question: Question, deployment: Deployment, sizes: Array, fits: BoolArray) -> Points:
    """Evaluate every layout of ``deployment`` with ``sizes`` requests, where that ``fits``.

    ``fits`` has the shape ``(layouts, sizes)``.
    """
    loop, drafting, layout = question.loop(sizes), deployment.drafting, deployment.parallelism
    times, cluster = serve_loop(deployment, loop).times, deployment.cluster
    output_tok_per_s = times.requests_per_s * question.output_tokens
    usd_per_s = deployment.num_accelerators * (cluster.usd_per_accelerator_s * HOUR_S / 3600)

    # Keep what drafts, which it does where its draft fits, and what can be sold.
    if drafting is not None:
        fits = fits & (np.asarray(drafting.tokens) > 0)
    if question.demand_tok_per_s is not None:
        fits = fits & (output_tok_per_s <= question.demand_tok_per_s)

    def points(values: Number) -> Array:
        return np.broadcast_to(values, fits.shape)[fits]

    return Points(
        tp=points(layout.tp),
        pp=points(layout.pp),
        dp=points(layout.dp),
        ep=points(layout.ep),
        rows=points(layout.rows),
        concurrency=points(sizes),
        draft_tokens=points(0.0 if drafting is None else drafting.tokens),
        draft_tp=points(0.0 if drafting is None else drafting.tp),
        draft_apart=points(0.0 if drafting is None else drafting.apart),
        tok_per_s_per_user=points(1 / times.tpot_s),
        usd_per_mtok_output=points(usd_per_s / output_tok_per_s * 1e6),
    )


def _drafts(
    question: Question, speculation: Speculation, family: Deployment, sizes: Array
) -> Iterator[Drafting]:
    """Yield, for every place of the draft, how each layout drafts there with ``sizes`` requests.

    The number of drafted tokens is the one whose decode step takes least per token it yields.
    The drafting passes are priced from the data sheet, whatever engine serves.
    """
    context, model = question.loop(1.0).mean_context_tokens, family.step_time_model
    counts = np.arange(1.0, speculation.max_draft_tokens + 1)
    verify_s = [
        model.step_time(Step.decode(sizes, context, speculation.verified_tokens(count))).expected_s
        for count in counts
    ]

    for places in _places(speculation, family.cluster):
        best_s = np.full(verify_s[0].shape, np.inf)
        tokens, ranks = np.zeros_like(best_s), np.zeros_like(best_s)
        for place in places:
            placed = family.with_drafting(place)
            draft_s = _draft_step_s(placed, sizes, context)
            possible = placed.fits(sizes, context)
            for count, checked_s in zip(counts, verify_s, strict=True):
                token_s = (checked_s + count * draft_s) / speculation.tokens_per_pass(count)
                better = possible & (token_s < best_s)
                best_s = np.where(better, token_s, best_s)
                tokens = np.where(better, count, tokens)
                ranks = np.where(better, place.tp, ranks)

        yield Drafting(speculation, tokens, tp=ranks, apart=places[0].apart)


def _places(speculation: Speculation, cluster: Cluster) -> Iterator[list[Drafting]]:
    """Yield the places of a draft, those together of which only the fastest is worth its price.

    Heads of the model itself run in the model's layout. A draft model runs on groups of the
    engine's accelerators that share out the sequences, whose size costs nothing, or on
    accelerators of its own.
    """
    if speculation.shares_weights:
        yield [Drafting(speculation)]
        return
    degrees = [
        float(tp)
        for tp in 2.0 ** np.arange(np.log2(MAX_DRAFT_TP) + 1)
        if Parallelism(tp).valid(speculation.draft, cluster)
    ]
    yield [Drafting(speculation, tp=tp) for tp in degrees]
    for tp in degrees:
        yield [Drafting(speculation, tp=tp, apart=1.0)]


def _draft_step_s(placed: Deployment, sequences: Array, context: Array) -> Array:
    """Seconds of one drafting pass over the share of one group."""
    assert placed.drafting is not None  # only asked for deployments that draft
    draft = PlacedModel(
        placed.drafting.speculation.draft,
        placed.cluster,
        placed.precision,
        placed.draft_parallelism,
    )
    share = np.ceil(sequences / placed.draft_groups)
    return (
        AnalyticStepTime(draft, placed.efficiency).step_time(Step.decode(share, context)).expected_s
    )


def _raise_short(question: Question, family: Deployment, sizes: Array) -> None:
    context = float(np.max(question.loop(1.0).mean_context_tokens))
    missing = np.broadcast_to(
        family.missing_bytes(sizes, context),
        np.broadcast_shapes(sizes.shape, family.parallelism.tp.shape),
    )
    least = np.unravel_index(np.argmin(missing), missing.shape)
    layout = single(family.parallelism, int(least[0]))
    count, short = int(layout.num_accelerators), float(missing[least])
    raise DoesNotFitError(
        f"{question.model.name} in {family.precision} at a context of {context:g} tokens fits on "
        f"no allowed cluster of {family.cluster.name}: the roomiest ({count} of them, {layout}) "
        f"lacks {short * count / GB:.1f} GB in all; allow more accelerators, or take a smaller "
        "precision, concurrency or context",
        short * count,
    )
