"""What a run says about a server, each figure with how sure it is.

Latencies count from when a request was due, not from when it was sent: a generator that falls
behind must not hide it in the server's favour (coordinated omission). Intervals of means come from
batch means, since neighbours in a queue are alike; those of quantiles from order statistics, and
where too few were seen for 99% there is none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from headway.load.answer import Outcome
from headway.report.report import Value
from headway.workload.aggregate import mean_interval, quantile_interval
from headway.workload.record import Floats
from headway.workload.request import Slo

QUANTILES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))


def figures(name: str, values: Floats) -> dict[str, Value]:
    """Mean, quantiles and maximum of ``values``, called ``name``, with their intervals."""
    row: dict[str, Value] = {}
    known = values[np.isfinite(values)]
    interval = mean_interval(known) if len(known) else None
    row[f"{name}_mean_s"] = float(known.mean()) if len(known) else None
    row[f"{name}_mean_lower_s"] = interval[0] if interval else None
    row[f"{name}_mean_upper_s"] = interval[1] if interval else None
    ordered = np.sort(known)
    for which, level in QUANTILES:
        value = float(np.quantile(ordered, level)) if len(ordered) else None
        around = quantile_interval(ordered, level) if len(ordered) else None
        row[f"{name}_{which}_s"] = value
        row[f"{name}_{which}_lower_s"] = around[0] if around else None
        row[f"{name}_{which}_upper_s"] = around[1] if around else None
    row[f"{name}_max_s"] = float(ordered[-1]) if len(ordered) else None
    return row


def measured(outcome: Outcome, slo: Slo | None = None) -> dict[str, Value]:
    """Every figure of a run: TTFT, ITL, TPOT, e2e, rates, goodput, and the generator's lateness."""
    answers = outcome.answers
    records = [answer.record(outcome.start_s) for answer in answers]
    done = [record for record in records if record.status == "done"]
    gaps: list[float] = []
    for answer in answers:
        if not answer.problem:
            gaps.extend(np.diff(answer.token_s).tolist())
    first = min((a.due_s for a in answers), default=0.0)
    last = max((a.token_s[-1] for a in answers if a.token_s), default=first)
    span_s = max(last - first, 1e-9)
    row: dict[str, Value] = {
        "requests": len(answers),
        "failed": len(answers) - len(done),
        "duration_s": span_s,
        "requests_per_s": len(done) / span_s,
        "output_tok_per_s": sum(r.output_tokens for r in done) / span_s,
        "prompt_tok_per_s": sum(r.prompt_tokens for r in done) / span_s,
    }
    if slo is not None:
        good = sum(
            all(
                limit is None or value is None or value <= limit
                for limit, value in (
                    (slo.ttft_s, r.ttft_s), (slo.tpot_s, r.tpot_s), (slo.e2e_s, r.e2e_s),
                )
            )
            for r in done
        )  # fmt: skip
        row["goodput_requests_per_s"] = good / span_s
        row["slo_attainment"] = good / len(answers) if answers else None
    row |= figures("ttft", _column([r.ttft_s for r in done]))
    row |= figures("itl", _column(gaps))
    row |= figures("tpot", _column([r.tpot_s for r in done]))
    row |= figures("e2e", _column([r.e2e_s for r in done]))
    late = _column([a.late_s for a in answers])
    for which, level in (*QUANTILES, ("max", 1.0)):
        row[f"late_{which}_s"] = float(np.quantile(late, level)) if len(late) else None
    return row


def problems(outcome: Outcome) -> dict[str, int]:
    """How often which problem came up, the most frequent first."""
    counts: dict[str, int] = {}
    for answer in outcome.answers:
        if answer.problem:
            counts[answer.problem] = counts.get(answer.problem, 0) + 1
    return dict(sorted(counts.items(), key=lambda pair: -pair[1]))


def _column(values: Sequence[float | None]) -> Floats:
    return np.array([math.nan if v is None else v for v in values], dtype=np.float64)
