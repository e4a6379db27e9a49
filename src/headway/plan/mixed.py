"""Fleets of two kinds: whole replicas fit the demand better, and errors of two kinds differ.

Both kinds serve parts of the same demand, and a router gives each replica what it can carry: what
n of N needed replicas carry is n/N of the demand, whatever N turns out to be. Errors are drawn
jointly, so that what is wrong for one kind is wrong for the other as far as they are related.
Derived here; the parts are simulated at last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from headway.plan.doubt import NUM_DRAWS, Outlook, errors_of, quantile
from headway.plan.fleet import Fleet
from headway.plan.row import PlanRow, simulated
from headway.plan.search import Offer, meets
from headway.sim.world import Floats
from headway.units import MONTH_H

MAX_FLEETS = 6  # of which pairs are looked at
FRACTIONS = np.geomspace(0.05, 10.0, 300)  # of the usual replicas, between which a need is found
WORTH = 0.98  # of the best price, at which a second kind is worth its trouble


@dataclass(frozen=True, eq=False)
class Mix:
    """Two kinds of replicas that serve the demand together.

    Attributes:
        fleets: both kinds.
        replicas: of each.
        probability: that all objectives are met.

    """

    fleets: tuple[Fleet, Fleet]
    replicas: tuple[int, int]
    probability: float

    @property
    def usd_per_hour(self) -> float:
        """Of both kinds."""
        pairs = zip(self.fleets, self.replicas, strict=True)
        return sum(fleet.candidate.usd_per_hour * count for fleet, count in pairs)

    @cached_property
    def shares(self) -> tuple[float, float]:
        """Of the demand: what each kind carries if the step times are as predicted."""
        zero = np.zeros(1)
        carried = [
            count / float(_outlook(fleet).needed(zero, zero)[0])
            for fleet, count in zip(self.fleets, self.replicas, strict=True)
        ]
        return carried[0] / sum(carried), carried[1] / sum(carried)

    def row(self, best: Offer) -> PlanRow:
        """Return the mix as a row, each kind simulated with what it carries."""
        kinds = [fleet.candidate for fleet in self.fleets]
        counts = [kind.num_accelerators * n for kind, n in zip(kinds, self.replicas, strict=True)]
        less_usd = (best.usd_per_hour - self.usd_per_hour) * MONTH_H
        row = PlanRow(
            accelerator=" + ".join(kind.deployment.cluster.name for kind in kinds),
            replicas=sum(self.replicas),
            layout=" + ".join(
                f"{n} x {kind.layout}" for kind, n in zip(kinds, self.replicas, strict=True)
            ),
            engine=" + ".join(str(kind.deployment.engine) for kind in kinds),
            precision=" + ".join(str(kind.deployment.precision) for kind in kinds),
            num_accelerators=sum(counts),
            usd_per_hour=self.usd_per_hour,
            usd_per_month=self.usd_per_hour * MONTH_H,
            probability=self.probability,
            verdict=f"${less_usd:,.0f} a month less; carries "
            + " + ".join(f"{share:.0%}" for share in self.shares),
        )
        runs = [
            (fleet, fleet.run(n, volume=share))
            for fleet, n, share in zip(self.fleets, self.replicas, self.shares, strict=True)
        ]
        return simulated(row, runs)

    def words(self, best: Offer) -> str:
        """Return what the mix saves over the best of one kind."""
        saving = (best.usd_per_hour - self.usd_per_hour) * MONTH_H
        return f"{self} together cost ${saving:,.0f} a month less ({self.probability:.0%} sure)"

    def __str__(self) -> str:
        return " and ".join(
            f"{count} x {fleet.candidate.deployment.cluster.name} {fleet.candidate.layout}"
            for fleet, count in zip(self.fleets, self.replicas, strict=True)
        )


def best_mix(offers: Sequence[Offer], best: Offer) -> Mix | None:
    """Return the cheapest fleet of two kinds, ``None`` where none is worth its trouble.

    With replicas that may fail, or where the best is not sure, none is looked for.
    """
    problem = best.fleet.problem
    fleets = [offer.fleet for offer in offers[:MAX_FLEETS]]
    if problem.survive or not best.is_sure or len(fleets) < 2 or best.replicas < 2:
        return None

    errors = errors_of(problem, [fleet.candidate for fleet in fleets])
    draws = errors.draw(np.random.default_rng(0), NUM_DRAWS)
    needs = [
        _outlook(fleet).needed(draws["tpot"][:, k], draws["ttft"][:, k])
        for k, fleet in enumerate(fleets)
    ]
    mixes = [
        mix
        for one, other in combinations(range(len(fleets)), 2)
        for mix in _mixes((fleets[one], fleets[other]), (needs[one], needs[other]))
        if mix.usd_per_hour < WORTH * best.usd_per_hour
    ]
    return next((mix for mix in sorted(mixes, key=lambda m: m.usd_per_hour) if _holds(mix)), None)


def _outlook(fleet: Fleet) -> Outlook:
    """Return the parts of replicas that are needed."""
    counts = fleet.usual_replicas * FRACTIONS
    return Outlook.of(fleet.problem, fleet.candidate, fleet.curve, counts=counts)


def _mixes(fleets: tuple[Fleet, Fleet], needs: tuple[Floats, Floats]) -> list[Mix]:
    """Return for every number of the first kind how many of the second are enough."""
    problem, (first, second) = fleets[0].problem, fleets
    mixes = []
    alone = float(quantile(needs[0], problem.sure))
    most = int(min(np.ceil(alone) if np.isfinite(alone) else 0, first.candidate.max_replicas))
    for count in range(1, most):
        rest = np.maximum(1 - count / needs[0], 0.0)
        missing = np.multiply(rest, needs[1], where=rest > 0, out=np.zeros_like(rest))
        needed = float(quantile(missing, problem.sure))
        if not 0 < needed <= second.candidate.max_replicas:
            continue
        others = int(np.ceil(needed))
        mixes.append(Mix(fleets, (count, others), float(np.mean(missing <= others))))
    return mixes


def _holds(mix: Mix) -> bool:
    """Return whether both parts meet the objectives as predicted, each with its part simulated."""
    return all(
        meets(fleet, count, share)
        for fleet, count, share in zip(mix.fleets, mix.replicas, mix.shares, strict=True)
    )
