"""Laws on worlds with everything on: chunks, preemption, prefixes, pools, transfers, failures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sim.worlds import LinearStepTime, poisson, pool

from headway.predict.prediction import LEVELS
from headway.schedule.autoscale import Autoscaler
from headway.schedule.deadline import EarliestDeadline, Moore, Slack
from headway.schedule.order import (
    Fcfs,
    HighestResponseRatio,
    OrderPolicy,
    ShortestJob,
    ShortestRemaining,
)
from headway.schedule.route import (
    LEAST_LOADED,
    PREFIX_AFFINE,
    WORK_LEFT,
    Placement,
    RoundRobin,
    TwoChoices,
)
from headway.schedule.uncertain import Gittins
from headway.schedule.view import View
from headway.sim.engine import Engine
from headway.sim.laws import laws
from headway.sim.outcome import Outcome, simulate_trace
from headway.sim.site import Disaggregation, Outage, Site
from headway.workload.oracle import Trace

POLICIES: list[OrderPolicy] = [
    Fcfs(),
    ShortestJob(),
    ShortestRemaining(),
    HighestResponseRatio(),
    EarliestDeadline(),
    Moore(),
    Moore(late_share=0.25, sheds=True),
    Slack(quantum_tokens=4),
    Gittins(quantum_tokens=4),
    Gittins(quantum_tokens=4, aging=0.01, name="gittins, aging"),
]
MODEL = LinearStepTime()


def seen(trace: Trace, seed: int = 0) -> View:
    random = np.random.default_rng(seed)
    centre = trace.output_tokens * random.lognormal(0, 0.7, len(trace))
    quantiles = centre[:, None] * np.exp(np.linspace(-1, 1, len(LEVELS)))[None, :]
    n = len(trace)
    return View(
        trace.arrival_s,
        trace.prompt_tokens.astype(np.float64),
        quantiles,
        np.full(n, np.inf),
        np.zeros(n),
        np.zeros(n, dtype=np.int64),
        first_deadline_s=trace.arrival_s + random.choice([0.3, 2.0, np.inf], n),
        tpot_s=random.choice([0.02, np.inf], n),
    )


def hold(outcome: Outcome) -> None:
    for law in laws(outcome):
        assert law.holds, f"{law.name}: {law.evidence}"


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    policy=st.sampled_from(POLICIES),
    placement=st.sampled_from([RoundRobin(), TwoChoices(), LEAST_LOADED, WORK_LEFT, PREFIX_AFFINE]),
    replicas=st.integers(1, 4),
    blocks=st.integers(40, 400),
    chunked=st.booleans(),
    reserve=st.booleans(),
    asynchronous=st.booleans(),
    prefix_cache=st.booleans(),
    rate=st.floats(1, 200),
    split=st.booleans(),
    breaks=st.booleans(),
    swap_token_s=st.sampled_from([None, 2e-6]),
)
def test_laws_hold_whatever_is_on(
    seed: int,
    policy: OrderPolicy,
    placement: Placement,
    replicas: int,
    blocks: int,
    chunked: bool,
    reserve: bool,
    asynchronous: bool,
    prefix_cache: bool,
    rate: float,
    split: bool,
    breaks: bool,
    swap_token_s: float | None,
) -> None:
    trace = poisson(120, rate, seed, prompt=120, output=40, hashes=6)
    engine = Engine(
        12,
        128,
        blocks,
        16,
        chunked,
        reserve,
        asynchronous,
        prefix_cache,
        None if split else swap_token_s,
    )
    pools = (pool(engine, MODEL, replicas), pool(engine, MODEL, 1))[: 2 if split else 1]
    outages = (Outage(0, 0.3, 0.9), Outage(replicas - 1, 1.5, 1.6)) if breaks else ()
    cluster = Site(pools, placement, Disaggregation(1e-3, 1e-6) if split else None, outages)
    outcome = simulate_trace(trace, cluster, policy, seen(trace))
    hold(outcome)
    again = simulate_trace(trace, cluster, policy, seen(trace))
    assert again.requests.tobytes() == outcome.requests.tobytes()
    assert again.replicas.tobytes() == outcome.replicas.tobytes()


def test_prefix_cache_saves_prefill_and_is_counted() -> None:
    trace = poisson(300, 20, 1, prompt=300, output=20, hashes=3)
    outcomes = [
        simulate_trace(trace, Site((pool(Engine(num_kv_blocks=2000, prefix_cache=on), MODEL),)))
        for on in (False, True)
    ]
    without, cached = outcomes
    assert without.requests["cached_tokens"].sum() == 0
    assert cached.requests["cached_tokens"].sum() > 0.5 * trace.prompt_tokens.sum()
    assert np.nanmean(cached.records.ttft_s) < np.nanmean(without.records.ttft_s)


def test_least_loaded_counts_running_requests_too() -> None:
    """A burst is spread evenly; a router that counts only waiting requests piles it on one."""
    trace = Trace(np.zeros(80), np.full(80, 10), np.full(80, 50))
    cluster = Site((pool(Engine(num_kv_blocks=2000), MODEL, 8),), LEAST_LOADED)
    outcome = simulate_trace(trace, cluster)
    assert outcome.replicas["num_routed"].tolist() == [10] * 8


def test_a_request_that_never_fits_is_rejected_and_the_rest_is_served() -> None:
    trace = Trace(np.array([0.0, 0.1]), np.array([5000, 10]), np.array([1, 5]))
    outcome = simulate_trace(trace, Site((pool(Engine(num_kv_blocks=40), MODEL),)))
    hold(outcome)
    assert outcome.records.rejected.tolist() == [True, False]
    assert outcome.records.done.tolist() == [False, True]


def test_a_failed_replica_loses_time_but_no_request() -> None:
    trace = poisson(200, 40, 3)
    engine = Engine(num_kv_blocks=2000)
    healthy = simulate_trace(trace, Site((pool(engine, MODEL, 2),)))
    broken = simulate_trace(trace, Site((pool(engine, MODEL, 2),), outages=(Outage(1, 1.0, 3.0),)))
    hold(broken)
    assert broken.records.done.all()
    assert broken.requests["num_preemptions"].sum() > 0
    assert broken.records.e2e_s.mean() > healthy.records.e2e_s.mean()


def test_asynchronous_planning_delays_the_first_token_by_a_step() -> None:
    """A request that arrives in the middle of a step waits for the end of the next one."""
    arrivals = np.array([0.0, 0.0525])
    trace = Trace(arrivals, np.array([1, 1]), np.array([100, 2]))
    model = LinearStepTime(10e-3, 0.0, 0.0)
    first = []
    for on in (False, True):
        outcome = simulate_trace(
            trace, Site((pool(Engine(num_kv_blocks=200, asynchronous=on), model),))
        )
        hold(outcome)
        first.append(float(outcome.records.first_s[1]))
    assert first == pytest.approx([0.07, 0.08])


def test_what_an_engine_adds_to_a_request_delays_it_alone() -> None:
    """The second request has the shorter prompt, and overtakes the first on the way in."""
    trace = Trace(np.array([0.0, 0.001]), np.array([1000, 10]), np.array([5, 5]))
    plain = Engine(max_num_seqs=1, num_kv_blocks=200)
    slow = replace(MODEL, overhead_s=(2e-3, 1e-5))
    before, after = (simulate_trace(trace, Site((pool(plain, m),))) for m in (MODEL, slow))
    hold(after)
    assert after.requests["admitted_ns"][1] == 3_100_000
    assert after.requests["admitted_ns"][0] == after.requests["last_ns"][1]
    alone = simulate_trace(trace.take(np.array([0])), Site((pool(plain, slow),)))
    assert alone.requests["first_ns"][0] - before.requests["first_ns"][0] == 12_000_000


def test_a_long_outage_ends_nowhere_else_and_the_law_says_so() -> None:
    trace = poisson(50, 50, 0)
    outcome = simulate_trace(
        trace, Site((pool(Engine(num_kv_blocks=2000), MODEL),), outages=(Outage(0, 0.2, 50.0),))
    )
    hold(outcome)
    assert outcome.requests["last_ns"].max() > 50e9


def scaled(rule: Autoscaler, seed: int = 0) -> tuple[Outcome, Outcome]:
    """Serve the same requests with all replicas on, and with those that ``rule`` wants."""
    pools = (pool(Engine(num_kv_blocks=2000), MODEL, rule.max_replicas),)
    trace = poisson(400, 60, seed)
    always = simulate_trace(trace, Site(pools))
    follows = simulate_trace(trace, Site(pools, autoscaler=rule), None, seen(trace, seed))
    hold(follows)
    return always, follows


@settings(max_examples=20, deadline=None)
@given(
    signal=st.sampled_from(["work", "requests", "waiting"]),
    target=st.floats(0.1, 50),
    delay_s=st.sampled_from([0.0, 0.5, 3.0]),
    wait_s=st.sampled_from([0.0, 1.0]),
    every_s=st.sampled_from([0.0, 0.25]),
)
def test_a_fleet_that_follows_its_load_costs_no_more_than_one_that_is_always_on(
    signal: str, target: float, delay_s: float, wait_s: float, every_s: float
) -> None:
    rule = Autoscaler(
        signal=signal,
        target=target,
        max_replicas=4,
        delay_s=delay_s,
        wait_s=wait_s,
        every_s=every_s,
    )
    _, follows = scaled(rule)
    ends = follows.requests["last_ns"]
    span_ns = ends.max() - follows.requests["arrival_ns"].min()
    assert follows.records.done.all()
    assert span_ns <= follows.replicas["paid_ns"].sum() <= 4 * span_ns


def test_a_tiny_target_without_a_delay_is_a_fleet_that_is_always_on() -> None:
    always, follows = scaled(Autoscaler(target=1e-9, max_replicas=4, every_s=0.0))
    assert always.requests["last_ns"].tolist() == follows.requests["last_ns"].tolist()
    assert always.requests["replica"].tolist() == follows.requests["replica"].tolist()


def test_a_higher_target_costs_less_and_a_delay_costs_waiting() -> None:
    def cost_and_wait(target: float, delay_s: float) -> tuple[float, float]:
        rule = Autoscaler(
            signal="requests", target=target, max_replicas=4, delay_s=delay_s, wait_s=1.0,
            every_s=0.25,
        )  # fmt: skip
        outcome = scaled(rule)[1]
        return float(outcome.replicas["paid_ns"].sum()), float(outcome.records.ttft_s.mean())

    few, many = cost_and_wait(40.0, 0.0), cost_and_wait(5.0, 0.0)
    assert few[0] < many[0]
    assert few[1] > many[1]
    assert cost_and_wait(5.0, 2.0)[1] > many[1]
