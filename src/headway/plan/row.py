"""One fleet that could be bought, as a row of a plan."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from headway.plan.candidate import Candidate
from headway.plan.demand import Run
from headway.plan.fleet import Fleet
from headway.plan.problem import Problem
from headway.plan.search import Offer
from headway.report.chart import Bars
from headway.report.column import column
from headway.schedule.order import Fcfs
from headway.sim.cost import PoolCost, with_cost
from headway.sim.experiment import Case, Experiment
from headway.sim.policy_row import PolicyRow
from headway.sim.site import Site, share_of_work
from headway.sim.world import Floats
from headway.units import MONTH_H
from headway.workload.objective import limits_of

MS: dict[str, Any] = {"unit": "ms", "scale": 1e3, "default": None}
PERCENT: dict[str, Any] = {"unit": "%", "scale": 100, "default": None}
HIDDEN: dict[str, Any] = {"detail": True}
UNSURE = "no number is sure enough"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRow:
    """A fleet; times are simulated at the expected step times with what is bought."""

    accelerator: str = column("accelerator", "what is bought or rented")
    replicas: int = column("replicas", "engines, those that may fail included")
    layout: str = column("layout", "degrees of tensor, pipeline, data and expert parallelism")
    engine: str | None = column("engine", "whose measured step times; none: the data sheet's")
    precision: str = column("precision", "weights/activations/KV cache", detail=True)
    num_accelerators: int = column("total", "accelerators of all replicas")
    usd_per_hour: float | None = column("$/h", "of all accelerators", default=None)
    usd_per_month: float | None = column("$/month", "of 730 hours", detail=True, default=None)
    even_usd_per_hour: float | None = column(
        "at even odds", "$/h of as many as the expected step times need", default=None
    )
    probability: float | None = column("sure", "probability that all objectives are met", **PERCENT)
    ttft_p50_s: float | None = column("TTFT p50", "median time to first token", **MS, **HIDDEN)
    ttft_p95_s: float | None = column("TTFT p95", "95% of requests below", **MS)
    ttft_p99_s: float | None = column("TTFT p99", "99% of requests below", **MS, **HIDDEN)
    tpot_p50_s: float | None = column("TPOT p50", "median time per output token", **MS, **HIDDEN)
    tpot_p95_s: float | None = column("TPOT p95", "95% of requests below", **MS)
    tpot_p99_s: float | None = column("TPOT p99", "99% of requests below", **MS, **HIDDEN)
    e2e_p95_s: float | None = column(
        "e2e p95", "95% of requests below", unit="s", default=None, detail=True
    )
    requests_per_s: float | None = column("requests/s", "that come", default=None, detail=True)
    utilisation: float | None = column("busy", "share of time in which replicas work", **PERCENT)
    prefix_hits: float | None = column(
        "cached", "share of prompt tokens found in a prefix cache", **PERCENT, **HIDDEN
    )
    preempted: float | None = column(
        "preempted",
        "times that a running request made way for want of memory, per request",
        **PERCENT,
        **HIDDEN,
    )
    headroom: float | None = column(
        "headroom",
        "more of the demand until an objective breaks, as predicted (looked for up to 7.6 times)",
        **PERCENT,
    )
    joules_per_output_token: float | None = column(
        "J/token", "of all accelerators per output token, idle time included", default=None
    )
    binds: str | None = column("binds", "the objective that breaks first", default=None)
    basis: str | None = column(
        "basis", "the weakest of what the step times rest on", default=None, detail=True
    )
    usd_per_accelerator_hour_to_win: float | None = column(
        "wins below", "$ per accelerator-hour below which it is the cheapest, other prices as they "
        "are", default=None, detail=True,
    )  # fmt: skip
    verdict: str = column("verdict", "why it is or is not bought", default="")


CHART = Bars(
    names=("num_accelerators", "accelerator", "layout", "engine"),
    value="usd_per_month",
    details=("probability", "binds"),
    legend="$ a month of each fleet, how sure it is to meet the objectives, and the one that "
    "breaks first  ·  blue: what to buy",
)


def offer_row(offer: Offer, verdict: str) -> PlanRow:
    """Return the row of an offer, simulated with what is bought."""
    fleet, candidate = offer.fleet, offer.candidate
    row = simulated(
        _priced(candidate, offer.replicas, verdict), [(fleet, fleet.run(offer.replicas))]
    )
    return replace(
        row,
        even_usd_per_hour=offer.even_usd_per_hour if candidate.is_priced else None,
        probability=offer.probability,
        headroom=offer.headroom,
        basis=offer.basis.value,
    )


def simulated(row: PlanRow, parts: Sequence[tuple[Fleet, Run]]) -> PlanRow:
    """Return ``row`` with what its ``parts`` did: fleets, each with the run of its share.

    Runs may be of unlike lengths: of each so many requests count as come in the same time.
    """
    problem = parts[0][0].problem
    spans_s = [len(run.trace) / run.requests_per_s for _, run in parts]
    counts = [
        int(len(run.trace) * min(spans_s) / span)
        for (_, run), span in zip(parts, spans_s, strict=True)
    ]

    def values_s(quantity: str) -> Floats:
        own = (getattr(run.outcome.records, f"{quantity}_s") for _, run in parts)
        return np.concatenate([values[:count] for values, count in zip(own, counts, strict=True)])

    # How near each objective comes to its bound; the nearest binds.
    margins = {
        str(objective): (objective.statistic_of(values_s(objective.quantity)) or 0.0)
        / objective.bound_s
        for objective in problem.objectives
    }

    ttft, tpot, e2e = (percentiles(values_s(quantity)) for quantity in ("ttft", "tpot", "e2e"))
    served = [
        policy_row(problem, fleet.candidate, fleet.site(len(run.outcome.replicas)), run)
        for fleet, run in parts
    ]
    rates = [run.requests_per_s for _, run in parts]
    preemptions = sum(int(run.outcome.replicas["num_preemptions"].sum()) for _, run in parts)
    cached = [float(run.outcome.records.cached_tokens.clip(min=0).sum()) for _, run in parts]
    prompts = [float(run.trace.prompt_tokens.sum()) for _, run in parts]
    return replace(
        row,
        ttft_p50_s=ttft[0],
        ttft_p95_s=ttft[1],
        ttft_p99_s=ttft[2],
        tpot_p50_s=tpot[0],
        tpot_p95_s=tpot[1],
        tpot_p99_s=tpot[2],
        e2e_p95_s=e2e[1],
        requests_per_s=sum(rates),
        utilisation=_mean(
            [one.utilisation for one in served], [len(r.outcome.replicas) for _, r in parts]
        ),
        preempted=preemptions / sum(len(run.trace) for _, run in parts),
        prefix_hits=sum(cached) / sum(prompts),
        joules_per_output_token=_mean([one.joules_per_output_token for one in served], rates),
        binds=max(margins, key=lambda name: margins[name]),
    )


def _mean(values: Sequence[float | None], weights: Sequence[float]) -> float | None:
    """Return the weighted mean; ``None`` where any value is not known."""
    present = [value for value in values if value is not None]
    return float(np.average(present, weights=weights)) if len(present) == len(values) else None


def bounded_row(candidate: Candidate, problem: Problem) -> PlanRow:
    """Return the row of a candidate that its bound ruled out: by its price, or by its doubt."""
    if math.isinf(candidate.surely_least):
        replicas = candidate.likely_replicas + problem.survive
        return _priced(candidate, replicas, UNSURE)
    replicas = int(candidate.surely_least) + problem.survive
    return _priced(candidate, replicas, f"at least ${replicas * candidate.usd_per_hour:.2f}/h")


def _priced(candidate: Candidate, replicas: int, verdict: str) -> PlanRow:
    deployment = candidate.deployment
    usd_per_hour = replicas * candidate.usd_per_hour if candidate.is_priced else None
    return PlanRow(
        accelerator=deployment.cluster.name,
        replicas=replicas,
        layout=candidate.layout,
        engine=deployment.engine,
        precision=str(deployment.precision),
        num_accelerators=replicas * candidate.num_accelerators,
        usd_per_hour=usd_per_hour,
        usd_per_month=None if usd_per_hour is None else usd_per_hour * MONTH_H,
        verdict=verdict,
    )


def percentiles(values_s: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[float | None, ...]:
    """Return P50, P95 and P99 of what is not NaN; ``None`` where nothing is."""
    present = values_s[np.isfinite(values_s)]
    if len(present) == 0:
        return None, None, None
    return tuple(float(v) for v in np.percentile(present, (50, 95, 99)))


def policy_row(problem: Problem, candidate: Candidate, site: Site, run: Run) -> PolicyRow:
    """Return the row that `headway simulate` has for the requests of ``run`` on ``site``."""
    trace = run.trace
    experiment = Experiment(
        traces=(trace,),
        site=site,
        service=share_of_work(site.pools[0], trace),
        slo=limits_of(problem.objectives),
    )
    whole, *own = experiment.rows(Case(Fcfs(), 0))
    context = float(trace.prompt_tokens.mean() + trace.output_tokens.mean() / 2)
    costs = [PoolCost(candidate.deployment, pool.replicas, context) for pool in site.pools]
    return with_cost(whole, own, costs)
