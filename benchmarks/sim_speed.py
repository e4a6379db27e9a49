"""How many requests a second of CPU time simulates, on one core.

The workload is the Azure conversation hour, 19,366 requests: the trace itself where its file is
given, else drawn from the shipped profile. Only the loop is timed, as for peers: Vidur 350, NVIDIA
DynoSim 12,000 requests per CPU second, a bare probe without preemption or policies 5.6 to 9.4
million. "Everything on": predicted-length priority with preemption by key, prefix cache, routing
over four replicas by load and prefix, laws' counters, quantiles afterwards.

    python benchmarks/sim_speed.py [--trace FILE] [--repeats 9] [--ray]
    python benchmarks/sim_speed.py --beside TREE [--turns 5]    # the loops alone, two trees in turn
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from headway.schedule.order import Fcfs, OrderPolicy, ShortestJob
from headway.schedule.policies import policies
from headway.schedule.route import LowestScore
from headway.schedule.view import View
from headway.sim.experiment import Case, Experiment, run_all
from headway.sim.kernel import run
from headway.sim.laws import check
from headway.sim.layout import prepare
from headway.sim.outcome import outcome_of, simulate_trace
from headway.sim.policy_row import PolicyRow
from headway.sim.predictions import Skill, quantiles, view_of
from headway.sim.scenario import EngineFeatures, PoolSpec
from headway.sim.site import Site, share_of_work
from headway.steptime.deployment_name import parse_deployment
from headway.workload.aggregate import RequestSummary
from headway.workload.oracle import BlockHashes, Trace
from headway.workload.profile import find_profile
from headway.workload.traces import read_trace

HOUR = 19_366
PEERS = {"Vidur": 350.0, "DynoSim": 12_000.0}


def least_cpu_s(
    trace: Trace, site: Site, policy: OrderPolicy, view: View | None, repeats: int
) -> float:
    simulate_trace(trace, site, policy, view)
    best = float("inf")
    for _ in range(repeats):
        world, numbers = prepare(trace, site, policy, view)
        began = time.process_time()
        events = run(world)
        best = min(best, time.process_time() - began)
    check(outcome_of(trace, world, numbers, events))
    return best


def with_prefixes(trace: Trace) -> Trace:
    """A shared system prompt out of 50 in front of every prompt, in blocks of 64 tokens."""
    random = np.random.default_rng(0)
    families = random.integers(0, 50, len(trace))
    lists = [
        [int(f) * 10_000 + k if k < 6 else 10_000_000 + i * 1000 + k for k in range(int(p) // 64)]
        for i, (f, p) in enumerate(zip(families, trace.prompt_tokens, strict=True))
    ]
    return replace(trace, prefixes=BlockHashes.of_lists(lists, 64))


def cold_start() -> tuple[float, float]:
    """CPU seconds and peak MB of a whole process that simulates once, compiled code cached."""
    code = (
        "from headway.sim.outcome import simulate_trace\n"
        "from headway.sim.scenario import PoolSpec\n"
        "from headway.sim.site import Site\n"
        "from headway.sim.source import Workload\n"
        "from headway.steptime.deployment_name import parse_deployment\n"
        "d = parse_deployment('llama-3.1-8b@h100:tp1', engine='none')\n"
        "t = Workload.of('azure-conv', 19366).draw(0, None)\n"
        "simulate_trace(t, Site((PoolSpec(deployment=d).pool(),)))\n"
        "print(next(x for x in open('/proc/self/status') if x.startswith('VmHWM')).split()[1])\n"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, float(said.stdout) / 1e3


def sweep(
    trace: Trace, site: Site, workers: int, executor: str = "threads"
) -> tuple[float, float, str]:
    """Wall and CPU seconds of 64 runs of the hour: 4 policies, 4 loads, 4 seeds; their digest."""
    known = policies(1.0, 0.03)
    chosen = [known[name] for name in ("fcfs", "sjf", "headway", "boost")]
    service = share_of_work(site.pools[0], trace)
    experiments = {
        rate: Experiment(tuple([trace.at_rate(rate)] * 4), site, service, Skill(0.4))
        for rate in (5.53, 10.0, 18.0, 22.0)
    }
    tasks: list[tuple[float, Case]] = [
        (rate, Case(policy, seed)) for rate in experiments for policy in chosen for seed in range(4)
    ]

    def one(task: tuple[float, Case]) -> tuple[PolicyRow, ...]:
        return experiments[task[0]].rows(task[1])

    one(tasks[0])
    if executor == "ray":
        run_all(one, tasks[:workers], executor=executor, workers=workers)  # starts Ray
    wall, cpu = time.perf_counter(), time.process_time()
    rows = run_all(one, tasks, executor=executor, workers=workers)
    digest = hashlib.sha256(repr(rows).encode()).hexdigest()
    return time.perf_counter() - wall, time.process_time() - cpu, digest


LOOPS = """
import runpy, sys
script = sys.argv.pop(1)
there = runpy.run_path(script)["main"].__globals__
there["cold_start"], there["sweep"] = lambda: (0.0, 0.0), lambda *rest: (0.0, 0.0, "")
there["main"]()
"""  # the benchmark of any tree, without what is not a loop


def loops(tree: Path, repeats: int) -> dict[str, float]:
    """Requests per CPU second of every loop of the tree, in a process of its own."""
    script = str(tree / "benchmarks" / "sim_speed.py")
    said = subprocess.run(
        [sys.executable, "-c", LOOPS, script, "--repeats", str(repeats)],
        env={**os.environ, "PYTHONPATH": str(tree / "src")},
        check=True,
        capture_output=True,
        text=True,
    )
    result: dict[str, float] = json.loads(said.stdout.splitlines()[-1])
    return {name: value for name, value in result.items() if "requests/s" in name}


def beside(other: Path, turns: int, repeats: int) -> None:
    """Print the best of every loop here and in another tree, run in turn, and their ratio."""
    here = Path(__file__).resolve().parents[1]
    best: dict[str, tuple[float, float]] = {}
    for _ in range(turns):
        old, new = loops(other, repeats), loops(here, repeats)
        for name, value in new.items():
            before = best.get(name, (0.0, 0.0))
            best[name] = (max(before[0], old.get(name, 0.0)), max(before[1], value))
    for name, (old_best, new_best) in best.items():
        print(
            f"{name:<34}{old_best / 1e6:6.2f} M there{new_best / 1e6:6.2f} M here"
            f"{new_best / old_best:7.2f} of it"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trace", type=Path)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--ray", action="store_true", help="the sweep on Ray, too")
    parser.add_argument("--beside", type=Path, help="another tree, whose loops are run in turn")
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    if given.beside is not None:
        beside(given.beside, given.turns, given.repeats)
        return
    whole = read_trace(given.trace) if given.trace else find_profile("azure-conv").generate(0, HOUR)
    built = parse_deployment("llama-3.1-8b@h100:tp1", engine="none")
    one, four = (PoolSpec(deployment=built, replicas=count) for count in (1, 4))
    plain = Site((one.pool(EngineFeatures(asynchronous=False, prefix_cache=False)),))
    place = LowestScore(1.0, 1e-4, 1e-3, 1 / 512, "everything")
    full = Site((four.pool(),), place)
    shared = with_prefixes(whole)
    view = view_of(shared, quantiles(shared.output_tokens, 0.4, 0))
    result: dict[str, float] = {}
    for rate in (5.53, 15.0, 30.0):
        seconds = least_cpu_s(whole.at_rate(rate), plain, Fcfs(), None, given.repeats)
        result[f"plain, {rate:g} requests/s"] = len(whole) / seconds
    for rate in (22.0, 60.0, 120.0):
        at_rate = shared.at_rate(rate)
        seen = replace(view, arrival_s=at_rate.arrival_s)
        seconds = least_cpu_s(at_rate, full, ShortestJob(), seen, given.repeats)
        result[f"everything on, {rate:g} requests/s"] = len(whole) / seconds
    for name, per_s in result.items():
        ratios = ", ".join(f"{per_s / peer:,.0f} x {who}" for who, peer in PEERS.items())
        print(f"{name:<34}{per_s / 1e6:6.2f} M requests/CPU-s   {ratios}")
    shown = len(result)
    began = time.process_time()
    RequestSummary.of(simulate_trace(whole, plain).records)
    result["simulate and quantiles, ms"] = (time.process_time() - began) * 1e3
    result["cold start, CPU s"], result["its peak memory, MB"] = min(cold_start() for _ in range(2))
    wall, cpu, digest = sweep(whole, plain, 2)
    result["sweep of 64, wall s"], result["sweep of 64, CPU s"] = wall, cpu
    if given.ray:
        result["sweep of 64 on Ray, wall s"], _, there = sweep(whole, plain, 2, "ray")
        result["Ray gives the same bytes"] = float(digest == there)
    for name in list(result)[shown:]:
        print(f"{name:<34}{result[name]:8.2f}")
    print(json.dumps({"benchmark": "sim_speed", "requests": len(whole),
                      **{k: round(v, 3) for k, v in result.items()}}))  # fmt: skip


if __name__ == "__main__":
    main()
