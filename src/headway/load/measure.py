"""What a run says about a server, each figure with how sure it is.

Latencies count from when a request was due, not from when it was sent: a generator that falls
behind must not hide it in the server's favour (coordinated omission). How far it fell behind stands
beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from headway.load.answer import Outcome
from headway.report.chart import Chart
from headway.report.column import column
from headway.report.estimate import Estimate
from headway.workload.aggregate import Latency, RequestSummary, latency_fields, mean_interval
from headway.workload.record import DONE, Floats, Records, RequestRecord
from headway.workload.request import Slo

LATE_QUANTILES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0))


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a server was asked."""

    server: str = column("server", "whom the load asked", default="")
    concurrency: int | None = column(
        "concurrency", "requests kept under way (closed loop)", default=None
    )
    rate_rps: float | None = column("sent/s", "requests sent per second (open loop)", default=None)


@dataclass(frozen=True, kw_only=True)
class LoadRow(RequestSummary, Setting):
    """A server under one load."""

    span_s: float = column("span", "first due time to last token", unit="s", detail=True)
    prompt_tok_per_s: float = column(
        "prompt tok/s", "prompt tokens of ended requests per second", detail=True
    )
    itl_mean_s: Latency = column(
        "ITL", "gaps between tokens, mean over all gaps", unit="ms", scale=1e3, detail=True
    )
    itl_p50_s: Latency = column("ITL p50", "median gap", unit="ms", scale=1e3, detail=True)
    itl_p90_s: Latency = column("ITL p90", "90% below", unit="ms", scale=1e3, detail=True)
    itl_p99_s: Latency = column("ITL p99", "99% of gaps below", unit="ms", scale=1e3)
    itl_max_s: Latency = column("ITL max", "longest gap", unit="ms", scale=1e3, detail=True)
    ttft_p95_s: float | None = column(
        "TTFT p95", "95% below", unit="ms", scale=1e3, detail=True, default=None
    )
    ttft_p999_s: float | None = column(
        "TTFT p99.9", "999 of 1000 below", unit="ms", scale=1e3, detail=True, default=None
    )
    tpot_p95_s: float | None = column(
        "TPOT p95", "95% below", unit="ms", scale=1e3, detail=True, default=None
    )
    e2e_p95_s: float | None = column("e2e p95", "95% below", unit="s", detail=True, default=None)
    e2e_p999_s: float | None = column(
        "e2e p99.9", "999 of 1000 below", unit="s", detail=True, default=None
    )
    cancelled: int = column(
        "cancelled", "requests whose client went away, as planned", default=0, detail=True
    )
    overloaded: str | None = column(
        "overloaded", "whether requests came faster than the server answers them (open loop)",
        default=None,
    )  # fmt: skip
    late_p50_s: float | None = column(
        "late p50", "median delay of sending", unit="ms", scale=1e3, detail=True
    )
    late_p90_s: float | None = column("late p90", "90% below", unit="ms", scale=1e3, detail=True)
    late_p99_s: float | None = column(
        "late p99", "how much later than due requests were sent: the generator's own fault",
        unit="ms", scale=1e3, digits=2,
    )  # fmt: skip
    late_max_s: float | None = column(
        "late max", "longest delay of sending", unit="ms", scale=1e3, detail=True
    )
    against_pairs: int | None = column(
        "pairs", "requests that both servers answered", default=None, detail=True
    )
    against_ttft: Latency = column(
        "TTFT vs other", "mean difference over the other server's mean TTFT, paired",
        unit="%", scale=100, default=None,
    )  # fmt: skip
    against_tpot: Latency = column(
        "TPOT vs other", "mean difference over the other server's mean TPOT, paired",
        unit="%", scale=100, default=None,
    )  # fmt: skip
    against_e2e: Latency = column(
        "e2e vs other", "mean difference over the other server's mean e2e, paired",
        unit="%", scale=100, default=None,
    )  # fmt: skip


SWEEP_CHARTS = tuple(
    Chart(
        x="output_tok_per_s",
        y=name,
        series="server",
        details=("rate_rps", "concurrency", "overloaded"),
        legend=legend,
        log=False,
    )
    for name, legend in (
        ("ttft_p90_s", "a point a level: how long nine of ten wait at most for the first token"),
        ("tpot_p90_s", "a point a level: time per token of nine in ten requests at most"),
    )
)


