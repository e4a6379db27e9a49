"""Small worlds for tests: linear step times, quick tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headway.sim.engine import Engine
from headway.sim.site import Pool, Site
from headway.sim.times import StepTable, tabulate
from headway.steptime.step_time import RequestOverhead
from headway.steptime.time_estimate import Basis, TimeEstimate
from headway.workload.oracle import BlockHashes, Trace
from headway.workload.step import Step


@dataclass(frozen=True, slots=True)
class LinearStepTime:
    """Fixed cost, plus so much per token in the step and per token of cache that is read.

    ``uneven`` is the share of the last that a relative variance of 1 among the contexts adds.
    """

    fixed_s: float = 5e-3
    token_s: float = 2e-5
    cached_s: float = 1e-8
    overhead_s: tuple[float, float] = (0.0, 0.0)  # of a request, of a prompt token
    uneven: float = 0.0

    def step_time(self, step: Step) -> TimeEstimate:
        tokens = step.total_tokens
        cached = (step.num_sequences * step.cached_tokens()).sum(axis=-1)
        total = self.fixed_s + self.token_s * tokens + self.cached_s * cached
        spread_s = self.uneven * self.cached_s * cached if self.uneven else None
        return TimeEstimate(total, total, total, Basis.ASSUMED, spread_s=spread_s)

    @property
    def request_overhead(self) -> RequestOverhead:
        return RequestOverhead(*self.overhead_s)


def world(engine: Engine | None = None, model: LinearStepTime | None = None) -> Site:
    engine = engine or Engine(num_kv_blocks=20_000)
    return Site((pool(engine, model),))


def pool(engine: Engine, model: LinearStepTime | None = None, replicas: int = 1) -> Pool:
    return Pool(engine, table(engine, model or LinearStepTime()), replicas)


_TABLES: dict[tuple[Engine, LinearStepTime], StepTable] = {}


def table(engine: Engine, model: LinearStepTime) -> StepTable:
    if (engine, model) not in _TABLES:
        _TABLES[engine, model] = tabulate(model, engine)
    return _TABLES[engine, model]


def poisson(
    count: int,
    rate_rps: float,
    seed: int,
    prompt: float = 200,
    output: float = 50,
    hashes: int = 0,
) -> Trace:
    random = np.random.default_rng(seed)
    arrivals = np.cumsum(random.exponential(1 / rate_rps, count))
    prompts = 1 + random.geometric(1 / prompt, count)
    outputs = random.geometric(1 / output, count)
    prefixes = None
    if hashes:
        lists = [[int(random.integers(hashes)) * 1000 + k for k in range(p // 16)] for p in prompts]
        first = [int(random.integers(hashes)) for _ in prompts]
        lists = [
            [f * 1000 + k for k in range(len(one))] for f, one in zip(first, lists, strict=True)
        ]
        prefixes = BlockHashes.of_lists(lists, 16)
    return Trace(arrivals, prompts, outputs, "poisson", prefixes)
