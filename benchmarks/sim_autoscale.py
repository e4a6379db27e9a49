"""What to scale a fleet on, and at which target: fixed fleets beside fleets that follow their load.

A trace at its own rate, least-loaded routing, first come first served, predictions of a stated
skill. A row is what was on, its replica-hours, and who met the objectives.

    python benchmarks/sim_autoscale.py --trace FILE [--on llama-3.1-8b@l4:tp1] [--delay 90s]
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from headway.schedule.autoscale import Autoscaler, parse_autoscaler
from headway.schedule.expectation import expected_service
from headway.schedule.order import Fcfs
from headway.sim.laws import check
from headway.sim.outcome import simulate_trace
from headway.sim.predictions import quantiles, shuffled, view_of
from headway.sim.scenario import PoolSpec
from headway.sim.site import Pool, Site
from headway.steptime.deployment_name import parse_deployment
from headway.units import HOUR_S, parse_counts
from headway.workload.aggregate import meets
from headway.workload.objective import parse_slo
from headway.workload.traces import read_trace

TARGETS = {
    "work": ("240s", "300s", "360s", "420s", "480s"),
    "requests": ("12", "16", "20", "24", "28"),
    "waiting": ("0.1", "0.5", "2"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One fleet and what became of the requests."""

    fleet: str
    attainment: float
    replica_hours: float
    ttft_p95_s: float
    tpot_p95_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trace", type=Path, required=True)
    parser.add_argument("--on", default="llama-3.1-8b@l4:tp1")
    parser.add_argument("--slo", default="ttft p95 < 2s, tpot p95 < 100ms")
    parser.add_argument("--fixed", default="6,7,8")
    parser.add_argument("--bounds", default="4..12")
    parser.add_argument("--delay", default="90s")
    parser.add_argument("--wait", default="5m")
    parser.add_argument("--tau", type=float, default=0.4)
    parser.add_argument("--only", default=",".join(TARGETS), help="signals")
    given = parser.parse_args()

    trace = read_trace(given.trace)
    deployment = parse_deployment(given.on, engine="none")
    service, slo = expected_service(deployment), parse_slo(given.slo)
    one = PoolSpec(deployment=deployment).pool()
    predicted = quantiles(trace.output_tokens, given.tau, 0)
    views = {
        "": view_of(trace, predicted, service),
        ", shuffled": view_of(trace, shuffled(predicted, 0), service),
    }

    def row(name: str, replicas: int, rule: Autoscaler | None = None, known: str = "") -> Row:
        site = Site((Pool(one.engine, one.table, replicas, one.name),), autoscaler=rule)
        outcome = simulate_trace(trace, site, Fcfs(), views[known])
        check(outcome)

        records = outcome.records
        span_s = float(records.last_s.max() - records.arrival_s.min())
        paid_s = float(outcome.replicas["paid_ns"].sum()) * 1e-9
        result = Row(
            fleet=name + known,
            attainment=float(meets(records, slo).mean()),
            replica_hours=(paid_s if rule else replicas * span_s) / HOUR_S,
            ttft_p95_s=float(np.percentile(records.ttft_s, 95)),
            tpot_p95_s=float(np.nanpercentile(records.tpot_s, 95)),
        )
        print(
            f"{result.fleet:<44}{result.attainment:8.1%}{result.replica_hours:8.2f} h"
            f"{result.ttft_p95_s:9.2f} s{1e3 * result.tpot_p95_s:8.0f} ms",
            flush=True,
        )
        return result

    print(
        f"{trace.name}: {len(trace)} requests, {trace.rate_rps:.2f}/s, on {given.on}; {given.slo}"
    )
    rows = [row(f"{n} replicas", n) for n in parse_counts(given.fixed, "replicas")]
    for signal in given.only.split(","):
        for target in TARGETS[signal]:
            text = f"{signal} {target}, {given.bounds}, delay {given.delay}, wait {given.wait}"
            rule = replace(parse_autoscaler(text), service=service)
            rows.append(row(text, rule.max_replicas, rule))
            if signal == "work":
                rows.append(row(text, rule.max_replicas, rule, ", shuffled"))
    print(json.dumps({"benchmark": "sim_autoscale", "rows": [
        (r.fleet, round(r.attainment, 4), round(r.replica_hours, 3)) for r in rows
    ]}))  # fmt: skip


if __name__ == "__main__":
    main()