def summarize(
    outcome: Outcome,
    slo: Slo | None = None,
    *,
    server: str = "",
    concurrency: int | None = None,
    rate_rps: float | None = None,
    is_overloaded: bool | None = None,
    other: Outcome | None = None,
) -> LoadRow:
    """Return every figure of a run, against the run of an ``other`` server if that is given."""
    # Whoever went away as planned is no failure of the server's, and tells of none of its times.
    num_cancelled = sum(answer.is_cancelled for answer in outcome.answers)
    if num_cancelled:
        outcome = outcome.without_cancelled()
    answers = outcome.answers
    complete = [answer for answer in answers if not answer.problem]
    gaps_s = np.concatenate([np.zeros(0), *(np.diff(answer.token_s) for answer in complete)])
    late_s = np.array([answer.late_s for answer in answers])

    # Rates are over the time in which anything came, failures included.
    first_s = min((a.due_s for a in answers), default=0.0)
    last_s = max((a.token_s[-1] for a in answers if a.token_s), default=first_s)
    span_s = max(last_s - first_s, 1e-9)

    records = Records.of(outcome.records)
    return LoadRow.of(
        records,
        slo if slo != Slo() else None,
        intervals=True,
        duration_s=span_s,
        span_s=span_s,
        prompt_tok_per_s=sum(answer.prompt_tokens for answer in complete) / span_s,
        server=server,
        concurrency=concurrency,
        rate_rps=rate_rps,
        cancelled=num_cancelled,
        overloaded=None if is_overloaded is None else "yes" if is_overloaded else "no",
        **_further_quantiles(records),
        **latency_fields("itl", gaps_s, intervals=True),
        **{
            f"late_{name}_s": float(np.quantile(late_s, level)) if len(late_s) else None
            for name, level in LATE_QUANTILES
        },
        **({} if other is None else paired_differences(outcome, other)),
    )


FURTHER_QUANTILES = (
    ("ttft_p95_s", "ttft_s", 0.95), ("ttft_p999_s", "ttft_s", 0.999),
    ("tpot_p95_s", "tpot_s", 0.95),
    ("e2e_p95_s", "e2e_s", 0.95), ("e2e_p999_s", "e2e_s", 0.999),
)  # fmt: skip


def _further_quantiles(records: Records) -> dict[str, float | None]:
    """Return quantiles beside those of every summary; none where too few answers could tell."""
    figures: dict[str, float | None] = {}
    for name, column_name, level in FURTHER_QUANTILES:
        values = getattr(records, column_name)
        values = values[np.isfinite(values)]
        is_enough = len(values) >= 1 / (1 - level)
        figures[name] = float(np.quantile(values, level)) if is_enough else None
    return figures


_LATENCIES: tuple[tuple[str, Callable[[RequestRecord], float | None]], ...] = (
    ("ttft", lambda record: record.ttft_s),
    ("tpot", lambda record: record.tpot_s),
    ("e2e", lambda record: record.e2e_s),
)


def paired_differences(ours: Outcome, theirs: Outcome) -> dict[str, Any]:
    """Return how ``ours`` differs from ``theirs``, as the ``against_`` fields of a `LoadRow`.

    Means of paired differences, with 95% intervals of batch means. A request of one is paired with
    the same of the other, so that what makes requests differ drops out; those that failed at either
    are left out and counted.
    """
    pairs = [
        (mine, other)
        for mine, other in zip(ours.records, theirs.records, strict=True)
        if mine.status == other.status == DONE
    ]
    differences: dict[str, Any] = {"against_pairs": len(pairs)}
    for name, latency_of in _LATENCIES:
        values = [(latency_of(mine), latency_of(other)) for mine, other in pairs]
        both_s = np.array([(a, b) for a, b in values if a is not None and b is not None])
        if len(both_s):
            scale_s = float(both_s[:, 1].mean())
            relative = (both_s[:, 0] - both_s[:, 1]) / scale_s
            differences[f"against_{name}"] = _mean_of(relative)
    return differences


def _mean_of(values: Floats) -> Latency:
    mean, interval = float(values.mean()), mean_interval(values)
    if interval is None:
        return mean
    lower, upper = min(interval[0], mean), max(interval[1], mean)
    return Estimate(mean, lower, upper, level=0.95, basis="measured")


def difference_text(row: LoadRow) -> str:
    """Return in words how a server differs from the other."""
    parts = []
    for name, value in (
        ("TTFT", row.against_ttft),
        ("TPOT", row.against_tpot),
        ("e2e", row.against_e2e),
    ):
        if isinstance(value, Estimate):
            parts.append(f"{name} {value.expected:+.1%} [{value.lower:+.1%}, {value.upper:+.1%}]")
        elif value is not None:
            parts.append(f"{name} {value:+.1%}")
    level = "" if row.concurrency is None else f" at concurrency {row.concurrency}"
    return f"{', '.join(parts)}{level}, over {row.against_pairs} pairs"
