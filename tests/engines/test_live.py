"""A small proof: an engine of known speed behind the gateway, beside its simulation.

`benchmarks/live_vs_simulated.py` is the large one, on an engine that computes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from tests.engines.conftest import Linear, Served

from headway.engines.batch import Pipeline
from headway.engines.steplog import LoggedPipeline, as_steps
from headway.engines.timed import TimedPipeline
from headway.gateway.config import GatewayConfig
from headway.gateway.pools import Endpoint
from headway.gateway.server.gateway import Gateway
from headway.http.openai import COMPLETIONS
from headway.load.answer import Outcome
from headway.load.plan import plan_trace
from headway.load.run import Server, open_loop, run
from headway.predict.prediction import LEVELS, LengthPrediction
from headway.schedule.order import Fcfs, OrderPolicy, ShortestJob
from headway.schedule.view import Floats
from headway.sim.engine import Engine
from headway.sim.laws import check
from headway.sim.outcome import simulate_trace
from headway.sim.predictions import quantiles, view_of
from headway.sim.site import Pool, Site
from headway.sim.times import tabulate
from headway.steptime.fitted import fit_step_log
from headway.workload.oracle import Trace
from headway.workload.request import Request

SLOTS, BUDGET = 4, 256
TIMES = Linear(0.012, 2e-5)


class Told:
    """Predictions by prompt; nothing else is known here."""

    def __init__(self, prompts: Sequence[str], rows: Floats) -> None:
        self._rows = dict(zip(prompts, rows.tolist(), strict=True))

    def predict(self, requests: Sequence[Request]) -> list[LengthPrediction]:
        found = (self._rows[request.prompt] for request in requests)
        return [LengthPrediction(tuple(zip(LEVELS, row, strict=True))) for row in found]

    def observe(self, request: Request, output_tokens: int) -> None:
        pass


def drawn(count: int) -> Trace:
    random = np.random.default_rng(3)
    arrivals = np.cumsum(random.exponential(0.12, count))
    output = np.clip(random.lognormal(2.5, 1.0, count), 1, 120).astype(np.int64)
    return Trace(arrivals, random.integers(20, 60, count), output, "drawn")


def asked(
    served: Served, engine: Pipeline, trace: Trace, policy: OrderPolicy, rows: Floats
) -> Outcome:
    url = f"http://127.0.0.1:{served.engine(engine, max_num_seqs=SLOTS)}/v1"
    planned = plan_trace(trace, "timed", COMPLETIONS, hide_lengths=True)
    prompts = [_prompt(one.body) for one in planned]
    config = GatewayConfig((Endpoint(url, max_inflight=SLOTS),), policy, port=0)

    async def start() -> tuple[Gateway, int]:
        gateway = Gateway(config, Told(prompts, rows))
        return gateway, await gateway.start()

    gateway, port = served.run(start())
    try:
        server = Server(f"http://127.0.0.1:{port}/v1", COMPLETIONS)
        return run(lambda: open_loop(server, planned))
    finally:
        served.run(gateway.stop(0.0))


def _prompt(body: bytes) -> str:
    tree: dict[str, Any] = json.loads(body)
    return str(tree["prompt"])


def answered_once(outcome: Outcome, trace: Trace) -> None:
    assert not outcome.problems
    assert [answer.number for answer in outcome.answers] == list(range(len(trace)))
    tokens = [len(answer.token_s) for answer in outcome.answers]
    assert tokens == trace.output_tokens.tolist()
    assert tokens == [answer.output_tokens for answer in outcome.answers]


def test_every_request_is_answered_once_with_its_own_length(served: Served) -> None:
    trace = drawn(30).at_rate(60.0)
    rows = quantiles(trace.output_tokens, 0.4, 1)
    engine = TimedPipeline(TIMES, BUDGET)
    answered_once(asked(served, engine, trace, ShortestJob(), rows), trace)


@pytest.mark.slow
@pytest.mark.parametrize("policy", [Fcfs(), ShortestJob()])
def test_live_is_as_simulated(served: Served, policy: OrderPolicy) -> None:
    trace = drawn(120)
    rows = quantiles(trace.output_tokens, 0.4, 1)
    logged = LoggedPipeline(TimedPipeline(TIMES, BUDGET), BUDGET)
    outcome = asked(served, logged, trace, policy, rows)
    answered_once(outcome, trace)
    # The engine counts a token for each letter of a prompt, where the trace counts words.
    prompts = np.array([answer.prompt_tokens for answer in outcome.answers])
    trace = Trace(trace.arrival_s, prompts, trace.output_tokens)
    # Other work on the machine makes steps longer than they were to be: the log knows by how much.
    times = fit_step_log(*as_steps(logged.rows))
    engine = Engine(SLOTS, BUDGET, num_kv_blocks=1024, asynchronous=True)
    cluster = Site((Pool(engine, tabulate(times, engine)),))
    simulated = simulate_trace(trace, cluster, policy, view_of(trace, rows))
    check(simulated)
    live_s = np.mean([answer.token_s[-1] - answer.due_s for answer in outcome.answers])
    assert float(simulated.records.e2e_s.mean()) == pytest.approx(live_s, rel=0.15)
