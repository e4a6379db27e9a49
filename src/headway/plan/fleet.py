"""Replicas of one candidate under the demand: simulated, once for every question that is asked.

How a fleet does under more or less than the demand answers two other questions exactly. If every
step takes s times as long, the fleet does in stretched time what it does under s times the demand,
and all its times are s times as long; and a fleet of another size does nearly what this one does
under a load that leaves each replica the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from headway.plan.bounds import Candidate
from headway.plan.demand import Run
from headway.plan.problem import Problem, quantity_of
from headway.sim.scenario import VLLM, PoolSpec
from headway.sim.site import Pool, Site
from headway.steptime.work import Array
from headway.workload.objective import Objective

VOLUMES = (0.08, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.45, 1.9)
MAX_SIMULATED = 64  # replicas; a larger fleet is simulated as a part of it with its share
UNSERVED_S = 1e6  # a quantity of requests of which too many never end


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """What a fleet does under parts and multiples of its demand; arrays over volumes.

    Attributes:
        replicas: of the fleet.
        volumes: multiples of the demand.
        requests_per_s: that came.
        e2e_s: mean.
        statistics_s: by objective, rising with the volume, shape ``(objectives, volumes)``.

    """

    replicas: int
    volumes: Array
    requests_per_s: Array
    e2e_s: Array
    statistics_s: Array


@dataclass(frozen=True, eq=False)
class Fleet:
    """Replicas of ``candidate`` that serve the demand of ``problem``."""

    problem: Problem
    candidate: Candidate
    _runs: dict[tuple[int, int, float], Array] = field(default_factory=dict, init=False)
    _rates: dict[tuple[int, int, float], tuple[float, float]] = field(
        default_factory=dict, init=False
    )
    _pools: list[Pool] = field(default_factory=list, init=False)

    def site(self, replicas: int) -> Site:
        """Return what serves; step times are tabulated once."""
        if not self._pools:
            spec = PoolSpec(
                deployment=self.candidate.deployment,
                max_context_tokens=self.problem.demand.longest_tokens,
            )
            self._pools.append(spec.pool(VLLM))
        pool = self._pools[0]
        return Site(
            pools=(Pool(pool.engine, pool.table, replicas, pool.name),),
            placement=self.problem.demand.placement,
        )

    def run(self, replicas: int, seed: int = 0, volume: float = 1.0, *, exact: bool = False) -> Run:
        """Return what becomes of ``volume`` times the demand on so many replicas."""
        simulated = min(replicas, MAX_SIMULATED)
        return self.problem.demand.run(
            self.site(simulated), seed, volume * simulated / replicas, exact
        )

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

    def margin(self, replicas: int, seed: int = 0) -> float:
        """Return the log of the worst statistic over its bound: 0 or below where all are met."""
        bounds_s = np.array([objective.bound_s for objective in self.problem.objectives])
        return float(np.max(np.log(self.statistics_s(replicas, seed) / bounds_s)))

    def curve(self, replicas: int) -> Curve:
        """Return what ``replicas`` do under parts and multiples of the demand."""
        volumes = np.array(VOLUMES)
        statistics = np.array([self.statistics_s(replicas, 0, volume) for volume in VOLUMES])
        rates, waits = zip(*(self._rates[replicas, 0, volume] for volume in VOLUMES), strict=True)
        return Curve(
            replicas=replicas,
            volumes=volumes,
            requests_per_s=np.maximum.accumulate(np.array(rates)),
            e2e_s=np.maximum.accumulate(np.array(waits)),
            statistics_s=np.maximum.accumulate(statistics, axis=0).T,
        )


def statistic_s(objective: Objective, run: Run) -> float:
    """Return the statistic of a run; requests that never ended count as endlessly slow."""
    records = run.outcome.records
    values = quantity_of(objective, records)
    never = ~records.done
    if never.any():
        values = np.where(never, UNSERVED_S, values)
    value = objective.statistic_of(values)
    return UNSERVED_S if value is None else max(value, 1e-9)
