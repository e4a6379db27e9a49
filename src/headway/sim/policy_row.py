"""One order of service and what became of the requests: a row of a comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields, replace
from typing import Any

import numpy as np

from headway.report.chart import Bars
from headway.report.column import column
from headway.report.estimate import Estimate
from headway.sim.outcome import Outcome
from headway.sim.world import NONE
from headway.sim.world import Records as States
from headway.units import HOUR_S
from headway.workload.aggregate import (
    QUANTILES,
    Latency,
    RequestSummary,
    meets,
    paired,
    span_s,
    statistics,
)
from headway.workload.oracle import Trace
from headway.workload.record import Bools, Floats, Records
from headway.workload.request import Slo

LEVEL = 0.95  # of intervals over seeds
COMPARED = ("e2e_mean", "e2e_p99", "e2e_max", "ttft_mean", "ttft_p99", "slowdown_mean")
Difference = Estimate | float | None  # relative to first come first served
Figure = float | None
PERCENT: dict[str, Any] = {"unit": "%", "scale": 100}
OPTIONAL: dict[str, Any] = {"default": None}
RELATIVE: dict[str, Any] = PERCENT | OPTIONAL | {"digits": 2}
MS: dict[str, Any] = OPTIONAL | {"unit": "ms", "scale": 1e3}
HIDDEN: dict[str, Any] = {"detail": True}  # from tables in a terminal
Tenants = Sequence[tuple[str, Slo]]


def expected(value: Latency) -> float | None:
    """Return the one number of a latency."""
    return value.expected if isinstance(value, Estimate) else value


@dataclass(frozen=True, kw_only=True)
class OrderOfService:
    """Which order, and whose requests: the first columns of a row."""

    policy: str = column("policy", "order of service")
    predictions: str = column("predictions", "where the order has the lengths of answers from")
    scope: str | None = column("of", "the tenant or pool whose requests these are; else all")


@dataclass(frozen=True, kw_only=True)
class PolicyRow(RequestSummary, OrderOfService):
    """One order of service on all requests, or on those of one tenant or one pool.

    Figures are means over seeds; ITL is every gap between tokens, quantiles within 0.4%. Times of
    a pool are those of requests that end there. ``None`` is what is not known, or has no meaning
    for this scope.
    """

    requests: int = column("requests", "requests that came", detail=True)
    requests_per_s: float = column(
        "done/s", "requests that ended per second, first arrival to last token", detail=True
    )
    e2e_mean_vs_fcfs: Difference = column("e2e vs fcfs", "mean e2e over fcfs, by seed", **RELATIVE)
    e2e_p99_vs_fcfs: Difference = column("p99 vs fcfs", "P99 of e2e over fcfs, by seed", **RELATIVE)
    e2e_max_vs_fcfs: Difference = column("max vs fcfs", "longest e2e", **RELATIVE, **HIDDEN)
    ttft_mean_vs_fcfs: Difference = column("TTFT vs fcfs", "mean TTFT", **RELATIVE, **HIDDEN)
    ttft_p99_vs_fcfs: Difference = column("p99 vs fcfs", "P99 of TTFT", **RELATIVE, **HIDDEN)
    slowdown_mean_vs_fcfs: Difference = column("slowdown vs fcfs", "mean", **RELATIVE, **HIDDEN)

    capacity_rps: Figure = column(
        "capacity", "requests/s at which 90% meet every objective, first seed", **OPTIONAL
    )
    itl_mean_s: Figure = column("ITL", "gaps between tokens, mean", **MS, **HIDDEN)
    itl_p50_s: Figure = column("ITL p50", "median gap between tokens", **MS, **HIDDEN)
    itl_p90_s: Figure = column("ITL p90", "90% of gaps between tokens below", **MS, **HIDDEN)
    itl_p99_s: Figure = column("ITL p99", "99% of gaps between tokens below", **MS)
    itl_max_s: Figure = column("ITL max", "longest gap between tokens", **MS, **HIDDEN)
    slowdown_mean: Figure = column("slowdown", "e2e over that alone, mean", **OPTIONAL)
    slowdown_p50: Figure = column("slowdown p50", "median slowdown", **OPTIONAL, **HIDDEN)
    slowdown_p90: Figure = column("slowdown p90", "90% below", **OPTIONAL, **HIDDEN)
    slowdown_p99: Figure = column("slowdown p99", "99% below", **OPTIONAL, **HIDDEN)
    slowdown_max: Figure = column("slowdown max", "largest slowdown", **OPTIONAL, **HIDDEN)

    utilisation: Figure = column(
        "busy", "share of the run in which replicas execute", **(OPTIONAL | PERCENT)
    )
    usd_per_mtok_output: Figure = column(
        "$/Mtok out", "all cost on output tokens, idle time included", **OPTIONAL
    )
    joules_per_output_token: Figure = column(
        "energy", "of all accelerators per output token", unit="J/token", **OPTIONAL
    )
    replica_s: Figure = column(
        "replica time", "of the replicas that were on, from order to end", unit="h",
        scale=1 / HOUR_S, **OPTIONAL,
    )  # fmt: skip
    span_s: float = column("span", "first arrival to last token", unit="s", **HIDDEN)
    preemptions: Figure = column("preemptions", "of running requests", **OPTIONAL, **HIDDEN)
    busy_s: Figure = column("busy time", "of all replicas", unit="s", **OPTIONAL, **HIDDEN)
    steps: Figure = column("steps", "of all replicas", **OPTIONAL, **HIDDEN)
    decode_tokens: Figure = column("decoded", "tokens of decode steps", **OPTIONAL, **HIDDEN)
    prefill_tokens: Figure = column("prefilled", "prompt tokens computed", **OPTIONAL, **HIDDEN)


def charts(has_objectives: bool) -> tuple[Bars, ...]:
    """Return what is drawn of rows: who was in time where anybody asked, the mean and the tail."""
    in_time = (("slo_attainment", "share of requests that met every objective"),)
    times = (
        ("e2e_mean_s", "mean time from arrival to last token"),
        ("e2e_p99_s", "99% of requests end within this time"),
    )
    return tuple(
        Bars(names=("policy", "predictions", "scope"), value=value, legend=legend)
        for value, legend in (*(in_time if has_objectives else ()), *times)
    )


@dataclass(frozen=True, slots=True)
class Run:
    """What one run leaves for its rows.

    Attributes:
        policy, predictions: as in the rows.
        records: what happened to the requests.
        alone_s: e2e of every request on an empty replica.
        slo: objectives of everybody.
        outcome: the run in full; ``None`` for static batches.
        pool_names: by number.

    """

    policy: str
    predictions: str
    records: Records
    alone_s: Floats
    slo: Slo
    outcome: Outcome | None = None
    pool_names: tuple[str, ...] = ()

    def rows(self, trace: Trace, tenants: Tenants = ()) -> tuple[PolicyRow, ...]:
        """Return the row of all requests, then those of tenants, then those of pools."""
        whole = self._row(None, np.ones(len(self.records), dtype=np.bool_), self.slo)
        if self.outcome is not None:
            use = _use(self.outcome.replicas, whole.span_s)
            whole = replace(whole, **use, **_token_gaps(self.outcome))
        if not tenants or trace.tenants is None:
            return whole, *self._pool_rows()

        # Tenants have objectives of their own: a request is good where it meets its tenant's.
        rows, good = [], np.zeros(len(self.records), dtype=np.bool_)
        for number, (name, slo) in enumerate(tenants):
            theirs = trace.tenants == number
            good |= meets(self.records, slo) & theirs
            rows.append(self._row(f"tenant {name}", theirs, slo))
        goodput, attainment = float(good.sum()) / whole.span_s, float(good.mean())
        whole = replace(whole, goodput_requests_per_s=goodput, slo_attainment=attainment)
        return whole, *rows, *self._pool_rows()

    def _pool_rows(self) -> list[PolicyRow]:
        if self.outcome is None:
            return []
        replicas, ended_on = self.outcome.replicas, self.outcome.requests["replica"]
        rows = []
        for number, name in enumerate(self.pool_names):
            here = (ended_on != NONE) & (replicas["pool"][ended_on] == number)
            row = self._row(f"pool {number}, {name}", here, self.slo)
            rows.append(replace(row, **_use(replicas[replicas["pool"] == number], row.span_s)))
        return rows

    def _row(self, scope: str | None, rows: Bools, slo: Slo) -> PolicyRow:
        """Return the row of the requests ``rows``; rates are over the whole run."""
        records, duration_s = self.records.take(rows), span_s(self.records)
        slowdowns = statistics(records.e2e_s / self.alone_s[rows])
        more: dict[str, Any] = {f"slowdown_{which}": value for which, value in slowdowns.items()}
        return PolicyRow.of(
            records,
            None if slo == Slo() else slo,
            duration_s=duration_s,
            policy=self.policy,
            predictions=self.predictions,
            scope=scope,
            span_s=duration_s,
            **more,
        )


def _token_gaps(outcome: Outcome) -> dict[str, Any]:
    """Return ITL over all requests, every gap counted alike."""
    records, gaps = outcome.records, outcome.gaps
    tokens = float((records.output_tokens[records.done] - 1).sum())
    between_s = float((records.last_s - records.first_s)[records.done].sum())
    figures: dict[str, Any] = {
        f"itl_{name}_s": gaps.quantile_s(percent / 100) for name, percent in QUANTILES
    }
    figures["itl_mean_s"] = between_s / tokens if tokens else None
    figures["itl_max_s"] = gaps.max_s
    return figures


def _use(replicas: States, duration_s: float) -> dict[str, Any]:
    """Return how busy ``replicas`` were, and what they did: for utilisation, power and price."""
    replica_s = float(replicas["paid_ns"].sum()) * 1e-9 or None  # where replicas come and go
    on_s = (replica_s or len(replicas) * duration_s) / len(replicas)
    return {
        "utilisation": float((replicas["busy_ns"] * 1e-9).mean()) / on_s,
        "replica_s": replica_s,
        "preemptions": float(replicas["num_preemptions"].sum()),
        "busy_s": float(replicas["busy_ns"].sum()) * 1e-9,
        "steps": float(replicas["steps_done"].sum()),
        "decode_tokens": float(replicas["decode_tokens"].sum()),
        "prefill_tokens": float(replicas["prefill_tokens"].sum()),
    }


def mean_row(rows: Sequence[PolicyRow]) -> PolicyRow:
    """Return the mean over seeds of every figure; ``None`` where any run lacks it."""
    means: dict[str, Any] = {}
    for column_field in fields(PolicyRow):
        values = [getattr(row, column_field.name) for row in rows]
        if None in values:
            means[column_field.name] = None
        elif not isinstance(values[0], str):
            mean = sum(values) / len(values)
            counts = isinstance(values[0], int) and mean == int(mean)
            means[column_field.name] = int(mean) if counts else mean
    return replace(rows[0], **means)


def difference_row(
    row: PolicyRow, by_seed: Sequence[PolicyRow], base_by_seed: Sequence[PolicyRow]
) -> PolicyRow:
    """Return ``row`` with the differences between the runs of two orders, one pair per seed."""
    differences: dict[str, Any] = {}
    for quantity in COMPARED:
        name = quantity if quantity.startswith("slowdown") else f"{quantity}_s"
        ours = [getattr(own, name) for own in by_seed]
        theirs = [getattr(base, name) for base in base_by_seed]
        if None in ours or None in theirs:
            continue

        mean, lower, upper = astuple(paired(ours, [value or 1.0 for value in theirs]))
        sure = math.isfinite(lower)  # one pair has no interval
        differences[f"{quantity}_vs_fcfs"] = (
            Estimate(mean, lower, upper, level=LEVEL) if sure else mean
        )
    return replace(row, **differences)
