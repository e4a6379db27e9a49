"""Points become rows for people and programs: components, interval, utilisation, what binds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headway.frontier.question import Question
from headway.frontier.search import Points
from headway.hardware.cluster import Cluster
from headway.report.report import Row
from headway.steptime.deployment import Deployment
from headway.steptime.forward import forward, useful_flops
from headway.steptime.parallelism import Parallelism
from headway.steptime.roofline import TimeEstimate, estimate
from headway.steptime.utilisation import mbu, mfu
from headway.steptime.work import Array, Forward
from headway.workload.step import Step


@dataclass(frozen=True, slots=True, eq=False)
class Described:
    """Points with the time of their pass in full; arrays of shape ``(points,)``.

    ``tokens`` are the output tokens per sequence that a pass (drafting included) yields.
    """

    points: Points
    cluster: Cluster
    time: TimeEstimate
    tokens: Array
    mfu: Array
    mbu: Array

    def rows(self, model: str) -> list[Row]:
        """One flat mapping per point; all times in seconds per pass."""
        return [self._row(i, model) for i in range(self.tokens.size)]

    def _row(self, i: int, model: str) -> Row:
        points, time, tokens = self.points, self.time, float(self.tokens[i])
        speed, usd = float(points.tok_per_s_per_user[i]), float(points.usd_per_mtok[i])
        pass_s, lower_s, upper_s = (
            float(t[i]) for t in (time.expected_s, time.lower_s, time.upper_s)
        )
        drafted = int(points.drafted[i])
        return {
            "accelerator": self.cluster.name,
            "model": model,
            "tok_per_s_per_user": speed,
            "tok_per_s_per_user_lower": tokens / upper_s,
            "tok_per_s_per_user_upper": tokens / lower_s,
            "usd_per_mtok": usd,
            "usd_per_mtok_lower": usd * lower_s / pass_s,
            "usd_per_mtok_upper": usd * upper_s / pass_s,
            "num_accelerators": int(points.num_accelerators[i]),
            "tp": int(points.tp[i]),
            "pp": int(points.pp[i]),
            "dp": int(points.dp[i]),
            "ep": int(points.ep[i]),
            "rows": int(points.rows[i]),
            "batch": int(points.batch[i]),
            "draft_tokens": drafted,
            "draft_tp": int(points.draft_tp[i]) if drafted else None,
            "draft_placement": _PLACES[int(points.draft_apart[i])] if drafted else None,
            "tokens_per_pass": tokens,
            "mfu": float(self.mfu[i]),
            "mbu": float(self.mbu[i]),
            "binds": str(time.binds[i]),
            "step_s": pass_s,
            "step_s_lower": lower_s,
            "step_s_upper": upper_s,
            "arithmetic_s": float(time.arithmetic_s[i]),
            "memory_s": float(time.memory_s[i]),
            "network_s": float(time.network_s[i]),
            "latency_s": float(time.latency_s[i]),
            "basis": time.basis.value,
        }


_PLACES = ("same accelerators", "own accelerators")


def describe(question: Question, cluster: Cluster, points: Points) -> Described:
    """Price ``points`` once more, in full."""
    deployment = Deployment(
        cluster, question.model, question.precision, points.parallelism, question.assumptions
    )
    speculation = question.speculation
    if speculation is None:
        drafted, new_tokens, tokens = points.drafted, np.ones(()), np.ones(())
    else:
        speculates = points.drafted > 0
        drafted = points.drafted
        new_tokens = np.where(speculates, speculation.verified_tokens(drafted), 1.0)
        tokens = np.where(speculates, speculation.tokens_per_pass(drafted), 1.0)
    verify = _forward(question, deployment, deployment.parallelism, points.batch, new_tokens)
    time = estimate(verify, cluster, question.assumptions)
    moved = _must_move(verify)
    if speculation is not None and np.any(drafted > 0):
        draft_layout, draft_batch = _draft(question, points)
        step = Step.decode(draft_batch, question.context_tokens)
        draft = forward(speculation.draft, deployment.precision, draft_layout, step)
        time = time + estimate(draft, cluster, question.assumptions) * drafted
        moved = moved + _must_move(draft) * drafted * (1 - points.draft_apart)
    tokens = np.broadcast_to(tokens, points.batch.shape)
    step = Step.decode(points.batch, question.context_tokens)
    flops = useful_flops(question.model, deployment.precision, step) * tokens
    accelerator = cluster.accelerator
    peak = accelerator.flops_per_s(deployment.precision.activations)
    return Described(
        points,
        cluster,
        time,
        tokens,
        mfu(flops, time.expected_s * points.num_accelerators, peak),
        mbu(moved, time.expected_s, accelerator.memory_bandwidth_bytes_per_s),
    )


def _forward(
    question: Question, deployment: Deployment, layout: Parallelism, batch: Array, new_tokens: Array
) -> Forward:
    step = Step.decode(batch, question.context_tokens, new_tokens)
    return forward(question.model, deployment.precision, layout, step)


def _draft(question: Question, points: Points) -> tuple[Parallelism, Array]:
    """Layout and sequences of one drafting group, as `search.draft_places` has them."""
    assert question.speculation is not None  # only asked for points that speculate
    if question.speculation.shares_weights:
        return Parallelism(points.tp, 1, points.dp, points.ep, points.rows), points.batch
    tp = np.maximum(points.draft_tp, 1)
    groups = np.where(points.draft_apart > 0, 1.0, points.num_accelerators // tp)
    return Parallelism(tp), np.ceil(points.batch / np.maximum(groups, 1))


def _must_move(work: Forward) -> Array:
    """Weights and KV cache that the busiest accelerator reads, in bytes."""
    return np.asarray(sum(np.asarray(op.work.weight_bytes + op.work.kv_bytes) for op in work.ops))
