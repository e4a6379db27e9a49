"""Nothing meets the objectives: what is nearest, what that costs, and what rules each chip out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from headway.plan.bounds import candidates
from headway.plan.candidate import Candidate, Reach
from headway.plan.fleet import Fleet
from headway.plan.problem import Problem
from headway.plan.search import may_be_sure, offer_of
from headway.workload.objective import Objective

MAX_LOOSER = 64.0
STEP = 1.1  # a nearest value is found to 10%
MAX_STEPS = 8  # from where the bounds say to where a fleet is
MAX_TRIED = 4  # candidates that are simulated for one value


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

    With each the dollars per hour of the fleet that has it (accelerators where no price is known of
    any); objectives that cannot be relaxed into something feasible are left out.
    """
    priced = tuple(cluster for cluster in problem.clusters if cluster.is_priced)
    problem = replace(problem, clusters=priced or problem.clusters)
    values = []
    for place, objective in enumerate(problem.objectives):
        if not _possible(_looser(problem, place, MAX_LOOSER)):
            continue

        # The bounds of layouts say where to look, a simulation from where on there is a fleet.
        low, high = 1.0, MAX_LOOSER
        while high / low > STEP:
            middle = math.sqrt(low * high)
            low, high = (
                (low, middle) if _possible(_looser(problem, place, middle)) else (middle, high)
            )
        for _ in range(MAX_STEPS):
            usd = _cheapest(_looser(problem, place, high))
            if usd is not None:
                bound_s = _rounded(objective.bound_s * high)
                values.append((replace(objective, bound_s=bound_s), usd))
                break
            high *= STEP
    return values


def _looser(problem: Problem, place: int, factor: float) -> Problem:
    """Return the problem with one of its objectives ``factor`` times looser."""
    objectives = list(problem.objectives)
    bound_s = _rounded(objectives[place].bound_s * factor)
    objectives[place] = replace(objectives[place], bound_s=bound_s)
    return replace(problem, objectives=tuple(objectives))


def _possible(problem: Problem) -> bool:
    """Return whether the bounds leave anything that may be sure enough."""
    return any(math.isfinite(option.surely_least) for option in candidates(problem)[0])


def _cheapest(problem: Problem) -> float | None:
    """Return $/h of the first candidate that is sure enough, ``None`` where none is."""
    options, _ = candidates(problem)
    for candidate in _one_of_each_kind(options)[:MAX_TRIED]:
        fleet = Fleet(problem, candidate)
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
