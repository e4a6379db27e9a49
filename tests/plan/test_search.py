"""The search against brute force, and the laws of a price."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.plan.problems import problem, stream

from headway.plan.bounds import candidates
from headway.plan.demand import scaled_lengths, steady_profile
from headway.plan.fleet import Fleet, statistic_s
from headway.plan.problem import Problem
from headway.plan.row import PlanRow, simulated
from headway.plan.search import offer_of, search
from headway.plan.stream import Stream
from headway.sim.scenario import PoolSpec
from headway.sim.simulate import simulate
from headway.sim.site import Pool, Site
from headway.sim.times import StepTable
from headway.steptime.step_time import RequestOverhead

BARE: dict[str, Any] = {
    "accelerator": "l40s",
    "replicas": 1,
    "layout": "tp1",
    "engine": "vllm",
    "precision": "bf16",
    "num_accelerators": 1,
}


def price(asked: Problem) -> float:
    options, _ = candidates(asked)
    found = search(asked, options)
    assert found.offers
    return found.offers[0].usd_per_hour


@pytest.mark.parametrize(
    ("rate", "slo"),
    [
        (3.0, "ttft p95 < 800ms, tpot p95 < 30ms"),
        pytest.param(15.0, "tpot p99 < 50ms", marks=pytest.mark.slow),
        pytest.param(6.0, "e2e p90 < 5s", marks=pytest.mark.slow),
    ],
)
def test_the_winner_is_that_of_brute_force(rate: float, slo: str) -> None:
    asked = problem(slo, demand=stream(rate))
    options, _ = candidates(asked)
    prices = []
    for candidate in options:
        offer = offer_of(Fleet(asked, candidate), np.inf)
        if offer is not None and offer.is_sure:
            prices.append(offer.usd_per_hour)
    assert price(asked) == pytest.approx(min(prices))


def test_a_looser_objective_less_load_less_certainty_and_a_lower_price_never_cost_more() -> None:
    base = problem(demand=stream(12.0))
    usd = price(base)
    assert price(problem("ttft p95 < 1.5s, tpot p95 < 60ms", demand=stream(12.0))) <= usd
    assert price(replace(base, demand=stream(8.0))) <= usd
    assert price(replace(base, sure=0.6)) <= usd
    cheaper = tuple(c.at_price(0.8 * (c.usd_per_accelerator_hour or 0)) for c in base.clusters)
    assert price(replace(base, clusters=cheaper)) == pytest.approx(0.8 * usd)


def test_stretched_steps_are_more_load_in_stretched_time() -> None:
    asked = problem(demand=stream(5.0))
    options, _ = candidates(asked)
    fleet, factor = Fleet(asked, options[0]), 2.0
    pool = fleet.site(2).pools[0]
    overhead = pool.table.overhead
    slower = StepTable(
        decode_ns=pool.table.decode_ns * 2,
        shift=pool.table.shift,
        mixed_ns=pool.table.mixed_ns * factor,
        overhead=RequestOverhead(
            fixed_s=overhead.fixed_s * factor,
            prompt_token_s=overhead.prompt_token_s * factor,
            held_steps=overhead.held_steps,
        ),
    )
    slow = asked.demand.run(Site((Pool(pool.engine, slower, 2),)))
    more = fleet.statistics_s(2, volume=factor)
    stretched = [statistic_s(objective, slow) for objective in asked.objectives]
    assert stretched == pytest.approx(factor * more, rel=1e-3)


def test_what_a_fleet_does_is_what_simulate_says() -> None:
    asked = problem(demand=stream(8.0))
    options, _ = candidates(asked)
    offer = search(asked, options).offers[0]
    run = offer.fleet.run(offer.replicas)
    spec = PoolSpec(deployment=offer.candidate.deployment, replicas=offer.replicas)
    row = simulate(run.trace, on=spec, seeds=1).rows[0]
    records = run.outcome.records
    assert row.ttft_p99_s == np.percentile(records.ttft_s, 99)
    assert row.e2e_mean_s == records.e2e_s.mean()


def test_accelerators_that_there_are_not_are_not_bought() -> None:
    few = problem(demand=stream(60.0))
    clusters = tuple(cluster.of(4) for cluster in few.clusters)
    options, _ = candidates(replace(few, clusters=clusters))
    for offer in search(replace(few, clusters=clusters), options).offers:
        assert offer.replicas * offer.candidate.num_accelerators <= 4


def test_replicas_that_may_fail_are_bought_on_top() -> None:
    asked = problem(on=("h100",))
    options, _ = candidates(asked)
    plain = search(asked, options).offers[0]
    spare = search(replace(asked, survive=1), options).offers[0]
    assert spare.replicas == plain.replicas + 1


def test_a_plan_counts_who_makes_way_for_memory() -> None:
    # Answers grow as long as their prompts, and 48 GB hold few of them.
    demand = Stream(steady_profile(scaled_lengths(4000, 4000, None), "long answers", 0.2), 0.2)
    asked = problem("e2e p50 < 2000s", on=("l40s",), demand=demand, max_replica_accelerators=1)
    fleet = Fleet(asked, candidates(asked)[0][0])
    rows = [
        simulated(PlanRow(**BARE), [(fleet, fleet.run(replicas, volume=volume))])
        for replicas, volume in ((1, 0.05), (1, 4.0))
    ]
    assert rows[0].preempted == 0
    assert (rows[1].preempted or 0) > 0.01
