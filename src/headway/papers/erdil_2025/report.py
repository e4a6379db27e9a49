"""Answers of the published model: its frontier, and single points of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from headway.errors import DoesNotFitError
from headway.frontier.pareto import marks, pareto_front
from headway.papers.erdil_2025.accelerators import PublishedAccelerator
from headway.papers.erdil_2025.forward import Choices, TokenLatency, token_latency
from headway.papers.erdil_2025.frontier import frontier
from headway.papers.erdil_2025.models import PublishedModel
from headway.papers.erdil_2025.passes import ForwardPass
from headway.papers.erdil_2025.speculative import (
    Speculation,
    expected_tokens,
    speculative_latency_s,
)
from headway.report.chart import Chart
from headway.report.column import column
from headway.report.report import Report
from headway.units import GB, HOUR_S

Floats = NDArray[np.float64]

NOTE = (
    "the published model (Erdil 2025, arXiv 2506.04645) as its program computes it: fractional "
    "degrees, its own efficiencies and prices, no interval"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedQuestion:
    """A model in the paper's quantities, and what may be chosen.

    Attributes:
        draft: decodes speculatively, at ``acceptance`` per drafted token.
        demand_tok_per_s: the most output tokens per second that one engine can sell.
        pipeline: whether pipeline parallelism is considered.

    """

    model: PublishedModel
    context_tokens: float = 0.0
    draft: PublishedModel | None = None
    acceptance: float = 0.8
    demand_tok_per_s: float = np.inf
    pipeline: bool = True

    def latency(
        self,
        accelerator: PublishedAccelerator,
        num_accelerators: Floats,
        batch: Floats,
        *,
        model: PublishedModel | None = None,
        query_tokens: int = 1,
    ) -> TokenLatency:
        """Return the pass of ``model`` (the question's, by default) at each of the points."""
        return token_latency(
            num_accelerators,
            batch,
            model or self.model,
            accelerator,
            context_tokens=self.context_tokens,
            query_tokens=query_tokens,
            choices=Choices(pipeline=self.pipeline),
        )


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One point of the published model; times are those of a pass, drafting included."""

    model: str = column("model", "what is run", detail=True)
    accelerator: str = column("on", "what it runs on")
    tok_per_s_per_user: float = column("speed", "of one user", unit="tok/s/user")
    usd_per_mtok_output: float = column("cost", "no prompts, no idle time", unit="$/Mtok")
    num_accelerators: float = column("accel.", "accelerators of one engine", digits=4)
    tp: float = column("tp", "ranks of tensor parallelism")
    pp: float = column("pp", "pipeline stages")
    batch: float = column("batch", "sequences in flight")
    draft_tokens: int | None = column("draft", "drafted tokens per pass")
    tokens_per_pass: float = column("tokens", "that a pass yields to each sequence", detail=True)
    mfu: float = column("MFU", "share of the dense peak", unit="%", scale=100, digits=2)
    binds: str = column("binds", "the largest part of a pass")
    step_s: float = column("pass", "one pass", unit="ms", scale=1e3, detail=True)
    arithmetic_s: float = column("arithmetic", "overlaps memory", unit="ms", scale=1e3, detail=True)
    memory_s: float = column("memory", "overlaps arithmetic", unit="ms", scale=1e3, detail=True)
    network_s: float = column("network", "collectives", unit="ms", scale=1e3, detail=True)
    latency_s: float = column("latency", "kernel launches", unit="ms", scale=1e3, detail=True)
    two_dimensional: bool = column("2D", "tensor parallelism in two dimensions", detail=True)
    attention_scale_down: float = column("attention/", "tp over attention's ranks", detail=True)
    on_front: bool | None = column("front", "no other point beats it in both", detail=True)


CHART = Chart(
    x="tok_per_s_per_user",
    y="usd_per_mtok_output",
    series="accelerator",
    front="on_front",
    legend="thick line: front over the accelerators shown  ·  ★ preferred: largest speed³ / cost",
    x_label="speed, tokens/s per user",
    y_label="cost, $ per million output tokens",
    details=("num_accelerators", "batch", "mfu"),
    parts=("arithmetic_s", "memory_s", "network_s", "latency_s"),
)


def frontier_report(
    question: PublishedQuestion, accelerators: Sequence[PublishedAccelerator]
) -> Report[PublishedRow]:
    """Return the published frontier on each of ``accelerators``.

    Raises:
        InputError: the model fits on no point of the grid of one of them.

    """
    rows: list[PublishedRow] = []
    for accelerator in accelerators:
        curve = frontier(
            question.model,
            accelerator,
            context_tokens=question.context_tokens,
            choices=Choices(pipeline=question.pipeline),
            draft=question.draft,
            acceptance=question.acceptance,
            demand_tok_per_s=question.demand_tok_per_s,
        )
        n, b = curve.num_accelerators, curve.batch
        rows += _rows(question, accelerator, n, b, lengths=curve.draft_tokens)

    speed = np.array([row.tok_per_s_per_user for row in rows])
    usd = np.array([row.usd_per_mtok_output for row in rows])
    front = set(pareto_front(speed, usd).tolist())
    rows = [replace(row, on_front=number in front) for number, row in enumerate(rows)]
    points = marks([row.accelerator for row in rows], speed, usd)
    return _report("published-frontier", question, accelerators, rows, points=points)


def estimate_report(
    question: PublishedQuestion,
    accelerator: PublishedAccelerator,
    num_accelerators: float,
    batch: float,
) -> Report[PublishedRow]:
    """Return one point of the published model, at the fastest variant.

    Raises:
        DoesNotFitError: where weights and cache exceed the memory, as the program counts it.

    """
    n, b = np.array([float(num_accelerators)]), np.array([float(batch)])
    plain = ForwardPass(question.model, accelerator, question.context_tokens)
    if not np.isfinite(question.latency(accelerator, n, b).total_s[0]):
        model = question.model
        cache_bytes = model.kv_bytes_per_token * question.context_tokens * batch
        memory_bytes = num_accelerators * accelerator.memory_bytes
        missing_bytes = model.weights_total_bytes + cache_bytes - memory_bytes
        raise DoesNotFitError(
            f"{model.name} with {batch:g} sequences of {question.context_tokens:g} tokens lacks "
            f"{missing_bytes / GB:.1f} GB on {num_accelerators:g} {accelerator.name}; use more",
            missing_bytes,
        )

    lengths = np.ones(1, dtype=np.int16)
    if question.draft is not None:
        speculation = Speculation(plain, question.draft, question.acceptance)
        _, lengths = speculative_latency_s(n, b, speculation, Choices(question.pipeline))
    rows = _rows(question, accelerator, n, b, lengths=lengths)
    return _report("published-estimate", question, [accelerator], rows)


def _rows(
    question: PublishedQuestion,
    accelerator: PublishedAccelerator,
    n: Floats,
    b: Floats,
    *,
    lengths: NDArray[np.int16],
) -> list[PublishedRow]:
    """Return rows of points in their order; ``lengths`` of 1 draft nothing."""
    rows: dict[int, PublishedRow] = {}
    for length in np.unique(lengths):
        at = np.flatnonzero(lengths == length)
        alike = _rows_of_length(question, accelerator, n[at], b[at], length=int(length))
        rows |= zip(at.tolist(), alike, strict=True)
    return [rows[number] for number in sorted(rows)]


def _rows_of_length(
    question: PublishedQuestion,
    accelerator: PublishedAccelerator,
    n: Floats,
    b: Floats,
    *,
    length: int,
) -> Iterator[PublishedRow]:
    """Yield rows of points that all draft ``length`` tokens (1: nothing)."""
    verify = question.latency(accelerator, n, b, query_tokens=length)
    step_s, parts, tokens = verify.total_s, _parts(verify), 1.0
    if length > 1:
        draft = question.latency(accelerator, n, b, model=question.draft)
        step_s = step_s + length * draft.total_s
        parts = {name: own + length * _parts(draft)[name] for name, own in parts.items()}
        tokens = expected_tokens(question.acceptance, length)

    model = question.model
    flops = model.flops(question.context_tokens, 1) * b * tokens
    mfu = flops / (step_s * n * accelerator.peak_for(model.weight_bits))
    usd = n * step_s / (b * tokens) * accelerator.usd_per_hour / HOUR_S * 1e6
    for i in range(b.size):
        part_s = {name: float(seconds[i]) for name, seconds in parts.items()}
        yield PublishedRow(
            model=model.name,
            accelerator=accelerator.name,
            tok_per_s_per_user=tokens / float(step_s[i]),
            usd_per_mtok_output=float(usd[i]),
            num_accelerators=float(n[i]),
            tp=float(n[i] / verify.pipeline_depth[i]),
            pp=float(verify.pipeline_depth[i]),
            batch=float(b[i]),
            draft_tokens=length if length > 1 else None,
            tokens_per_pass=tokens,
            mfu=float(mfu[i]),
            binds=max(part_s, key=lambda name: part_s[name]),
            step_s=float(step_s[i]),
            arithmetic_s=part_s["arithmetic"],
            memory_s=part_s["memory"],
            network_s=part_s["network"],
            latency_s=part_s["latency"],
            two_dimensional=bool(verify.two_dimensional[i]),
            attention_scale_down=float(verify.attention_scale_down[i]),
            on_front=None,
        )


def _parts(latency: TokenLatency) -> dict[str, Floats]:
    return {
        "arithmetic": latency.arithmetic_s,
        "memory": latency.memory_s,
        "network": latency.network_s,
        "latency": latency.launch_s,
    }


def _report(
    kind: str,
    question: PublishedQuestion,
    accelerators: Sequence[PublishedAccelerator],
    rows: Sequence[PublishedRow],
    *,
    points: Mapping[str, int] | None = None,
) -> Report[PublishedRow]:
    model, draft = question.model, question.draft
    names = ",".join(accelerator.name for accelerator in accelerators)
    drafting = f", drafted by {draft.name} at {question.acceptance:g}" if draft else ""
    demand = question.demand_tok_per_s

    return Report(
        kind=kind,
        title=(
            f"{model.name} with {model.weight_bits:g}-bit weights on {names}, context "
            f"{question.context_tokens:g} tokens{drafting}, as published"
        ),
        question={
            "model": model.name,
            "on": names,
            "weight_bits": model.weight_bits,
            "context_tokens": question.context_tokens,
            "demand_tok_per_s": demand if np.isfinite(demand) else None,
            "draft": draft.name if draft else None,
            "acceptance": question.acceptance if draft else None,
            "pipeline": question.pipeline,
        },
        rows=tuple(rows),
        marks=points or {},
        notes=(NOTE,),
        sources={"model of time": "arXiv 2506.04645 and its program of 27 May 2025"},
        charts=(CHART,) if points else (),
    )
