"""The other way round: how much of a demand a budget serves, with the asked certainty.

A budget buys whole replicas. How much they serve follows from one curve of each kind that is near
the best: a fleet does alike wherever each replica has the same load.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from headway.errors import InputError
from headway.plan.bounds import candidates
from headway.plan.candidate import Candidate
from headway.plan.doubt import Outlook, quantile
from headway.plan.fleet import Fleet
from headway.plan.problem import Problem
from headway.plan.search import may_be_sure, search
from headway.units import check_positive

MAX_KINDS = 4  # accelerators, engines and formats of which a curve is made
FRACTIONS = np.geomspace(0.1, 8.0, 220)  # of the replicas, between which a need is found to 2%
SMALLER = 0.97  # a step back while a plan at the volume costs more than the budget
MAX_STEPS = 6
MAX_CURVES = 4
NEAR = 0.1  # of the replicas that are needed, within which a curve was made at the right load


@dataclass(frozen=True, slots=True, eq=False)
class Affordable:
    """The largest demand that a budget serves.

    Attributes:
        problem: with that demand; planning it is the answer.
        volume: over the demand that was asked.

    """

    problem: Problem
    volume: float


def within_budget(problem: Problem, usd_per_hour: float) -> Affordable:
    """Return the most of the demand that a fleet for ``usd_per_hour`` serves.

    Raises:
        InputError: not one replica that is sure enough can be paid.

    """
    check_positive(usd_per_hour, "budget in $ per hour", maximum=1e9)
    options = [option for option in candidates(problem)[0] if option.is_priced]
    kinds = _most_promising(options, usd_per_hour)
    volumes = [_volume(problem, candidate, usd_per_hour) for candidate in kinds]
    volume = max(volumes, default=0.0)

    # The curve is of one kind at a time; the plan itself has the last word.
    names = {candidate.deployment.cluster.name for candidate in kinds}
    near = tuple(cluster for cluster in problem.clusters if cluster.name in names)
    for _ in range(MAX_STEPS if volume > 0 else 0):
        part = replace(problem, demand=problem.demand.scaled(volume), clusters=near)
        offers = search(part, candidates(part)[0]).offers
        if offers and offers[0].is_sure and offers[0].usd_per_hour <= usd_per_hour + 1e-9:
            return Affordable(part, volume)
        volume *= SMALLER
    raise InputError(
        f"no replica that meets the objectives is to be had for ${usd_per_hour:g}/h; raise the "
        "budget"
    )


def _most_promising(options: Sequence[Candidate], usd_per_hour: float) -> list[Candidate]:
    """Return the candidate of each kind that serves most for the budget in its steady state."""
    best: dict[object, Candidate] = {}
    for candidate in sorted(options, key=lambda c: -_paid(c, usd_per_hour) * c.share):
        if _paid(candidate, usd_per_hour) > 0 and np.isfinite(candidate.surely_least):
            best.setdefault(candidate.kind, candidate)
    return list(best.values())[:MAX_KINDS]


def _paid(candidate: Candidate, usd_per_hour: float) -> int:
    """Return the replicas that the budget buys."""
    return min(int(usd_per_hour / candidate.usd_per_hour + 1e-9), candidate.max_replicas)


def _volume(problem: Problem, candidate: Candidate, usd_per_hour: float) -> float:
    """Return how much of the demand the replicas that the budget buys serve surely enough."""
    replicas = _paid(candidate, usd_per_hour) - problem.survive
    if replicas < 1:
        return 0.0
    volume = replicas * candidate.share

    # A curve is exact near the load it is made at, and an engine's limits suit one load: both are
    # made anew at what they say.
    for _ in range(MAX_CURVES):
        part = replace(
            problem,
            demand=problem.demand.scaled(volume),
            clusters=(candidate.deployment.cluster,),
        )
        alike = [
            option
            for option in candidates(part)[0]
            if option.kind == candidate.kind and option.layout == candidate.layout
        ]
        if not alike:
            return 0.0
        fleet = Fleet(part, replace(alike[0], likely_replicas=replicas))
        if not may_be_sure(fleet):
            return 0.0

        outlook = Outlook.of(part, alike[0], fleet.curve, counts=replicas * FRACTIONS)
        needed = float(quantile(fleet.needed(outlook), problem.sure))
        if not np.isfinite(needed):
            return 0.0
        volume *= replicas / needed
        if abs(needed / replicas - 1) < NEAR:
            break
    return volume
