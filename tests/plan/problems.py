"""Small problems that tests share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from headway.hardware.catalogue import find_cluster
from headway.model.catalogue import find_model
from headway.plan.demand import scaled_lengths, steady_profile
from headway.plan.problem import Problem
from headway.plan.stream import Stream
from headway.plan.users import Users
from headway.workload.objective import parse_objectives

SLO = "ttft p95 < 1s, tpot p95 < 40ms"


def stream(rate: float = 4.0) -> Stream:
    profile = steady_profile(scaled_lengths(1000, 200), "test", rate)
    return Stream(profile, rate)


def crowd(users: int = 60, turns: int = 1) -> Users:
    return Users(users, 10.0, scaled_lengths(500, 100), turns=turns, e2e_guess_s=4.0)


def problem(slo: str = SLO, on: tuple[str, ...] = ("h100", "l40s"), **more: Any) -> Problem:
    clusters = tuple(map(find_cluster, on))
    base = Problem(
        model=find_model("llama-3.1-8b"),
        demand=stream(),
        objectives=parse_objectives(slo),
        clusters=clusters,
        engine="vllm",
        seeds=2,
        max_replica_accelerators=2,
    )
    return replace(base, **more)
