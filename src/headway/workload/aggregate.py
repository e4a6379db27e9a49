"""What good is, over many requests: means, quantiles, goodput, and differences with their doubt."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headway.errors import InputError
from headway.workload.record import Bools, Floats, Records
from headway.workload.request import Slo

QUANTILES = (("p50", 50.0), ("p90", 90.0), ("p99", 99.0))


def statistics(values: Floats) -> dict[str, float | None]:
    """Mean, P50, P90, P99 and maximum of what is not NaN; ``None`` where nothing is left."""
    known = values[np.isfinite(values)]
    if len(known) == 0:
        return {"mean": None, **{name: None for name, _ in QUANTILES}, "max": None}
    quantiles = np.percentile(known, [q for _, q in QUANTILES])
    return {
        "mean": float(known.mean()),
        **{name: float(v) for (name, _), v in zip(QUANTILES, quantiles, strict=True)},
        "max": float(known.max()),
    }


def meets(records: Records, slo: Slo) -> Bools:
    """Which requests ended and met every stated objective."""
    good = records.done.copy()
    for limit, values in (
        (slo.ttft_s, records.ttft_s),
        (slo.tpot_s, records.tpot_s),
        (slo.e2e_s, records.e2e_s),
    ):
        if limit is not None:
            # A single token has no TPOT, and so meets any.
            good &= ~(values > limit)
    return good


def span_s(records: Records) -> float:
    """First arrival to last token; at least a nanosecond."""
    done = records.last_s[records.done]
    if len(done) == 0:
        return 1e-9
    return max(float(done.max() - records.arrival_s.min()), 1e-9)


def summary(
    records: Records, alone_s: Floats | None = None, slo: Slo | None = None
) -> dict[str, float | None]:
    """Statistics of TTFT, TPOT, e2e and slowdown; throughput; goodput.

    Args:
        records: what happened.
        alone_s: e2e of every request on an empty replica, for the slowdown.
        slo: objectives, for the goodput.

    """
    row: dict[str, float | None] = {}
    columns = [("ttft", "_s", records.ttft_s), ("tpot", "_s", records.tpot_s)]
    columns.append(("e2e", "_s", records.e2e_s))
    if alone_s is not None:
        columns.append(("slowdown", "", records.e2e_s / alone_s))
    for name, unit, values in columns:
        for which, value in statistics(values).items():
            row[f"{name}_{which}{unit}"] = value
    span, done = span_s(records), records.done
    row["requests_per_s"] = float(done.sum()) / span
    row["output_tok_per_s"] = float(records.output_tokens[done].sum()) / span
    if slo is not None:
        row["goodput_requests_per_s"] = float(meets(records, slo).sum()) / span
        row["slo_attainment"] = float(meets(records, slo).mean())
    row["requests"] = float(len(records))
    row["requests_unfinished"] = float((~done).sum())
    return row


@dataclass(frozen=True, slots=True)
class Difference:
    """A mean difference with the ends of its 95% confidence interval."""

    mean: float
    lower: float
    upper: float

    @property
    def significant(self) -> bool:
        """Whether 0 lies outside."""
        return self.lower > 0 or self.upper < 0


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """Relative difference ``ours / theirs - 1`` over paired runs, by Student's t.

    Pairs share their seed, so that what the seed did to both drops out. One pair has no interval:
    it is infinite.
    """
    if len(ours) != len(theirs) or not ours:
        raise InputError("a paired difference needs as many runs of one as of the other")
    relative = np.asarray(ours, dtype=np.float64) / np.asarray(theirs, dtype=np.float64) - 1
    mean, n = float(relative.mean()), len(relative)
    if n == 1:
        return Difference(mean, -math.inf, math.inf)
    half = t_quantile(n - 1) * float(relative.std(ddof=1)) / math.sqrt(n)
    return Difference(mean, mean - half, mean + half)


def t_quantile(degrees: int) -> float:
    """The 97.5% quantile of Student's t (Abramowitz and Stegun 26.7.5; exact for 1 and 2)."""
    if degrees == 1:
        return 12.706204736432095
    if degrees == 2:
        return 4.302652729911275
    z, n = 1.959963984540054, float(degrees)
    g1 = (z**3 + z) / 4
    g2 = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    g3 = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    g4 = (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160
    return z + g1 / n + g2 / n**2 + g3 / n**3 + g4 / n**4


def averaged(rows: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """The mean over runs of every figure; ``None`` where any run lacks it."""
    mean: dict[str, float | None] = {}
    for key in rows[0]:
        values = [row[key] for row in rows]
        known = [v for v in values if v is not None]
        mean[key] = sum(known) / len(known) if len(known) == len(values) else None
    return mean
