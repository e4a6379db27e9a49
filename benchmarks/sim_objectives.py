"""What orders are worth where objectives were promised: attainment, capacity, classes, replicas.

Every shipped profile on Llama-3.1-8B and one H100 (analytic step times), predictions of skill tau
0.4, each order beside itself with the predictions dealt out at random, differences paired by seed.
Objectives: TTFT 1 s (2 s for Mooncake and reasoning) and 50 us more per prompt token, TPOT 60 ms
(100 ms for Mooncake). `headway` is chosen per cell by simulation on traces of its own.

    python benchmarks/sim_objectives.py cells [--slots 16] [--load 0.9] [--goal attainment]
    python benchmarks/sim_objectives.py capacity [--slots 16]
    python benchmarks/sim_objectives.py classes
    python benchmarks/sim_objectives.py replicas
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace

import numpy as np

from headway.schedule.deadline import EarliestDeadline, Moore, Slack, StrictTiers
from headway.schedule.order import Fcfs, OrderPolicy, ShortestJob
from headway.schedule.route import (
    LEAST_LOADED,
    PREFIX_AFFINE,
    Placement,
    RoundRobin,
    TwoChoices,
    work_left,
)
from headway.schedule.uncertain import Gittins
from headway.sim.capacity import capacity_rps
from headway.sim.experiment import Case, Experiment
from headway.sim.predictions import Skill
from headway.sim.scenario import EngineFeatures, PoolSpec
from headway.sim.site import Site, share_of_work
from headway.sim.source import Workload
from headway.sim.study import saturation_rps
from headway.sim.tune import tune
from headway.steptime.deployment_name import parse_deployment
from headway.workload.aggregate import paired, t_quantile
from headway.workload.profile import profile_names
from headway.workload.request import Slo

DEPLOYMENT = parse_deployment("llama-3.1-8b@h100:tp1", engine="none")
FEATURES = EngineFeatures(asynchronous=False, prefix_cache=True)
ORDERS: tuple[OrderPolicy, ...] = (Fcfs(), ShortestJob(), Moore(), Slack(), Gittins())


def objectives(name: str) -> Slo:
    return Slo(
        ttft_s=2.0 if name in ("mooncake-conv", "servegen-reasoning") else 1.0,
        tpot_s=0.1 if name == "mooncake-conv" else 0.06,
        ttft_prompt_token_s=50e-6,
    )


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is run: seeds of so many requests."""

    seeds: int
    requests: int


def experiments(
    name: str, slots: int, load: float, scale: Scale, replicas: int = 1
) -> tuple[Experiment, Experiment]:
    """Return what is measured, and what is trained on, at a load of the saturation of one cell."""
    pool = PoolSpec(deployment=DEPLOYMENT, max_num_seqs=slots, replicas=replicas).pool(FEATURES)
    site = Site((pool,))
    workload = Workload.of(name, scale.requests)
    one = Site((replace(pool, replicas=1),))
    rate_rps = load * replicas * saturation_rps(workload.draw(0, None), one)

    traces = tuple(workload.draw(100 + seed, rate_rps) for seed in range(scale.seeds))
    training = tuple(workload.draw(1000 + seed, rate_rps) for seed in range(3))
    measured = Experiment(
        traces, site, share_of_work(pool, traces[0]), Skill(0.4), objectives(name), lawful=True
    )
    return measured, replace(measured, traces=training, lawful=False)


def figures(experiment: Experiment, policy: OrderPolicy, control: bool = False) -> np.ndarray:
    """Return attainment, mean e2e, P99 e2e, mean slowdown and P95 TTFT, a row per seed."""
    rows = []
    for seed in range(len(experiment.traces)):
        run = experiment.run(Case(policy, seed, control))
        e2e_s, ttft_s = run.records.e2e_s, run.records.ttft_s
        done = np.isfinite(e2e_s)
        rows.append(
            (
                experiment.good(run.records, seed).mean(),
                e2e_s[done].mean(),
                np.percentile(e2e_s[done], 99),
                (e2e_s / run.alone_s)[done].mean(),
                np.percentile(ttft_s[done], 95),
            )
        )
    return np.array(rows)


def half_width(values: np.ndarray) -> float:
    """Return half the width of the 95% interval of a mean over seeds."""
    if len(values) < 2:
        return float("nan")
    return float(t_quantile(len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))


def show(label: str, own: np.ndarray, fcfs: np.ndarray) -> dict[str, float]:
    changes = [paired(list(own[:, k]), list(fcfs[:, k])) for k in range(1, 5)]
    attained = own[:, 0]
    texts = [f"{c.mean:+.0%} ({c.lower:+.0%} to {c.upper:+.0%})" for c in changes]
    print(
        f"| {label} | {attained.mean():.3f} +- {half_width(attained):.3f} | {' | '.join(texts)} |"
    )
    names = ("mean", "p99", "slowdown", "ttft_p95")
    return {"attainment": round(float(attained.mean()), 4)} | {
        name: round(change.mean, 4) for name, change in zip(names, changes, strict=True)
    }


