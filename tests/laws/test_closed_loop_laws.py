"""The closed form of users in a closed loop against the simulator, which serves them one by one."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.reference.plain_loop import closed_loop

from headway.serving.closed_loop import ClosedLoop
from headway.serving.estimate import serve
from headway.serving.load import Load
from headway.serving.report import estimate
from headway.sim.outcome import simulate_trace
from headway.sim.scenario import EngineFeatures, PoolSpec
from headway.sim.site import Site
from headway.steptime.deployment import Deployment
from headway.steptime.deployment_name import parse_deployment
from headway.workload.oracle import Floats, Trace
from headway.workload.record import Records

ROUNDS = 7
PLAIN = EngineFeatures(prefix_cache=False)


@cache
def site_of(name: str) -> tuple[Deployment, Site]:
    """Return a deployment and one replica of it."""
    deployment = parse_deployment(name, engine="vllm")
    return deployment, Site((PoolSpec(deployment=deployment).pool(PLAIN),))


def in_a_loop(name: str, prompt: int, output: int, users: int, spread: float = 0.2) -> Records:
    """Serve users who ask again when they are answered, seven times each.

    Lengths are even between ``1 - spread`` and ``1 + spread`` of their means.
    """
    _, site = site_of(name)
    random = np.random.default_rng(0)
    prompts, outputs = (
        np.rint(mean * random.uniform(1 - spread, 1 + spread, users * ROUNDS)).astype(np.int64)
        for mean in (prompt, output)
    )
    arrivals, ends = closed_loop(site.pools[0], prompts, outputs, users)
    outcome = simulate_trace(Trace(arrivals, prompts, outputs, "a loop"), site)
    assert outcome.requests["last_ns"] * 1e-9 == pytest.approx(ends, abs=1e-12)
    return outcome.records


def steady(values: Floats, users: int) -> Floats:
    """Return the values of requests after the burst at the start and before the end."""
    return values[2 * users : -users // 2]


@pytest.mark.parametrize(
    ("name", "prompt", "output", "users"),
    [
        ("llama-3.1-8b@h100:tp1", 128, 256, 64),
        ("llama-3.1-8b@h100:tp1", 3000, 150, 32),
        ("qwen3-32b@h100:tp1", 2000, 300, 40),  # 19 seats: the others wait for the cache
        ("qwen3-30b-a3b@mi300x:tp1", 1000, 200, 48),
        ("qwen3-30b-a3b@mi300x:tp1", 7000, 400, 8),
    ],
)
def test_the_closed_form_says_what_the_simulator_does(
    name: str, prompt: int, output: int, users: int
) -> None:
    records = in_a_loop(name, prompt, output, users)
    answer = serve(site_of(name)[0], ClosedLoop(prompt, output, users))

    ttft_s = steady(records.ttft_s, users)
    tpot_s = np.mean(steady(records.tpot_s, users))
    assert answer.times.tpot_s == pytest.approx(tpot_s, rel=0.05)
    assert answer.times.ttft_s == pytest.approx(np.median(ttft_s), rel=0.12)
    assert answer.times.ttft_p95_s == pytest.approx(np.quantile(ttft_s, 0.95), rel=0.25)
    rate = records.output_tokens.sum() / records.last_s.max()
    for said, simulated in (
        (answer.tpot_s, tpot_s),
        (answer.ttft_s, np.median(ttft_s)),
        (answer.output_tok_per_s, rate),
    ):
        assert said.lower <= simulated <= said.upper


@pytest.mark.parametrize(
    ("prompt", "output", "users"), [(128, 100, 64), (1000, 200, 64), (7000, 100, 8)]
)
def test_requests_that_are_alike_come_in_bunches(prompt: int, output: int, users: int) -> None:
    """Those that start together end together, and their followers wait for each other."""
    name = "llama-3.1-8b@h100:tp1"
    records = in_a_loop(name, prompt, output, users, spread=0.0)
    deployment = site_of(name)[0]
    times = serve(deployment, ClosedLoop(prompt, output, users, alike=True)).times
    assert times.ttft_s == pytest.approx(np.median(steady(records.ttft_s, users)), rel=0.2)
    assert times.tpot_s == pytest.approx(np.mean(steady(records.tpot_s, users)), rel=0.08)
    assert times.ttft_s > serve(deployment, ClosedLoop(prompt, output, users)).times.ttft_s


@pytest.mark.parametrize(("prompt", "output", "users"), [(500, 1000, 56)])
def test_answers_that_outgrow_the_cache_are_stopped_and_counted(
    prompt: int, output: int, users: int
) -> None:
    name = "qwen3-32b@h100:tp1"
    records = in_a_loop(name, prompt, output, users)
    report = estimate(site_of(name)[0], Load(prompt=prompt, output=output, concurrency=users))
    row = report.rows[0]
    assert row.tpot_s.expected == pytest.approx(np.mean(steady(records.tpot_s, users)), rel=0.08)
    assert any("computed again" in note for note in report.notes)


@given(
    prompt=st.integers(64, 4000),
    output=st.integers(2, 4000),
    users=st.integers(1, 300),
    shares=st.tuples(st.floats(0.5, 0.95), st.floats(0.5, 0.95)),
)
def test_more_cache_never_makes_it_slower(
    prompt: int, output: int, users: int, shares: tuple[float, float]
) -> None:
    small, large = (
        serve(
            Deployment(
                site_of("llama-3.1-8b@h100:tp1")[0].model,
                site_of("llama-3.1-8b@h100:tp1")[0].cluster,
                engine="vllm",
                memory_utilization=share,
            ),
            ClosedLoop(prompt, output, users),
        ).times.requests_per_s
        for share in sorted(shares)
    )
    # Where prompts begin to queue, arrivals bunch a little less for more sequences: 0.08% was seen.
    assert large >= small * 0.999
