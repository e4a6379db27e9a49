"""The cheapest fleet: candidates in the order of their bound, until no bound is below the winner.

Each number of replicas is simulated with the requests of one seed, and with more seeds, the same
for all candidates, while it is too close to call. A candidate that costs more than the best so far
is dropped as soon as that is certain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from headway.plan.candidate import Candidate, Kind
from headway.plan.doubt import quantile
from headway.plan.fleet import VOLUMES, Fleet
from headway.plan.problem import Problem
from headway.serving.estimate import serve
from headway.steptime.time_estimate import Basis

# A log-margin of one run that needs no second seed: nearly four standard deviations, which are
# 0.027 in the median and 0.033 at most over seeds of streams and crowds, P95 and P99.
CLEAR = 0.12
SURE_ERRORS = 2.5  # standard errors of the mean margin: wrong in one of 80 close calls

# What the table shows beside the winner: never decides it. Twice the price is no rival.
MIN_KINDS = 4
COMPARABLE = 2.0
MAX_UNSURE = 12  # that are simulated where nothing is sure enough
MAX_VOLUME = 7.0  # over the demand, from which on headroom is not looked for
IDLE_SLACK = 1.05  # within which an almost idle fleet is known


@dataclass(frozen=True, slots=True, eq=False)
class Offer:
    """A candidate with its answer.

    Attributes:
        fleet: its replicas, simulated.
        even_replicas: that are needed if the step times are as predicted.
        sure_replicas: that are needed with the asked probability; infinite where none are enough.
        probability: that the objectives are met with as many as are bought.
        basis: the weakest of what the step times rest on.

    """

    fleet: Fleet
    even_replicas: int
    sure_replicas: float
    probability: float
    basis: Basis

    @property
    def candidate(self) -> Candidate:
        """What one replica is."""
        return self.fleet.candidate

    @property
    def is_sure(self) -> bool:
        """Whether the asked probability can be bought, with the replicas that may fail."""
        spare = self.fleet.problem.survive
        return self.sure_replicas + spare <= self.candidate.max_replicas

    @property
    def replicas(self) -> int:
        """That are bought: for the asked probability where it can be had, plus spare ones."""
        needed = int(self.sure_replicas) if self.is_sure else self.even_replicas
        return needed + self.fleet.problem.survive

    @property
    def usd_per_hour(self) -> float:
        """Of what is bought."""
        return self.replicas * self.candidate.usd_per_hour

    @property
    def even_usd_per_hour(self) -> float:
        """Of what would be bought if the predictions were certain."""
        return (self.even_replicas + self.fleet.problem.survive) * self.candidate.usd_per_hour

    @property
    def headroom(self) -> float:
        """How much more of the demand all replicas take as predicted: 0.2 is a fifth more.

        It is looked for up to `MAX_VOLUME` times the demand, or a little more.
        """
        problem, curve = self.fleet.problem, self.fleet.curve
        bounds_s = [objective.bound_s for objective in problem.objectives]
        margins = list(np.max(np.log(curve.statistics_s.T / bounds_s), axis=1))
        volumes = list(curve.volumes)

        # Beyond the curve, until an objective breaks.
        while margins[-1] < 0 and volumes[-1] < MAX_VOLUME:
            volumes.append(2 * volumes[-1])
            more = replace(problem, demand=problem.demand.scaled(volumes[-1]))
            margin = Fleet(more, self.candidate).margin(curve.replicas)
            margins.append(max(margin, margins[-1]))
        volume = float(np.exp(np.interp(0.0, margins, np.log(volumes))))
        return volume * self.replicas / curve.replicas - 1


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The outcome of a search.

    Attributes:
        offers: simulated, the best first.
        fleets: all that were simulated, those that lost and those that are not sure included.
        unsure: of them, those of which no number is sure enough, the cheapest first.

    """

    offers: tuple[Offer, ...]
    fleets: tuple[Fleet, ...]
    unsure: tuple[Fleet, ...]