def cells(slots: int, load: float, goal: str, scale: Scale) -> dict[str, object]:
    """Print attainment, tails and means of all orders on every profile."""
    result: dict[str, dict[str, dict[str, float]]] = {}
    for name in profile_names():
        measured, training = experiments(name, slots, load, scale)
        tuned = tune(training, goal)
        print(f"\n{name}, {slots} slots, load {load}: headway is {tuned.setting}")
        print("| order | in time | e2e mean | e2e P99 | slowdown | TTFT P95 |")
        fcfs, rows = figures(measured, Fcfs()), result.setdefault(name, {})
        for policy in (*ORDERS, tuned.policy):
            rows[policy.name] = show(policy.name, figures(measured, policy), fcfs)
            if policy.uses_predictions:
                label = f"{policy.name}, shuffled"
                rows[label] = show(label, figures(measured, policy, control=True), fcfs)

    print(f"\nMeans of {len(result)} profiles, {slots} slots, load {load}, goal {goal}")
    for label in next(iter(result.values())):
        of_profiles = [rows[label] for rows in result.values() if label in rows]
        means = {key: np.mean([row[key] for row in of_profiles]) for key in of_profiles[0]}
        print(f"  {label:<18}" + "  ".join(f"{key} {value:+.3f}" for key, value in means.items()))
    return {"cells": result}


def mean_capacity_rps(experiment: Experiment, policy: OrderPolicy, control: bool = False) -> float:
    cases = [Case(policy, seed, control) for seed in range(len(experiment.traces))]
    return float(np.mean([capacity_rps(experiment, case) for case in cases]))


def capacity(slots: int, scale: Scale) -> dict[str, object]:
    """Print the rate at which 90% meet their objectives; 0 where none does."""
    result: dict[str, dict[str, float]] = {}
    print(
        "| profile | fcfs, requests/s | " + " | ".join(o.name for o in ORDERS[1:]) + " | shuffled |"
    )
    for name in profile_names():
        measured, _ = experiments(name, slots, 0.9, scale)
        measured = replace(measured, lawful=False)
        base = mean_capacity_rps(measured, Fcfs())
        rates = {policy.name: mean_capacity_rps(measured, policy) for policy in ORDERS[1:]}
        best = max(ORDERS[1:], key=lambda policy: rates[policy.name])
        rates["best, shuffled"] = mean_capacity_rps(measured, best, control=True)
        print(f"| {name} | {base:.2f} | " + " | ".join(f"{r:.2f}" for r in rates.values()) + " |")
        result[name] = {"fcfs": round(base, 3)} | {k: round(v, 3) for k, v in rates.items()}
    return {"capacity": result}


def classes(scale: Scale) -> dict[str, object]:
    """Print how many are in time where 60% want a token within 1 s and 40% within 60 s."""
    result: dict[str, dict[str, float]] = {}
    slos = (("chat", Slo(ttft_s=1.0)), ("bulk", Slo(ttft_s=60.0, tier=1)))
    orders = (Fcfs(), EarliestDeadline(), StrictTiers(), Moore(), Slack(), Gittins())
    for name in ("azure-conv", "servegen-chat"):
        for load in (0.9, 1.0):
            measured, _ = experiments(name, 16, load, scale)
            traces = tuple(
                replace(
                    trace,
                    tenants=(np.random.default_rng([seed, 5]).random(len(trace)) < 0.4).astype(int),
                    tenant_names=("chat", "bulk"),
                )
                for seed, trace in enumerate(measured.traces)
            )
            both = replace(measured, traces=traces, slo=Slo(), tenants=slos)
            rows = {}
            for policy in orders:
                for control in (False, True) if policy.uses_predictions else (False,):
                    attained = figures(both, policy, control)[:, 0]
                    label = policy.name + (", shuffled" if control else "")
                    rows[label] = round(float(attained.mean()), 4)
                    width = half_width(attained)
                    print(f"| {name} {load} | {label} | {attained.mean():.3f} +- {width:.3f} |")
            result[f"{name} @ {load}"] = rows
    return {"classes": result}


def replicas(scale: Scale) -> dict[str, object]:
    """Print what routes and orders do on eight replicas, Mooncake's conversations at 0.9."""
    measured, _ = experiments("mooncake-conv", 256, 0.9, scale, replicas=8)
    rows: dict[str, dict[str, float]] = {}
    base = None
    routes: tuple[Placement, ...] = (
        RoundRobin(),
        TwoChoices(),
        LEAST_LOADED,
        PREFIX_AFFINE,
        work_left(measured.service),
        work_left(measured.service, 1.0),
    )
    print("| route | order | in time | e2e mean | e2e P99 | slowdown | TTFT P95 |")
    for number, route in enumerate(routes):
        name = route.name + (" and answers" if number == 5 else "")
        routed = replace(measured, site=replace(measured.site, placement=route))
        for policy in (Fcfs(), Moore(), Slack(), Gittins()):
            for control in (False, True) if policy.uses_predictions and number > 3 else (False,):
                own = figures(routed, policy, control)
                base = own if base is None else base
                label = f"{name} | {policy.name}" + (", shuffled" if control else "")
                rows[label] = show(label, own, base)
    return {"replicas": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("cells", "capacity", "classes", "replicas"))
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--load", type=float, default=0.9)
    parser.add_argument("--goal", default="attainment")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=5000)
    given = parser.parse_args()

    began, scale = time.process_time(), Scale(given.seeds, given.requests)
    if given.what == "cells":
        result = cells(given.slots, given.load, given.goal, scale)
    elif given.what == "capacity":
        result = capacity(given.slots, scale)
    else:
        result = classes(scale) if given.what == "classes" else replicas(scale)

    line = {"benchmark": "sim_objectives", **vars(given)}
    line |= {"cpu_s": round(time.process_time() - began, 1), **result}
    print(json.dumps(line))


if __name__ == "__main__":
    main()
