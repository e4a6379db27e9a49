"""What good is, over many requests: means, quantiles, goodput, and differences with their doubt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from headway.errors import InputError
from headway.report.column import column
from headway.report.estimate import Estimate
from headway.workload.record import Bools, Floats, Records
from headway.workload.request import Slo

QUANTILES = (("p50", 50.0), ("p90", 90.0), ("p99", 99.0))
MAX_BATCHES = 20  # of neighbours, for the interval of a mean
MIN_FOR_INTERVAL = 10
Z_99 = 2.5758293035489

Latency = Estimate | float | None


@dataclass(frozen=True, kw_only=True)
class RequestSummary:
    """What became of many requests; rows of simulations, loads and records extend it.

    Latencies are those of requests that ended with their last token, ``None`` where there is none.
    Measured ones are estimates: 95% intervals of means from batch means (neighbours in a queue are
    alike), 99% intervals of quantiles from order statistics.
    """

    requests: int = column("requests", "requests that came", digits=6)
    unfinished: int = column("unfinished", "requests that were refused, failed or did not end")
    requests_per_s: float = column(
        "done/s", "requests that ended per second, first arrival to last token"
    )
    output_tok_per_s: float = column("tok/s", "output tokens of ended requests per second")
    goodput_requests_per_s: float | None = column(
        "good/s", "requests per second that met every stated objective"
    )
    slo_attainment: float | None = column(
        "met", "share of requests that met every stated objective", unit="%", scale=100
    )
    ttft_mean_s: Latency = column("TTFT", "arrival to first token, mean", unit="ms", scale=1e3)
    ttft_p50_s: Latency = column("TTFT p50", "median TTFT", unit="ms", scale=1e3, detail=True)
    ttft_p90_s: Latency = column("TTFT p90", "90% below", unit="ms", scale=1e3, detail=True)
    ttft_p99_s: Latency = column("TTFT p99", "99% below", unit="ms", scale=1e3)
    ttft_max_s: Latency = column("TTFT max", "longest TTFT", unit="ms", scale=1e3, detail=True)
    tpot_mean_s: Latency = column(
        "TPOT", "(e2e - TTFT) / (output tokens - 1), mean over requests", unit="ms", scale=1e3
    )
    tpot_p50_s: Latency = column("TPOT p50", "median TPOT", unit="ms", scale=1e3, detail=True)
    tpot_p90_s: Latency = column("TPOT p90", "90% below", unit="ms", scale=1e3, detail=True)
    tpot_p99_s: Latency = column("TPOT p99", "99% below", unit="ms", scale=1e3, detail=True)
    tpot_max_s: Latency = column("TPOT max", "longest TPOT", unit="ms", scale=1e3, detail=True)
    e2e_mean_s: Latency = column("e2e", "arrival to last token, mean", unit="s")
    e2e_p50_s: Latency = column("e2e p50", "median e2e", unit="s", detail=True)
    e2e_p90_s: Latency = column("e2e p90", "90% below", unit="s", detail=True)
    e2e_p99_s: Latency = column("e2e p99", "99% below", unit="s")
    e2e_max_s: Latency = column("e2e max", "longest e2e", unit="s", detail=True)

    @classmethod
    def of(
        cls,
        records: Records,
        slo: Slo | None = None,
        *,
        intervals: bool = False,
        duration_s: float | None = None,
        **more: Any,
    ) -> Self:
        """Return the summary of ``records``.

        Args:
            records: one row a request, in the order of arrival.
            slo: limits of each request, for goodput and attainment; ``None`` for neither.
            intervals: whether latencies carry intervals, as measurements do.
            duration_s: what rates are over; `span_s` by default.
            more: the fields that a row type adds to these.

        """
        seconds = span_s(records) if duration_s is None else duration_s
        num_done = int(records.done.sum())
        num_good = None if slo is None else int(meets(records, slo).sum())
        good_share = None if num_good is None or not len(records) else num_good / len(records)

        return cls(
            requests=len(records),
            unfinished=len(records) - num_done,
            requests_per_s=num_done / seconds,
            output_tok_per_s=float(records.output_tokens[records.done].sum()) / seconds,
            goodput_requests_per_s=None if num_good is None else num_good / seconds,
            slo_attainment=good_share,
            **latency_fields("ttft", records.ttft_s, intervals=intervals),
            **latency_fields("tpot", records.tpot_s, intervals=intervals),
            **latency_fields("e2e", records.e2e_s, intervals=intervals),
            **more,
        )


def latency_fields(name: str, values: Floats, *, intervals: bool = False) -> dict[str, Any]:
    """Return the five fields ``{name}_mean_s`` to ``{name}_max_s`` of a row.

    Args:
        name: of the quantity.
        values: (requests,) in the order of arrival; NaN where a request has none.
        intervals: whether means and quantiles carry their intervals.

    """
    present = values[np.isfinite(values)]
    figures: dict[str, Any] = {f"{name}_{which}_s": v for which, v in statistics(present).items()}
    if not intervals or not len(present):
        return figures

    figures[f"{name}_mean_s"] = _estimate(figures[f"{name}_mean_s"], mean_interval(present), 0.95)
    ordered = np.sort(present)
    for which, percent in QUANTILES:
        ends = quantile_interval(ordered, percent / 100)
        figures[f"{name}_{which}_s"] = _estimate(figures[f"{name}_{which}_s"], ends, 0.99)
    return figures


def _estimate(value: float, ends: tuple[float, float] | None, level: float) -> Latency:
    if ends is None:
        return value
    return Estimate(value, min(ends[0], value), max(ends[1], value), level, basis="measured")


def mean_interval(values: Floats) -> tuple[float, float] | None:
    """Return the ends of the 95% interval of the mean, by batch means; ``values`` as they came."""
    if len(values) < MIN_FOR_INTERVAL:
        return None
    num_batches = min(MAX_BATCHES, len(values) // 2)
    means = np.array([part.mean() for part in np.array_split(values, num_batches)])

    half_width = t_quantile(num_batches - 1) * float(means.std(ddof=1)) / math.sqrt(num_batches)
    mean = float(values.mean())
    return mean - half_width, mean + half_width


def quantile_interval(ordered: Floats, level: float) -> tuple[float, float] | None:
    """Return the ends of the 99% interval of a quantile of ``ordered``; ``None`` with too few."""
    n = len(ordered)
    half_width = Z_99 * math.sqrt(n * level * (1 - level))
    first, last = math.floor(n * level - half_width), math.ceil(n * level + half_width)
    if first < 1 or last > n:
        return None
    return float(ordered[first - 1]), float(ordered[last - 1])


def statistics(values: Floats) -> dict[str, float | None]:
    """Return mean, P50, P90, P99 and maximum of what is not NaN; ``None`` where nothing is."""
    present = values[np.isfinite(values)]
    if len(present) == 0:
        return {"mean": None, **{name: None for name, _ in QUANTILES}, "max": None}
    percentiles = np.percentile(present, [percent for _, percent in QUANTILES])
    return {
        "mean": float(present.mean()),
        **{name: float(v) for (name, _), v in zip(QUANTILES, percentiles, strict=True)},
        "max": float(present.max()),
    }


def meets(records: Records, slo: Slo) -> Bools:
    """Return which requests ended and met every stated objective."""
    good = records.done.copy()
    ttft_limit_s = None if slo.ttft_s is None else slo.ttft_limit_s(records.prompt_tokens)
    for limit, values in (
        (ttft_limit_s, records.ttft_s),
        (slo.tpot_s, records.tpot_s),
        (slo.e2e_s, records.e2e_s),
    ):
        if limit is not None:
            # A single token has no TPOT, and so meets any.
            good &= ~(values > limit)
    return good


def span_s(records: Records) -> float:
    """Return the seconds from first arrival to last token; at least a nanosecond."""
    ends_s = records.last_s[records.done]
    if len(ends_s) == 0:
        return 1e-9
    return max(float(ends_s.max() - records.arrival_s.min()), 1e-9)


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
    """Return the relative difference ``ours / theirs - 1`` over paired runs, by Student's t.

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
