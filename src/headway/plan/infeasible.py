"""Nothing meets the objectives: what is nearest, what that costs, and what rules each chip out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from headway.plan.bounds import Candidate, Reach, candidates
from headway.plan.fleet import Fleet
from headway.plan.problem import Problem
from headway.plan.search import may_be_sure, offer_of
from headway.workload.objective import Objective

MAX_LOOSER = 64.0
STEP = 1.1  # a nearest value is found to 10%
MAX_TRIED = 6  # candidates that are simulated for one value


def killed(reaches: Sequence[Reach]) -> dict[str, str]:
    """Return for accelerators what rules them out; those with the same reason stand together.

    Of several engines on one accelerator, the one that comes nearest speaks for it.
    """
    nearest_of: dict[str, Reach] = {}
    for reach in reaches:
        best = nearest_of.setdefault(reach.accelerator, reach)
        if sum(reach.best_s.values()) < sum(best.best_s.values()) or not best.best_s:
            nearest_of[reach.accelerator] = reach

    by_reason: dict[str, list[str]] = {}
    for name, reach in nearest_of.items():
        by_reason.setdefault(reach.reason, []).append(name)
    return {", ".join(sorted(names)): reason for reason, names in by_reason.items()}


def nearest(problem: Problem) -> list[tuple[Objective, float]]:
    """Return for each objective the nearest bound that can be had with the others as they are.

    With each the dollars per hour of the fleet that has it; objectives that cannot be relaxed
    into something feasible are left out.
    """
    found = []
    for place, objective in enumerate(problem.objectives):
        low, high = 1.0, MAX_LOOSER
        best = _cheapest(problem, place, high)
        if best is None:
            continue
        while high / low > STEP:
            middle = math.sqrt(low * high)
            usd = _cheapest(problem, place, middle)
            low, high, best = (middle, high, best) if usd is None else (low, middle, usd)
        found.append((replace(objective, bound_s=_rounded(objective.bound_s * high)), best))
    return found


def _cheapest(problem: Problem, place: int, factor: float) -> float | None:
    """Return $/h of a fleet for a looser objective, ``None`` where there is none."""
    objectives = list(problem.objectives)
    looser = replace(objectives[place], bound_s=objectives[place].bound_s * factor)
    objectives[place] = looser
    easier = replace(problem, objectives=tuple(objectives))
    options, _ = candidates(easier)
    for candidate in _one_of_each_kind(options)[:MAX_TRIED]:
        fleet = Fleet(easier, candidate)
        if may_be_sure(fleet):
            offer = offer_of(fleet, math.inf)
            if offer is not None and offer.is_sure:
                return offer.usd_per_hour
    return None


def _one_of_each_kind(options: Sequence[Candidate]) -> list[Candidate]:
    first: dict[object, Candidate] = {}
    for candidate in options:
        if math.isfinite(candidate.surely_least):
            first.setdefault(candidate.kind, candidate)
    return list(first.values())


def _rounded(seconds: float) -> float:
    return float(f"{seconds:.3g}")
