"""The published experiment on placement, stage by stage, by the rules that the gateway has.

llm-d's shared-prefix benchmark (its kv-cache-manager, benchmarking/73-capacity, and its guides):
150 groups of 5 prompts of 6,000 shared and 1,200 own tokens, answers of 1,000, Qwen3-32B on 8
engines of two H100. All 750 prompts come once at 15 requests/s; that stage warms the caches and is
in no figure. Then the prompts come again and again, in stages of growing rates, each once the one
before it has ended. Its figures are means over the stages (of tokens/s, and of the P90 of TTFT).

Here engines are the simulator's, with the step times of the cost model, and the prefixes an engine
holds are known as they are; `gateway_placement.py` asks live engines through a gateway that learns
them from its own decisions.
"""

from __future__ import annotations

import argparse
import json

import numpy as np

from headway.schedule.route import LEAST_LOADED, PREFIX_WORK_LEFT, Placement, RoundRobin
from headway.sim.outcome import simulate_trace
from headway.sim.scenario import PoolSpec
from headway.sim.site import Site
from headway.steptime.deployment_name import parse_deployment
from headway.workload.oracle import BlockHashes, Trace

DEPLOYMENT, ENGINES = "qwen3-32b@h100:tp2", 8
GROUPS, PROMPTS, SHARED, OWN, OUTPUT = 150, 5, 6000, 1200, 1000
BLOCK = 400
WARM_UP = (15.0, 50.0)
STAGES = (
    (3.0, 20.0), (10.0, 20.0), (15.0, 20.0), (20.0, 38.0), (22.0, 34.0), (25.0, 30.0),
    (30.0, 25.0), (35.0, 21.0), (40.0, 38.0), (43.0, 36.0), (46.0, 33.0), (49.0, 30.0),
    (52.0, 29.0), (55.0, 27.0), (57.0, 26.0), (60.0, 25.0),
)  # fmt: skip
PAUSE_S = 600.0  # until the slowest has ended


def ladder(seed: int) -> tuple[Trace, np.ndarray]:
    """Return all requests, and the stage of each; the first is the one that warms."""
    random = np.random.default_rng(seed)
    hashes = [
        [1_000_000 + group * (SHARED // BLOCK) + k for k in range(SHARED // BLOCK)]
        + [row * (OWN // BLOCK) + k for k in range(OWN // BLOCK)]
        for group in range(GROUPS)
        for row in range(group * PROMPTS, (group + 1) * PROMPTS)
    ]
    turns = random.permutation(len(hashes))

    arrival_s: list[float] = []
    stages: list[int] = []
    begin_s = 0.0
    for stage, (rate_rps, duration_s) in enumerate((WARM_UP, *STAGES)):
        count = round(rate_rps * duration_s)
        gaps_s = random.exponential(1.0, count)
        arrival_s += (begin_s + np.cumsum(gaps_s) * duration_s / gaps_s.sum()).tolist()
        stages += [stage] * count
        begin_s += duration_s + PAUSE_S
    rows = [turns[k % len(turns)] for k in range(len(arrival_s))]
    ones = np.ones(len(rows), dtype=np.int64)
    prefixes = BlockHashes.of_lists([hashes[row] for row in rows], BLOCK)
    trace = Trace(np.array(arrival_s), ones * (SHARED + OWN), ones * OUTPUT, "published", prefixes)
    return trace, np.array(stages)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    trace, stages = ladder(asked.seed)
    pool = PoolSpec(deployment=parse_deployment(DEPLOYMENT), replicas=ENGINES).pool()

    result: dict[str, float] = {}
    rules: tuple[Placement, ...] = (RoundRobin(), LEAST_LOADED, PREFIX_WORK_LEFT)
    for rule in rules:
        records = simulate_trace(trace, Site((pool,), placement=rule)).records
        rates, p90s, lines = [], [], []
        for stage in range(1, len(STAGES) + 1):
            rows = stages == stage
            span_s = records.last_s[rows].max() - records.arrival_s[rows].min()
            rates.append(records.output_tokens[rows].sum() / span_s)
            p90s.append(np.quantile(records.ttft_s[rows], 0.9))
            lines.append(f"{STAGES[stage - 1][0]:.0f}/s {rates[-1]:.0f} ({p90s[-1]:.2f})")
        hits = records.cached_tokens[stages > 0].sum() / records.prompt_tokens[stages > 0].sum()
        result[f"tok_per_s, {rule.name}"] = float(np.mean(rates))
        result[f"ttft_p90_s, {rule.name}"] = float(np.mean(p90s))
        print(f"{rule.name:18s} {np.mean(rates):6.0f} tok/s, TTFT P90 {np.mean(p90s):.2f} s, "
              f"{hits:.0%} cached; {', '.join(lines)}")  # fmt: skip
    print(json.dumps({"benchmark": "placement_published", **result}))


if __name__ == "__main__":
    main()
