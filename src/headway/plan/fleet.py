"""Replicas of one candidate under the demand: simulated, once for every question that is asked.

How a fleet does under more or less than the demand answers two other questions exactly. If every
step takes s times as long, the fleet does in stretched time what it does under s times the demand,
and all its times are s times as long; and a fleet of another size does nearly what this one does
under a load that leaves each replica the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from headway.plan.apart import transfer
from headway.plan.candidate import Candidate
from headway.plan.demand import Run
from headway.plan.doubt import Curve, Draws, Outlook
from headway.plan.problem import Problem, quantity_of
from headway.sim.site import Site
from headway.sim.world import Floats
from headway.steptime.work import Array
from headway.workload.objective import Objective

HOPELESS = 4.0  # standard deviations of an error, beyond which no error makes up for a load
VOLUMES = (0.08, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.45, 1.9)
MAX_SIMULATED = 64  # replicas; a larger fleet is simulated as a part of it with its share
UNSERVED_S = 1e6  # a quantity of requests of which too many never end


@dataclass(frozen=True, eq=False)
class Fleet:
    """Replicas of ``candidate`` that serve the demand of ``problem``."""

    problem: Problem
    candidate: Candidate
    _runs: dict[tuple[int, int, float], Array] = field(default_factory=dict, init=False)
    _rates: dict[tuple[int, int, float], tuple[float, float]] = field(
        default_factory=dict, init=False
    )

    def site(self, replicas: int) -> Site:
        """Return what serves; step times are tabulated once."""
        demand, (prefill, decode) = self.problem.demand, self.candidate.cell
        pool = self.problem.tables.pool(self.candidate.deployment, demand.longest_tokens)
        decoding = replace(pool, replicas=replicas * decode)
        if not prefill:
            return Site(pools=(decoding,), placement=demand.placement)
        return Site(
            pools=(replace(pool, replicas=replicas * prefill), decoding),
            placement=demand.placement,
            disaggregation=transfer(self.candidate.deployment),
        )

    def run(self, replicas: int, seed: int = 0, volume: float = 1.0) -> Run:
        """Return what becomes of ``volume`` times the demand on so many replicas."""
        simulated = min(replicas, MAX_SIMULATED)
        return self.problem.demand.run(self.site(simulated), seed, volume * simulated / replicas)

    def statistics_s(self, replicas: int, seed: int = 0, volume: float = 1.0) -> Array:
        """Return the statistic of every objective, shape ``(objectives,)``."""
        key = replicas, seed, volume
        if key not in self._runs:
            run = self.run(replicas, seed, volume)
            objectives = self.problem.objectives
            self._runs[key] = np.array([statistic_s(o, run) for o in objectives])
            waits_s = run.outcome.records.e2e_s
            mean_s = float(np.nanmean(waits_s)) if np.isfinite(waits_s).any() else UNSERVED_S
            self._rates[key] = run.requests_per_s, mean_s
        return self._runs[key]

    def margin(self, replicas: int, seed: int = 0, volume: float = 1.0) -> float:
        """Return the log of the worst statistic over its bound: 0 or below where all are met."""
        bounds_s = np.array([objective.bound_s for objective in self.problem.objectives])
        return float(np.max(np.log(self.statistics_s(replicas, seed, volume) / bounds_s)))

    @property
    def usual_replicas(self) -> int:
        """As many as the steady state needs and are simulated: where curves are made."""
        candidate = self.candidate
        return min(candidate.likely_replicas, MAX_SIMULATED, candidate.max_replicas)

    @cached_property
    def draws(self) -> Draws:
        """Errors of the candidate, drawn once."""
        return Draws.of(self.problem, self.candidate)

    @cached_property
    def curve(self) -> Curve:
        """What the usual replicas do under parts and multiples of the demand.

        It ends where an objective is missed by more than any error makes up for.
        """
        replicas = self.usual_replicas
        log_bounds = np.log([objective.bound_s for objective in self.problem.objectives])
        errors = [self.draws.of_quantity(o.quantity) for o in self.problem.objectives]
        room = np.array([HOPELESS * float(np.std(e)) - float(np.mean(e)) for e in errors])

        statistics, rates, waits = [], [], []
        for volume in VOLUMES:
            statistics.append(self.statistics_s(replicas, 0, volume))
            rate, wait = self._rates[replicas, 0, volume]
            rates.append(rate)
            waits.append(wait)
            if volume > VOLUMES[0] and np.any(np.log(statistics[-1]) - log_bounds > room):
                break
        return Curve(
            replicas=replicas,
            volumes=np.array(VOLUMES[: len(rates)]),
            requests_per_s=np.maximum.accumulate(np.array(rates)),
            e2e_s=np.maximum.accumulate(np.array(waits)),
            statistics_s=np.maximum.accumulate(np.array(statistics), axis=0).T,
        )

    @cached_property
    def outlook(self) -> Outlook:
        """How many replicas are needed, whatever the errors turn out to be."""
        return Outlook.of(self.problem, self.candidate, self.curve)

    def needed(self, outlook: Outlook | None = None) -> Floats:
        """Return the replicas that each draw of the errors needs."""
        return (outlook or self.outlook).needed(self.draws.tpot, self.draws.ttft)


def statistic_s(objective: Objective, run: Run) -> float:
    """Return the statistic of a run; requests that never ended count as endlessly slow."""
    records = run.outcome.records
    values = quantity_of(objective, records)
    never = ~records.done
    if never.any():
        values = np.where(never, UNSERVED_S, values)
    value = objective.statistic_of(values)
    return UNSERVED_S if value is None else max(value, 1e-9)
