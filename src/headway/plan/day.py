"""A day of a fleet: what scaling with the load saves, and what losses and slow starts cost.

A fleet of another size does nearly what this one does where each replica has the same load, so a
part of the demand needs the same part of the replicas. Replicas that are ordered come after a
while: a pool is given, its weights are read, the engine gets ready. Whoever scales must order them
before the load is there, and pays for them from then on. Derived here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from headway.errors import InputError, UnknownNameError
from headway.plan.doubt import Outlook, quantile
from headway.plan.fleet import Fleet
from headway.report.column import column
from headway.sim.world import Floats, Ints
from headway.units import HOUR_S, MONTH_H, check_positive, parse_number
from headway.user_file import read_text

MINUTES = 1440
MOMENTS = 0.99  # of all, in which there are enough replicas although some are lost
# Requests of a day by hour over those of the busiest hour: Alibaba's model "m-small" in ServeGen's
# client windows (Apache-2.0), mean of 14 days.
PATTERNS = {
    "servegen": (
        0.58, 0.49, 0.53, 0.50, 0.50, 0.53, 0.55, 0.62, 0.70, 0.81, 0.77, 0.75,
        0.73, 0.74, 0.73, 0.72, 0.75, 0.74, 0.69, 0.84, 1.00, 0.96, 0.87, 0.73,
    ),
    "flat": (1.0,) * 24,
}  # fmt: skip
FRACTIONS = np.geomspace(0.02, 8.0, 400)  # of the replicas, between which a need is found to 1.5%


@dataclass(frozen=True, slots=True)
class Day:
    """How the demand goes over a day, and how fast replicas come.

    Attributes:
        pattern: demand of each hour over that of the busiest one, which is what is planned for.
        provision_s: until rented accelerators are there.
        load_bytes_per_s: at which one node reads weights, over its disk or its network.
        start_s: of an engine with its weights in memory, until it serves.
        loss_per_hour: probability that a replica is taken away within an hour (spot).

    """

    pattern: tuple[float, ...] = field(default=PATTERNS["servegen"])
    provision_s: float = 180.0
    load_bytes_per_s: float = 2e9
    start_s: float = 60.0
    loss_per_hour: float = 0.0

    def __post_init__(self) -> None:
        if len(self.pattern) != 24 or not all(0 <= part <= 1 for part in self.pattern):
            raise InputError("a day needs 24 parts of the busiest hour's demand, from 0 to 1")
        if max(self.pattern) < 1:
            raise InputError(f"the busiest hour of a day must be 1, not {max(self.pattern):g}")
        check_positive(self.load_bytes_per_s, "bytes per second of loading weights")
        if not (0 <= self.provision_s <= 86_400 and 0 <= self.start_s <= 86_400):
            raise InputError("replicas must come within a day")
        if not 0 <= self.loss_per_hour < 1:
            raise InputError(
                f"the loss of replicas is a share per hour below 1, not {self.loss_per_hour:g}"
            )

    @classmethod
    def parse(cls, text: str) -> tuple[float, ...]:
        """Return the pattern that ``text`` means: a name, a file, or 24 numbers.

        Numbers are divided by the largest of them.

        Raises:
            InputError: there are not 24 numbers, or one is no number.

        """
        if text in PATTERNS:
            return PATTERNS[text]
        if Path(text).suffix:
            text = read_text(text, "a file with 24 numbers, one for each hour")
        words = text.replace(",", " ").split()
        if len(words) != 24:
            raise UnknownNameError("day (a name, or 24 numbers)", text[:40], PATTERNS)
        hours = [parse_number(word, "an hour's demand") for word in words]
        check_positive(max(hours), "the busiest hour's demand")
        return tuple(hour / max(hours) for hour in hours)

    @property
    def demand(self) -> Floats:
        """Part of the busiest hour's demand at every minute, linear between the hours' middles."""
        minute = np.arange(MINUTES)
        middles = 60.0 * np.arange(-1, 25) + 30
        around = [self.pattern[-1], *self.pattern, self.pattern[0]]
        parts = np.interp(minute, middles, around)
        hours = np.array(self.pattern)[minute // 60]
        return np.where(hours == 0, 0.0, parts / parts.max())

    def cold_start_s(self, fleet: Fleet) -> float:
        """Return how long after its order a replica serves; each node reads what it holds."""
        deployment = fleet.candidate.deployment
        node = min(deployment.cluster.links[0].domain_size, fleet.candidate.num_accelerators)
        weight_bytes = float(deployment.weight_bytes) * node
        return self.provision_s + weight_bytes / self.load_bytes_per_s + self.start_s


@dataclass(frozen=True, slots=True, kw_only=True)
class DayRow:
    """One way to have enough replicas all day."""

    way: str = column("way", "when replicas are rented")
    min_replicas: int = column("least", "replicas in the quietest minute")
    max_replicas: int = column("most", "replicas in the busiest minute")
    starts: int = column("starts", "replicas that are started in a day")
    replica_hours: float = column("replica-hours", "paid in a day")
    usd_per_month: float = column("$/month", "of 730 hours")
    saving_usd_per_month: float = column("saves $/month", "over the busiest hour's fleet all day")


def day_rows(fleet: Fleet, replicas: int, day: Day) -> list[DayRow]:
    """Return what a day costs: the busiest hour's fleet all day, scaled, and perfectly scaled.

    Args:
        fleet: what is bought.
        replicas: for the busiest hour, spare ones included.
        day: the demand, and how fast replicas come.

    """
    share, spare = _share_of_need(fleet), fleet.problem.survive
    enough = np.ceil(share * (replicas - spare) * day.demand - 1e-9).astype(np.int64)
    enough = np.where(day.demand > 0, np.maximum(enough, 1), 0)

    # Lost replicas are ordered again; so many more that there are nearly always enough.
    cold_s = day.cold_start_s(fleet)
    away = min(day.loss_per_hour * cold_s / HOUR_S, 0.5)
    to_rent = {n: _with_losses(n, away) if n and away else n for n in set(enough.tolist())}
    counts = np.array([to_rent[n] + spare * (n > 0) for n in enough.tolist()])

    # A replica is there in time if it is ordered a cold start before, and is paid from then on.
    lead = math.ceil(cold_s / 60)
    ordered = np.max([np.roll(counts, -k) for k in range(lead + 1)], axis=0)
    usd = fleet.candidate.usd_per_hour
    peak = np.full(MINUTES, int(counts.max()))

    def row(way: str, rented: Ints) -> DayRow:
        hours = float(rented.sum()) / 60
        return DayRow(
            way=way,
            min_replicas=int(rented.min()),
            max_replicas=int(rented.max()),
            starts=int(np.maximum(np.diff(rented, prepend=rented[-1]), 0).sum()),
            replica_hours=hours,
            usd_per_month=hours / 24 * MONTH_H * usd,
            saving_usd_per_month=float((peak - rented).sum()) / MINUTES * MONTH_H * usd,
        )

    minutes = cold_s / 60
    return [
        row("the busiest hour's fleet all day", peak),
        row(f"ordered {minutes:.0f} minutes before they are needed", ordered),
        row("a perfect autoscaler: replicas at once", counts),
    ]


def _share_of_need(fleet: Fleet) -> float:
    """Return what is needed of the whole number of replicas that is bought, at most 1."""
    usual = fleet.usual_replicas
    outlook = Outlook.of(fleet.problem, fleet.candidate, fleet.curve, counts=usual * FRACTIONS)
    needed = fleet.needed(outlook)
    part, whole = (float(quantile(n, fleet.problem.sure)) for n in (needed, np.ceil(needed)))
    return min(part / whole, 1.0) if np.isfinite(part) else 1.0


def _with_losses(needed: int, away: float) -> int:
    """Return how many replicas to rent so that ``needed`` are there in 99% of all moments.

    ``away`` is the probability that one is being replaced; losses are independent, so the number
    that is away is binomial.
    """
    rented = needed
    while True:
        probability = (1 - away) ** rented
        enough = probability
        for missing in range(rented - needed):
            probability *= (rented - missing) / (missing + 1) * away / (1 - away)
            enough += probability
        if enough >= MOMENTS:
            return rented
        rented += 1
