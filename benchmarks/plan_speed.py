"""How long a plan takes, and whether its winner is that of brute force.

    python benchmarks/plan_speed.py                     # one hour, 50 and 1,000 deployments
    python benchmarks/plan_speed.py --brute 100         # random problems, every candidate simulated
    python benchmarks/plan_speed.py --trace AZURE.csv   # one hour of your own

Seconds are of one core (process time). Brute force simulates every candidate to the end, none is
discarded by a bound or by the price of another.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from headway.hardware.catalogue import find_clusters
from headway.model.catalogue import find_model
from headway.plan.bounds import candidates
from headway.plan.candidate import Candidate
from headway.plan.demand import scaled_lengths, steady_profile
from headway.plan.fleet import Fleet
from headway.plan.problem import Problem
from headway.plan.search import offer_of, search
from headway.plan.stream import Stream
from headway.workload.objective import parse_objectives
from headway.workload.oracle import Trace
from headway.workload.profile import find_profile
from headway.workload.traces import read_trace

HOUR_REQUESTS = 19_366  # of the Azure conversation trace of 2023, in an hour


def hour(path: Path | None) -> Trace:
    if path is not None:
        return read_trace(path)
    profile = find_profile("azure-conv")
    return profile.generate(0, HOUR_REQUESTS)


def asked(model: str, trace: Trace, seeds: int) -> Problem:
    priced = (c for c in find_clusters("all") if c.usd_per_accelerator_hour is not None)
    return Problem(
        model=find_model(model),
        demand=Stream(trace, trace.rate_rps),
        objectives=parse_objectives("ttft p95 < 2s, tpot p95 < 50ms"),
        clusters=tuple(priced),
        seeds=seeds,
    )


def timed(problem: Problem, options: list[Candidate], words: str) -> None:
    start = time.process_time()
    offers = search(problem, options).offers
    seconds = time.process_time() - start
    best = offers[0]
    print(
        f"{words}: {len(options)} deployments, {len(offers)} simulated to the end, "
        f"{seconds:.1f} s of one core; best {best.candidate.deployment}, "
        f"{best.replicas} replicas, ${best.usd_per_hour:.2f}/h"
    )


def brute_force(problem: Problem) -> float:
    """Return the price of the best of all candidates, each simulated."""
    prices = [math.inf]
    for candidate in candidates(problem)[0]:
        offer = offer_of(Fleet(problem, candidate), math.inf)
        if offer is not None and offer.is_sure:
            prices.append(offer.usd_per_hour)
    return min(prices)


def random_problem(seed: int) -> Problem:
    random = np.random.default_rng([seed, 77])
    names = random.choice(["h100", "l40s", "a100", "mi300x", "h200", "b200"], 3, replace=False)
    lengths = scaled_lengths(
        float(random.choice([300, 1000, 2500])), float(random.choice([100, 300]))
    )
    rate = float(np.round(10 ** random.uniform(0.2, 1.6), 1))
    ttft, tpot = random.choice([500, 1000, 3000]), random.choice([15, 30, 60])
    return Problem(
        model=find_model(str(random.choice(["llama-3.1-8b", "qwen3-32b"]))),
        demand=Stream(steady_profile(lengths, "random", rate), rate),
        objectives=parse_objectives(f"ttft p95 < {ttft}ms, tpot p95 < {tpot}ms"),
        clusters=find_clusters(",".join(names)),
        engine="vllm",
        sure=float(random.choice([0.5, 0.8, 0.9])),
        max_replica_accelerators=4,
        seeds=3,
    )


def equality(first: int, count: int) -> None:
    same = differ = unanswered = 0
    for seed in range(first, first + count):
        problem = random_problem(seed)
        offers = search(problem, candidates(problem)[0]).offers
        ours = offers[0].usd_per_hour if offers and offers[0].is_sure else math.inf
        best = brute_force(problem)
        if math.isinf(best) and math.isinf(ours):
            unanswered += 1
        elif math.isclose(ours, best, rel_tol=1e-9):
            same += 1
        else:
            differ += 1
            print(f"problem {seed}: ours ${ours:.2f}/h, brute force ${best:.2f}/h")
    print(f"{same} the same winner's price, {differ} another, {unanswered} with no answer")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trace", type=Path)
    parser.add_argument("--brute", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.brute:
        equality(arguments.first, arguments.brute)
        return

    trace = hour(arguments.trace)
    few = asked("llama-3.1-8b", trace.head(200), 1)
    search(few, candidates(few)[0][:1])  # loads the compiled simulator

    problem = asked("llama-3.1-70b", trace, 5)
    start = time.process_time()
    options, _ = candidates(problem)
    print(f"bounds of {len(options)} deployments: {time.process_time() - start:.1f} s of one core")
    spread = [options[i] for i in np.linspace(0, len(options) - 1, 50).astype(int)]
    timed(problem, spread, "50 deployments, an hour")
    timed(replace(problem, seeds=20), options[:1000], "all deployments, up to 20 seeds")


if __name__ == "__main__":
    main()
