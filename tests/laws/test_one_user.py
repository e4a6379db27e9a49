"""One user at a time: the simulator takes as long as the step-time object says."""

from __future__ import annotations

import numpy as np
import pytest

from headway.serving.load import Load
from headway.sim.laws import check
from headway.sim.outcome import simulate_trace
from headway.sim.scenario import PoolSpec
from headway.sim.site import Site
from headway.steptime.deployment_name import parse_deployment
from headway.workload.oracle import Trace


@pytest.mark.parametrize("engine", ["none", "vllm", "tensorrt-llm"])
@pytest.mark.parametrize("name", ["llama-3.1-8b@h100:tp1", "llama-3.3-70b@8xh100:tp8"])
@pytest.mark.parametrize(("prompt", "output"), [(512, 64), (2000, 400)])
def test_one_user_waits_as_long_as_the_step_times_say(
    engine: str, name: str, prompt: int, output: int
) -> None:
    deployment = parse_deployment(name, engine=engine)
    served = deployment.serve(Load(prompt=prompt, output=output, concurrency=1))

    # Requests so far apart that no two meet.
    trace = Trace(1000.0 * np.arange(5, dtype=np.float64), np.full(5, prompt), np.full(5, output))
    outcome = simulate_trace(trace, Site((PoolSpec(deployment=deployment).pool(),)))
    check(outcome)
    records = outcome.records
    assert float(records.ttft_s[0]) == pytest.approx(float(served.ttft_s.expected), rel=0.02)
    assert float(records.tpot_s[0]) == pytest.approx(float(served.tpot_s.expected), rel=0.01)
    assert np.ptp(records.e2e_s) < 1e-6
