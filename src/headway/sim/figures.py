"""The figures of one run: what every table, file and comparison is made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headway.sim.gaps import Gaps
from headway.sim.outcome import Outcome
from headway.sim.site import Site
from headway.sim.world import Floats
from headway.workload.aggregate import QUANTILES, meets, span_s, statistics, summary
from headway.workload.oracle import Trace
from headway.workload.record import Bools, Records
from headway.workload.request import Slo

Figures = dict[str, float | None]
Tenants = Sequence[tuple[str, Slo]]


def figures(
    records: Records, alone_s: Floats, slo: Slo, trace: Trace, tenants: Tenants = ()
) -> Figures:
    """Statistics of TTFT, TPOT, e2e and slowdown; throughput; goodput, whole and by tenant."""
    row = summary(records, alone_s, slo)
    row["span_s"] = span = span_s(records)
    if tenants and trace.tenants is not None:
        good = np.zeros(len(records), dtype=np.bool_)
        for number, (name, own) in enumerate(tenants):
            theirs = trace.tenants == number
            met = meets(records, own) & theirs
            good |= met
            row |= _of_tenant(records, theirs, met, f"tenant_{name}")
        row["goodput_requests_per_s"] = float(good.sum()) / span
        row["slo_attainment"] = float(good.mean())
    return row


def _of_tenant(records: Records, theirs: Bools, met: Bools, prefix: str) -> Figures:
    row: Figures = {f"{prefix}_requests": float(theirs.sum())}
    for name, values in (("ttft", records.ttft_s), ("e2e", records.e2e_s)):
        for which, value in statistics(values[theirs]).items():
            row[f"{prefix}_{name}_{which}_s"] = value
    row[f"{prefix}_slo_attainment"] = float(met.sum() / theirs.sum()) if theirs.any() else None
    return row


def between_tokens(gaps: Gaps, records: Records) -> Figures:
    """Statistics of ITL, every gap counted alike: quantiles to 0.4%, mean and maximum exact."""
    done = records.done
    tokens = float((records.output_tokens[done] - 1).sum())
    spent = float((records.last_s - records.first_s)[done].sum())
    row: Figures = {"itl_mean_s": spent / tokens if tokens else None}
    for name, level in QUANTILES:
        row[f"itl_{name}_s"] = gaps.quantile_s(level / 100)
    row["itl_max_s"] = gaps.max_s
    return row


def use_of(outcome: Outcome, cluster: Site) -> Figures:
    """How busy replicas were, and what each pool did: for utilisation, power and price."""
    replicas = outcome.replicas
    busy_s = replicas["busy_ns"] * 1e-9
    row: Figures = {
        "utilisation": float(busy_s.mean()) / span_s(outcome.records),
        "preemptions": float(replicas["num_preemptions"].sum()),
    }
    for number in range(len(cluster.pools)):
        own = replicas[replicas["pool"] == number]
        row[f"pool{number}_busy_s"] = float(own["busy_ns"].sum()) * 1e-9
        row[f"pool{number}_steps"] = float(own["steps_done"].sum())
        row[f"pool{number}_decode_tokens"] = float(own["decode_tokens"].sum())
        row[f"pool{number}_prompt_tokens"] = float(own["prefill_tokens"].sum())
    return row
