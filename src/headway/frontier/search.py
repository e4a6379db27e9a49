"""Time of every deployment of a model on a cluster, and the ones that are worth considering.

Everything is one evaluation over arrays of shape (layouts, batches); with speculation one such
plane per number of drafted tokens and per place where the draft may run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from headway.errors import DoesNotFitError, InputError
from headway.frontier.pareto import pareto_front
from headway.frontier.question import Question
from headway.frontier.space import batches, layouts
from headway.hardware.cluster import Cluster
from headway.money.tariff import usd_per_mtok
from headway.steptime.deployment import Deployment
from headway.steptime.forward import forward
from headway.steptime.memory import kv_bytes, weight_bytes
from headway.steptime.parallelism import Parallelism
from headway.steptime.roofline import price
from headway.steptime.speculative import Speculation
from headway.steptime.work import Array, BoolArray
from headway.units import GB
from headway.workload.step import Step

MAX_DRAFT_TP = 16


class NoLayoutError(InputError):
    """No layout takes exactly the number of accelerators that was asked for."""


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Deployments with their answer; arrays of one shape.

    ``drafted`` tokens per pass are proposed on ``draft_tp`` ranks: on the model's own accelerators
    (``draft_apart`` 0) or on ``draft_tp`` more (1). Without speculation all three are 0.
    """

    tp: Array
    pp: Array
    dp: Array
    ep: Array
    rows: Array
    batch: Array
    drafted: Array
    draft_tp: Array
    draft_apart: Array
    pass_s: Array
    tok_per_s_per_user: Array
    usd_per_mtok: Array

    @property
    def parallelism(self) -> Parallelism:
        """The layouts."""
        return Parallelism(self.tp, self.pp, self.dp, self.ep, self.rows)

    @property
    def num_accelerators(self) -> Array:
        """Accelerators of the engine, those of a draft of its own included."""
        return np.asarray(self.tp * self.pp * self.dp + self.draft_apart * self.draft_tp)

    def take(self, chosen: npt.NDArray[np.intp] | BoolArray) -> Points:
        """The points at indices (or where a mask) ``chosen``."""
        return Points(*(getattr(self, field.name)[chosen] for field in fields(self)))

    @classmethod
    def joined(cls, parts: list[Points]) -> Points:
        """All points of ``parts`` in one row."""
        return cls(
            *(
                np.concatenate([getattr(part, field.name).ravel() for part in parts])
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
        InputError: where no layout takes exactly the accelerators asked for, or none sells so
            little as is demanded.
    """
    if layout is None:
        layout = layouts(
            question.model,
            cluster,
            question.most_accelerators,
            question.exactly_accelerators,
            question.pipeline,
        )
    if layout.tp.size == 0:
        raise NoLayoutError(
            f"no layout of {question.model.name} takes exactly {question.exactly_accelerators} "
            f"{cluster.name}: heads, experts and layers do not divide that way; a power of two does"
        )
    sizes = batches() if question.batch is None else np.array([float(question.batch)])
    deployment = Deployment(
        cluster, question.model, question.precision, layout, question.assumptions
    )
    missing = deployment.missing_bytes(sizes, question.context_tokens + 1)
    if not np.any(missing <= 0):
        _raise_short(question, deployment, missing)
    planes = [_plain(question, deployment, sizes, missing)]
    if question.speculation is not None:
        planes += _speculative(question, question.speculation, deployment, sizes, missing)
    points = Points.joined(planes)
    if points.batch.size == 0:
        raise InputError(
            f"every deployment of {question.model.name} on {cluster.name} makes more than the "
            f"demand of {question.demand_tok_per_s:g} tokens/s; raise --demand"
        )
    return points


def front(points: Points) -> Points:
    """The points that no other beats in speed per user and in cost, fastest first."""
    return points.take(pareto_front(points.tok_per_s_per_user, points.usd_per_mtok))


def _raise_short(question: Question, deployment: Deployment, missing: Array) -> None:
    least = np.unravel_index(np.argmin(missing), missing.shape)
    short = float(missing[least])
    parallelism = deployment.parallelism
    layout = Parallelism(
        *(
            float(getattr(parallelism, name)[least[0], 0])
            for name in ("tp", "pp", "dp", "ep", "rows")
        )
    )
    count = int(layout.num_accelerators)
    raise DoesNotFitError(
        f"{question.model.name} in {deployment.precision} at a context of "
        f"{question.context_tokens:g} tokens fits on no allowed cluster of "
        f"{deployment.cluster.name}: the roomiest ({count} of them, {layout}) lacks "
        f"{short * count / GB:.1f} GB in all; allow more accelerators, or take a smaller "
        "precision, batch or context",
        short * count,
    )


def _pass_s(question: Question, deployment: Deployment, sizes: Array, new_tokens: float) -> Array:
    work = forward(
        question.model,
        deployment.precision,
        deployment.parallelism,
        Step.decode(sizes, question.context_tokens, new_tokens),
    )
    return price(work, deployment.cluster, question.assumptions).total_s


def _points(
    question: Question,
    deployment: Deployment,
    sizes: Array,
    fits: BoolArray,
    pass_s: Array,
    tokens: Array,
    drafted: Array,
    draft_tp: Array,
    apart: float,
) -> Points:
    """Keep what fits and can be sold, and add speed and cost."""
    layout = deployment.parallelism
    total = layout.num_accelerators + apart * draft_tp
    speed = tokens / pass_s
    if question.demand_tok_per_s is not None:
        fits = fits & (sizes * speed <= question.demand_tok_per_s)
    kept = np.broadcast_to(fits, pass_s.shape)
    columns = (
        layout.tp,
        layout.pp,
        layout.dp,
        layout.ep,
        layout.rows,
        sizes,
        drafted,
        draft_tp,
        np.asarray(apart),
        pass_s,
        speed,
        usd_per_mtok(deployment.cluster, total, sizes * speed),
    )
    return Points(*(np.broadcast_to(column, pass_s.shape)[kept] for column in columns))


def _plain(question: Question, deployment: Deployment, sizes: Array, missing: Array) -> Points:
    zero, one = np.zeros(()), np.ones(())
    pass_s = _pass_s(question, deployment, sizes, 1)
    return _points(question, deployment, sizes, missing <= 0, pass_s, one, zero, zero, 0.0)


def _speculative(
    question: Question,
    speculation: Speculation,
    deployment: Deployment,
    sizes: Array,
    missing: Array,
) -> Iterator[Points]:
    """One plane per place of the draft, each with the best number of drafted tokens."""
    counts = np.arange(1.0, speculation.max_draft_tokens + 1)
    verify_s = [
        _pass_s(question, deployment, sizes, float(speculation.verified_tokens(count)))
        for count in counts
    ]
    for place in draft_places(question, speculation, deployment, sizes):
        best = np.full(verify_s[0].shape, np.inf)
        best_count = np.zeros_like(best)
        for count, checked_s in zip(counts, verify_s, strict=True):
            per_token = (checked_s + count * place.step_s) / speculation.tokens_per_pass(count)
            faster = per_token < best
            best = np.where(faster, per_token, best)
            best_count = np.where(faster, count, best_count)
        tokens = speculation.tokens_per_pass(best_count)
        fits = place.allowed & (missing + place.bytes_on_engine <= 0)
        yield _points(
            question,
            deployment,
            sizes,
            fits,
            best * tokens,
            tokens,
            best_count,
            place.tp,
            place.apart,
        )


@dataclass(frozen=True, slots=True, eq=False)
class DraftPlace:
    """Where a draft runs: its step time, where that is possible, and what it takes from the engine.

    ``parallelism`` and ``batch`` are those of one drafting group.
    """

    tp: Array
    apart: float
    parallelism: Parallelism
    batch: Array
    step_s: Array
    allowed: BoolArray
    bytes_on_engine: Array


def draft_places(
    question: Question, speculation: Speculation, deployment: Deployment, sizes: Array
) -> Iterator[DraftPlace]:
    """The places where a draft may run, for layouts that broadcast against ``sizes``.

    Heads of the model itself run in the model's layout. A draft model runs on groups of ``tp`` of
    the engine's accelerators that share out the sequences, or on ``tp`` accelerators of its own.
    """
    layout = deployment.parallelism
    if speculation.shares_weights:
        stage = Parallelism(layout.tp, 1, layout.dp, layout.ep, layout.rows)
        yield _place(question, speculation, deployment, stage, sizes, layout.tp, 0.0)
        return
    for degree in 2.0 ** np.arange(np.log2(MAX_DRAFT_TP) + 1):
        group = Parallelism(degree)
        if not group.valid(speculation.draft, deployment.cluster):
            continue
        tp = np.asarray(degree)
        groups = np.maximum(layout.num_accelerators // degree, 1)
        shared = np.ceil(sizes / groups)
        yield _place(question, speculation, deployment, group, shared, tp, 0.0)
        yield _place(question, speculation, deployment, group, sizes, tp, 1.0)


def _place(
    question: Question,
    speculation: Speculation,
    deployment: Deployment,
    group: Parallelism,
    batch: Array,
    tp: Array,
    apart: float,
) -> DraftPlace:
    draft, precision = speculation.draft, deployment.precision
    work = forward(draft, precision, group, Step.decode(batch, question.context_tokens))
    held = weight_bytes(draft, precision, group, not speculation.shares_weights) + kv_bytes(
        draft, precision, group, batch, question.context_tokens + 1
    )
    if apart:
        allowed, on_engine = np.asarray(held <= deployment.usable_bytes), np.zeros(())
    else:
        allowed = np.asarray(tp <= deployment.parallelism.num_accelerators)
        on_engine = held
    return DraftPlace(
        tp,
        apart,
        group,
        batch,
        price(work, deployment.cluster, question.assumptions).total_s,
        allowed,
        on_engine,
    )
