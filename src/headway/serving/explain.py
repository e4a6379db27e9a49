"""Where the time of a served token goes, and what would change it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from headway.errors import InputError
from headway.hardware.cluster import Cluster
from headway.report.column import column
from headway.report.report import Report
from headway.serving.answer_doubt import AnswerDoubt
from headway.serving.closed_loop import ClosedLoop
from headway.serving.load_steps import load_steps
from headway.serving.load_times import load_times
from headway.serving.quantity import Quantity, span
from headway.serving.served_load import serve_loop
from headway.steptime.calibrated import CalibratedStepTime
from headway.steptime.deployment import Deployment
from headway.steptime.engine_version import fastest_step_s
from headway.steptime.kernel_coefficients import AT, NAMES
from headway.steptime.step_time import RequestOverhead
from headway.steptime.worktable import drafting_s, price, tabulate


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedRow:
    """One part of the time of a token, or one change and what it would give."""

    concurrency: int | float | None = column(
        "at once", "requests in the system, where there are several loads", default=None
    )
    part: str = column("part", "where the time goes, or what is changed", default="")
    seconds: float | None = column(
        "time", "per output token, alone", unit="ms", scale=1e3, default=None
    )
    share: float | None = column("share", "of the whole", unit="%", scale=100, default=None)
    ttft_change: float | None = column(
        "TTFT", "change of the time to first token", unit="%", scale=100, default=None
    )
    tpot_change: float | None = column(
        "TPOT", "change of the time per output token", unit="%", scale=100, default=None
    )
    throughput_change: float | None = column(
        "throughput", "change of tokens/s per accelerator", unit="%", scale=100, default=None
    )


def explain(
    deployment: Deployment, loop: ClosedLoop, tpot_s: Quantity, doubt: AnswerDoubt
) -> Report[ExplainedRow]:
    """Return where the time of a token goes, and what would change it.

    Raises:
        InputError: no measured engine runs the deployment, or the question holds arrays.

    """
    if deployment.parallelism.tp.ndim:
        raise InputError("an explanation takes one layout, not several")
    rows: list[ExplainedRow] = []
    for load in (loads := list(loop.each())):
        at_once = float(load.concurrency)
        number = None if len(loads) == 1 else int(at_once) if at_once.is_integer() else at_once
        own = (*parts_of(deployment, load), *changes_of(deployment, load))
        rows += [replace(row, concurrency=number) for row in own]

    return Report(
        kind="explanation",
        title=f"{deployment}: {span(tpot_s.expected * 1e3, 3)} ms per output token",
        question={
            "deployment": str(deployment),
            "prompt_tokens": span(loop.prompt_tokens),
            "output_tokens": span(loop.output_tokens),
            "concurrency": span(loop.concurrency),
            "cached_fraction": span(loop.cached_fraction),
        },
        rows=tuple(rows),
        notes=(
            *_intervals(loads, tpot_s),
            f"basis {doubt.basis.value}: {doubt.words}",
            "operators are those of a decode step; within one, arithmetic and memory overlap",
        ),
        sources=deployment.cluster.citations,
    )


def _intervals(loads: Sequence[ClosedLoop], tpot_s: Quantity) -> Iterator[str]:
    """Yield between what the time per token lies, for every load."""
    ends = (np.ravel(end * 1e3) for end in (tpot_s.lower, tpot_s.upper))
    for load, lower, upper in zip(loads, *ends, strict=True):
        at_once = f", {float(load.concurrency):g} at once" if len(loads) > 1 else ""
        yield f"10-90% of the time per token{at_once}: {lower:.3g} to {upper:.3g} ms"


def parts_of(deployment: Deployment, loop: ClosedLoop) -> list[ExplainedRow]:
    """Return the time per output token by operator, exchanges, launches, engine, others' prompts.

    A step's operators are those of a pure decode step; all that mixed steps take beyond it is
    one part.
    """
    served, model = serve_loop(deployment, loop), _calibrated(deployment)
    theta, step = model.coefficients, load_steps(deployment, loop).decode
    stretch = float(model.stretch(step))
    table = tabulate(deployment, step)
    priced = price(table, theta, stretch).at_least(fastest_step_s(model.engine))

    # Operators of one name, in all groups of layers and in the draft, are one part.
    seconds: dict[str, float] = {}
    num_own = len(replace(deployment, drafting=None).forward(step).ops)
    for place, op in enumerate(deployment.forward(step).ops):
        name = op.name if place < num_own else "draft"
        seconds[name] = seconds.get(name, 0.0) + float(np.ravel(priced.operators_s)[place])

    drafts_s = float(drafting_s(deployment, step))
    waits_s = float(table.exchanges * theta[AT["exchange_s"]] + table.waiting_s) - drafts_s
    seconds["kernel launches"] = float(priced.latency_s) - (waits_s + drafts_s) * stretch
    seconds["drafting, engine"] = drafts_s * stretch
    seconds["exchanges, latency"] = waits_s * stretch
    seconds["exchanges, bandwidth"] = float(priced.network_s)
    seconds["engine, per step and sequence"] = float(priced.engine_s)

    # A step yields several tokens where drafts are accepted.
    tokens_per_pass = float(served.shape.tokens_per_pass)
    per_token = {name: value / tokens_per_pass for name, value in seconds.items()}
    whole_s = float(served.times.tpot_s)
    step_s = float(served.times.decode_step_s) / tokens_per_pass
    per_token["prompts of others"] = max(whole_s - step_s, 0.0)
    return [
        ExplainedRow(part=name, seconds=value, share=value / whole_s)
        for name, value in sorted(per_token.items(), key=lambda item: -item[1])
        if value > 0
    ]


def changes_of(deployment: Deployment, loop: ClosedLoop) -> list[ExplainedRow]:
    """Return what better hardware or a better engine would give, best for the tokens first."""
    clusters = {
        "memory bandwidth x2": _with_rates(deployment.cluster, memory=2.0),
        "arithmetic x2": _with_rates(deployment.cluster, arithmetic=2.0),
        "link bandwidth x2": _with_links(deployment.cluster, 2.0),
        "memory x2": _with_memory(deployment.cluster, 2.0),
    }
    after = {
        name: serve_loop(replace(deployment, cluster=cluster), loop).times
        for name, cluster in clusters.items()
    }

    # All launches and engine overheads halved: these are the coefficients in seconds.
    model = _calibrated(deployment)
    halved = model.coefficients * np.array([0.5 if name.endswith("_s") else 1.0 for name in NAMES])
    steps = load_steps(deployment, loop)
    decode_s, mixed_s = (
        price(tabulate(deployment, step), halved, model.stretch(step)).total_s
        for step in (steps.decode, steps.mixed)
    )
    overhead = RequestOverhead(
        fixed_s=halved[AT["request_s"]],
        prompt_token_s=halved[AT["prompt_token_s"]],
        held_steps=halved[AT["held_steps"]],
    )
    after["launches and engine overheads / 2"] = load_times(
        steps.shape, decode_s, mixed_s, overhead
    )

    before = serve_loop(deployment, loop).times
    return [
        ExplainedRow(
            part=f"with {name}",
            ttft_change=float(times.ttft_s / before.ttft_s - 1),
            tpot_change=float(times.tpot_s / before.tpot_s - 1),
            throughput_change=float(times.requests_per_s / before.requests_per_s - 1),
        )
        for name, times in sorted(after.items(), key=lambda item: float(item[1].tpot_s))
    ]


def _calibrated(deployment: Deployment) -> CalibratedStepTime:
    model = deployment.step_time_model
    if not isinstance(model, CalibratedStepTime):
        raise InputError("only a measured engine's time can be explained; name one with --engine")
    return model


def _with_rates(cluster: Cluster, memory: float = 1.0, arithmetic: float = 1.0) -> Cluster:
    chip = cluster.accelerator
    faster = replace(
        chip,
        memory_bandwidth_bytes_per_s=chip.memory_bandwidth_bytes_per_s * memory,
        peak_flops_per_s={k: v * arithmetic for k, v in chip.peak_flops_per_s.items()},
    )
    return replace(cluster, accelerator=faster)


def _with_links(cluster: Cluster, factor: float) -> Cluster:
    links = tuple(
        replace(link, bandwidth_bytes_per_s=link.bandwidth_bytes_per_s * factor)
        for link in cluster.links
    )
    return replace(cluster, links=links)


def _with_memory(cluster: Cluster, factor: float) -> Cluster:
    chip = cluster.accelerator
    return replace(cluster, accelerator=replace(chip, memory_bytes=chip.memory_bytes * factor))