def search(problem: Problem, options: Sequence[Candidate]) -> Found:
    """Return offers, cheapest at the asked probability first."""
    offers: list[Offer] = []
    fleets: list[Fleet] = []
    unsure: list[Fleet] = []
    prices: dict[Kind, float] = {}
    for candidate in options:
        limit_usd = _limit_usd(prices, candidate)
        if candidate.least_usd_per_hour >= limit_usd:
            continue

        fleet = Fleet(problem, candidate)
        fleets.append(fleet)
        if not may_be_sure(fleet):
            unsure.append(fleet)
            continue
        offer = offer_of(fleet, limit_usd)
        if offer is None:
            continue
        if offer.is_sure:
            offers.append(offer)
            prices[candidate.kind] = min(prices.get(candidate.kind, math.inf), offer.usd_per_hour)
        else:
            unsure.append(fleet)

    # Where nothing is sure enough, the cheapest at even odds are an answer, too.
    unsure.sort(key=lambda fleet: fleet.candidate.likely_usd_per_hour)
    if not offers:
        even = (offer_of(fleet, math.inf) for fleet in unsure[:MAX_UNSURE])
        offers = [offer for offer in even if offer is not None]
    offers.sort(key=lambda offer: (not offer.is_sure, offer.usd_per_hour, -offer.probability))
    return Found(tuple(offers), tuple(fleets), tuple(unsure))


def _limit_usd(prices: dict[Kind, float], candidate: Candidate) -> float:
    """Return the dollars per hour at which a candidate no longer matters.

    It must beat its own kind and the best of all; the first few kinds only come near the best, so
    that there is something to compare.
    """
    best_usd = min(prices.values(), default=math.inf)
    own_usd = prices.get(candidate.kind)
    if own_usd is None and len(prices) < MIN_KINDS:
        return COMPARABLE * best_usd
    return min(best_usd, math.inf if own_usd is None else own_usd)


def may_be_sure(fleet: Fleet) -> bool:
    """Return whether an almost idle fleet meets the objectives with the asked probability."""
    problem, candidate = fleet.problem, fleet.candidate
    replicas = min(candidate.likely_replicas, candidate.max_replicas)
    statistics_s = fleet.statistics_s(replicas, 0, VOLUMES[0])

    meets_all = np.ones(len(fleet.draws.tpot), dtype=np.bool_)
    for objective, statistic in zip(problem.objectives, statistics_s, strict=True):
        error = fleet.draws.of_quantity(objective.quantity)
        meets_all &= np.log(statistic) + error <= math.log(objective.bound_s * IDLE_SLACK)
    return float(meets_all.mean()) >= problem.sure


def offer_of(fleet: Fleet, limit_usd: float) -> Offer | None:
    """Return what a candidate costs for the asked probability.

    ``None`` where no number of replicas for less than ``limit_usd`` an hour meets the objectives
    with the step times as predicted.
    """
    problem, candidate = fleet.problem, fleet.candidate
    even_guess = float(fleet.outlook.needed(np.zeros(1), np.zeros(1))[0])
    largest = min(limit_usd / candidate.usd_per_hour, candidate.max_replicas) - problem.survive
    even = _even_replicas(fleet, even_guess, largest)
    if even is None:
        return None

    needed = fleet.needed()
    sure = max(float(quantile(needed, problem.sure)), float(even))
    bought = sure if sure + problem.survive <= candidate.max_replicas else float(even)
    return Offer(
        fleet=fleet,
        even_replicas=even,
        sure_replicas=sure,
        probability=float(np.mean(needed <= bought)),
        basis=serve(candidate.deployment, problem.loop(candidate.concurrency)).basis,
    )


def _even_replicas(fleet: Fleet, guess: float, largest: float) -> int | None:
    """Return the least replicas that meet the objectives as predicted, ``None`` beyond ``largest``.

    It starts from what the curve says and is certain of the number by simulating it and one less.
    """
    if not 1 <= guess <= max(2 * largest, 1):
        return None
    replicas = int(guess)
    if meets(fleet, replicas):
        while replicas > 1 and meets(fleet, replicas - 1):
            replicas -= 1
    else:
        replicas += 1
        while replicas <= largest and not meets(fleet, replicas):
            replicas += max(1, replicas // 20)
    return replicas if replicas <= largest else None


def meets(fleet: Fleet, replicas: int, volume: float = 1.0) -> bool:
    """Return whether so many replicas meet the objectives under a part of the demand.

    In the mean over seeds.

    Seeds are added while the mean of the log-margins is within a few standard errors of 0.
    """
    margins = [fleet.margin(replicas, 0, volume)]
    if abs(margins[0]) > CLEAR:
        return margins[0] <= 0
    for seed in range(1, fleet.problem.seeds):
        margins.append(fleet.margin(replicas, seed, volume))
        error = float(np.std(margins, ddof=1)) / math.sqrt(len(margins))
        if abs(float(np.mean(margins))) > SURE_ERRORS * error:
            break
    return float(np.mean(margins)) <= 0
