"""Answers of the published model as reports of the same form as our own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from headway.errors import DoesNotFitError
from headway.frontier.answer import mark
from headway.papers.erdil_2025.accelerators import PublishedAccelerator
from headway.papers.erdil_2025.forward import Choices, TokenLatency, token_latency
from headway.papers.erdil_2025.frontier import frontier as search
from headway.papers.erdil_2025.models import PublishedModel
from headway.papers.erdil_2025.passes import ForwardPass
from headway.papers.erdil_2025.speculative import (
    Speculation,
    expected_tokens,
    speculative_latency_s,
)
from headway.report.report import Report, Row, Value
from headway.units import GB

Floats = NDArray[np.float64]

NOTE = (
    "the published model (Erdil 2025, arXiv 2506.04645) as its program computes it: fractional "
    "degrees, its own efficiencies and prices, no interval"
)


@dataclass(frozen=True, slots=True)
class PublishedQuestion:
    """A model in the paper's quantities, and what may be chosen."""

    model: PublishedModel
    context_tokens: float = 0.0
    draft: PublishedModel | None = None
    acceptance: float = 0.8
    demand_tok_per_s: float = np.inf
    pipeline: bool = True


def frontier(question: PublishedQuestion, accelerators: Sequence[PublishedAccelerator]) -> Report:
    """The published frontier on each accelerator."""
    rows: list[Row] = []
    for accelerator in accelerators:
        found = search(
            question.model,
            accelerator,
            context_tokens=question.context_tokens,
            choices=Choices(pipeline=question.pipeline),
            draft=question.draft,
            acceptance=question.acceptance,
            demand_cap_tokens_per_s=question.demand_tok_per_s,
        )
        rows += _rows(
            question, accelerator, found.num_accelerators, found.batch, found.drafted_tokens
        )
    marked, marks = mark(rows)
    return _report("frontier", question, accelerators, marked, marks)


def estimate(
    question: PublishedQuestion,
    accelerator: PublishedAccelerator,
    num_accelerators: float,
    batch: float,
) -> Report:
    """One point of the published model at the best variant that it finds.

    Raises:
        DoesNotFitError: where weights and cache exceed the memory, as the program counts it.
    """
    n, b = np.array([float(num_accelerators)]), np.array([float(batch)])
    drafted = np.ones(1, dtype=np.int16)
    plain = ForwardPass(question.model, accelerator, question.context_tokens)
    if question.draft is not None:
        speculation = Speculation(plain, question.draft, question.acceptance)
        _, drafted = speculative_latency_s(n, b, speculation, Choices(question.pipeline))
    latency = _latency(question, accelerator, n, b, 1)
    if not np.isfinite(latency.total_s[0]):
        model = question.model
        held = model.weights_total_bytes
        held += model.kv_bytes_per_token * question.context_tokens * batch
        missing = held - num_accelerators * accelerator.memory_bytes
        raise DoesNotFitError(
            f"{model.name} with {batch:g} sequences of {question.context_tokens:g} tokens lacks "
            f"{missing / GB:.1f} GB on {num_accelerators:g} {accelerator.name}; use more",
            missing,
        )
    rows = _rows(question, accelerator, n, b, drafted)
    return _report("estimate", question, [accelerator], rows, {})


def _latency(
    question: PublishedQuestion,
    accelerator: PublishedAccelerator,
    n: Floats,
    b: Floats,
    query_tokens: int,
) -> TokenLatency:
    return token_latency(
        n,
        b,
        question.model,
        accelerator,
        question.context_tokens,
        query_tokens,
        Choices(pipeline=question.pipeline),
    )


def _rows(
    question: PublishedQuestion,
    accelerator: PublishedAccelerator,
    num_accelerators: Floats,
    batch: Floats,
    drafted_tokens: NDArray[np.int16],
) -> list[Row]:
    """Describe points with the parts of their pass, drafting included."""
    rows: list[Row | None] = [None] * batch.size
    for count in np.unique(drafted_tokens):
        at = np.flatnonzero(drafted_tokens == count)
        n, b, drafted = num_accelerators[at], batch[at], int(count)
        verify = _latency(question, accelerator, n, b, drafted)
        draft: TokenLatency | None = None
        tokens = 1.0
        if drafted > 1 and question.draft is not None:
            tokens = expected_tokens(question.acceptance, drafted)
            draft = _latency(replace(question, model=question.draft), accelerator, n, b, 1)
        for j, i in enumerate(at):
            rows[i] = _row(
                question, accelerator, float(n[j]), float(b[j]), drafted, tokens, verify, draft, j
            )
    return [row for row in rows if row is not None]


def _row(
    question: PublishedQuestion,
    accelerator: PublishedAccelerator,
    n: float,
    b: float,
    drafted: int,
    tokens: float,
    verify: TokenLatency,
    draft: TokenLatency | None,
    j: int,
) -> Row:
    def part(name: str) -> float:
        own = float(getattr(verify, name)[j])
        return own if draft is None else own + drafted * float(getattr(draft, name)[j])

    step_s = part("total_s")
    parts = {
        "arithmetic": part("arithmetic_s"),
        "memory": part("memory_s"),
        "network": part("network_s"),
        "latency": part("launch_s"),
    }
    flops = question.model.flops(question.context_tokens, 1) * b * tokens
    peak = accelerator.peak_for(question.model.weight_bits)
    depth = float(verify.pipeline_depth[j])
    unknown: dict[str, Value] = dict.fromkeys(
        (
            "tok_per_s_per_user_lower",
            "tok_per_s_per_user_upper",
            "usd_per_mtok_lower",
            "usd_per_mtok_upper",
            "mbu",
        )
    )
    return {
        "accelerator": accelerator.name,
        "model": question.model.name,
        "tok_per_s_per_user": tokens / step_s,
        "usd_per_mtok": n * step_s / (b * tokens) * accelerator.usd_per_hour / 3600 * 1e6,
        **unknown,
        "num_accelerators": n,
        "tp": n / depth,
        "pp": depth,
        "dp": 1,
        "ep": None,
        "rows": None,
        "two_dimensional": bool(verify.two_dimensional[j]),
        "attention_scale_down": float(verify.attention_scale_down[j]),
        "batch": b,
        "draft_tokens": drafted if draft is not None else 0,
        "draft_tp": n if draft is not None else None,
        "draft_placement": "same accelerators" if draft is not None else None,
        "tokens_per_pass": tokens,
        "mfu": flops / (step_s * n * peak),
        "binds": max(parts, key=lambda name: parts[name]),
        "step_s": step_s,
        **{f"{name}_s": seconds for name, seconds in parts.items()},
        "basis": "assumed",
    }


def _report(
    kind: str,
    question: PublishedQuestion,
    accelerators: Sequence[PublishedAccelerator],
    rows: Sequence[Row],
    marks: Mapping[str, int],
) -> Report:
    model, draft = question.model, question.draft
    names = ",".join(accelerator.name for accelerator in accelerators)
    demand = question.demand_tok_per_s
    return Report(
        kind=kind,
        title=(
            f"{model.name} with {model.weight_bits:g}-bit weights on {names}, context "
            f"{question.context_tokens:g} tokens"
            + (f", drafted by {draft.name} at {question.acceptance:g}" if draft else "")
            + ", as published"
        ),
        question={
            "as": "erdil-2025",
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
        marks=marks,
        notes=(NOTE,),
        sources={"model of time": "arXiv 2506.04645 and its program of 27 May 2025"},
    )
