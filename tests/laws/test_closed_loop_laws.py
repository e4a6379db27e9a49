"""The closed form of users in a closed loop against the simulator, which serves them one by one."""

from __future__ import annotations

import numpy as np
import pytest

from headway.serving.estimate import serve
from headway.serving.load import Load
from headway.serving.report import estimate
from headway.sim.outcome import simulate_trace
from headway.sim.scenario import PoolSpec
from headway.sim.site import Site
from headway.steptime.deployment import Deployment
from headway.steptime.deployment_name import parse_deployment
from headway.workload.oracle import Trace
from headway.workload.record import Records

PER_USER = 10
MAX_ROUNDS = 12


def in_a_loop(deployment: Deployment, prompt: int, output: int, users: int) -> Records:
    """Serve users who ask again when they are answered; lengths are spread by a fifth.

    A user's next request arrives when an answer ends. Who asks when is found by serving again and
    again, each time with the arrivals that follow from the ends of the round before.
    """
    random = np.random.default_rng(0)
    count = users * PER_USER
    prompts, outputs = (
        np.maximum(2, np.rint(mean * random.uniform(0.8, 1.2, count))).astype(int)
        for mean in (prompt, output)
    )
    site = Site((PoolSpec(deployment=deployment).pool(),))
    arrivals = np.zeros(count)
    for _ in range(MAX_ROUNDS):
        records = simulate_trace(Trace(arrivals, prompts, outputs, "a loop"), site).records
        following = np.zeros(count)
        following[users:] = np.sort(records.last_s)[: count - users]
        if np.max(np.abs(following - arrivals)) < 1e-3 * following[-1]:
            break
        arrivals = following
    return records


def test_where_engines_start_too_many_it_is_said() -> None:
    """Answers three times as long as prompts: what starts cannot all grow to its end."""
    deployment = parse_deployment("qwen3-32b@h100:tp1", engine="vllm")
    records = in_a_loop(deployment, 500, 1500, 64)
    growing, steady = (
        estimate(deployment, Load(prompt=prompt, output=output, concurrency=64))
        for prompt, output in ((500, 1500), (8000, 500))
    )
    assert any("half as long again" in note for note in growing.notes)
    assert not any("half as long again" in note for note in steady.notes)
    longer = records.tpot_s.mean() / growing.rows[0].tpot_s.expected
    assert 1.1 < longer < 1.5


@pytest.mark.parametrize(
    ("name", "prompt", "output", "users"),
    [
        ("llama-3.1-8b@h100:tp1", 1000, 1000, 64),
        ("llama-3.1-8b@h100:tp1", 8000, 200, 64),  # 57 seats: the cache is short
        ("qwen3-32b@h100:tp1", 2000, 500, 64),  # 19 seats
        ("qwen3-32b@h100:tp1", 8000, 500, 8),  # 5 seats
    ],
)
def test_the_simulator_lies_within_the_interval_of_the_closed_form(
    name: str, prompt: int, output: int, users: int
) -> None:
    deployment = parse_deployment(name, engine="vllm")
    records = in_a_loop(deployment, prompt, output, users)
    answer = serve(deployment, Load(prompt=prompt, output=output, concurrency=users).at(users))

    rate = records.output_tokens.sum() / records.last_s.max()
    for said, simulated in (
        (answer.tpot_s, records.tpot_s.mean()),
        (answer.ttft_s, np.median(records.ttft_s)),
        (answer.output_tok_per_s, rate),
    ):
        assert said.lower <= simulated <= said.upper
    assert answer.tpot_s.expected == pytest.approx(records.tpot_s.mean(), rel=0.06)
