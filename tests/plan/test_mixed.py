"""Fleets of two kinds: never more than one kind alone, and they hold when they are simulated."""

from __future__ import annotations

import numpy as np
import pytest
from tests.plan.problems import problem, stream

from headway.plan.bounds import candidates
from headway.plan.demand import Run
from headway.plan.doubt import quantile
from headway.plan.fleet import Fleet, statistic_s
from headway.plan.mixed import Mix, _mixes, _outlook, best_mix
from headway.plan.problem import Problem
from headway.plan.row import offer_row
from headway.plan.search import Offer, search
from headway.sim.outcome import simulate_trace
from headway.sim.site import Site


@pytest.fixture(scope="module")
def asked() -> Problem:
    return problem(on=("h100", "mi300x"), demand=stream(30.0), max_replica_accelerators=1)


@pytest.fixture(scope="module")
def offers(asked: Problem) -> tuple[Offer, ...]:
    return search(asked, candidates(asked)[0]).offers


@pytest.fixture(scope="module")
def mix(offers: tuple[Offer, ...]) -> Mix:
    mix = best_mix(offers, offers[0])
    assert mix is not None
    return mix


def test_a_mix_is_cheaper_and_sure(mix: Mix, offers: tuple[Offer, ...]) -> None:
    assert mix.usd_per_hour < offers[0].usd_per_hour
    assert mix.probability >= offers[0].fleet.problem.sure
    assert len({fleet.candidate.deployment.cluster.name for fleet in mix.fleets}) == 2
    assert str(mix).count(" x ") == 2


def test_the_row_of_a_mix_says_what_each_kind_carries(
    mix: Mix, offers: tuple[Offer, ...], asked: Problem
) -> None:
    row, alone = mix.row(offers[0]), offer_row(offers[0], "")
    assert sum(mix.shares) == pytest.approx(1.0)
    assert row.num_accelerators == row.replicas == sum(mix.replicas)
    assert row.usd_per_hour == pytest.approx(mix.usd_per_hour)
    assert row.requests_per_s == pytest.approx(alone.requests_per_s, rel=0.05)
    assert f"{mix.shares[0]:.0%}" in row.verdict
    for objective in asked.objectives:
        assert getattr(row, f"{objective.quantity}_p95_s") <= 1.05 * objective.bound_s


def test_two_of_a_kind_are_one_kind(offers: tuple[Offer, ...]) -> None:
    fleet: Fleet = offers[0].fleet
    needs = fleet.needed(_outlook(fleet))
    whole = np.ceil(float(quantile(needs, fleet.problem.sure)))
    for same in _mixes((fleet, fleet), (needs, needs)):
        assert sum(same.replicas) == whole


def test_a_router_by_what_each_kind_carries_meets_the_objectives(mix: Mix, asked: Problem) -> None:
    first, second = (
        fleet.site(n).pools[0] for fleet, n in zip(mix.fleets, mix.replicas, strict=True)
    )
    trace = stream(30.0).trace(0)
    pools = (np.random.default_rng(1).random(len(trace)) > mix.shares[0]).astype(np.int64)
    run = Run(trace, simulate_trace(trace, Site((first, second)), pools=pools))
    for objective in asked.objectives:
        assert statistic_s(objective, run) <= 1.05 * objective.bound_s
