"""Find the window and the shape of our order by simulation, before it meets traffic.

The lowest mean response is taken among those whose tail stays within a bound over first come first
served, on traces of their own: what is reported must be measured on others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headway.schedule.order import Fcfs, OrderPolicy
from headway.schedule.uncertain import Headway, WaitOverWork
from headway.sim.experiment import Case, Experiment

POWERS = (-1.0, -0.5, 0.0, 0.5, 1.0)
EXPONENTS = (0.3, 0.5, 0.7, 1.0, 1.4)
WINDOWS = (0.2, 0.35, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0)


@dataclass(frozen=True, slots=True)
class Tuned:
    """An order, and what it did on the traces that it was tuned on."""

    policy: Headway | WaitOverWork
    mean_vs_fcfs: float
    p99_vs_fcfs: float


def tune(experiment: Experiment, p99_bound: float = 0.02, max_bound: float = 0.5) -> Tuned:
    """Return the best `Headway` for the traces of ``experiment``.

    Args:
        experiment: traces for training, site, work, skill of predictions.
        p99_bound: by how much the P99 of e2e may exceed first come first served here; on fresh
            traces it came out up to 3 points higher.
        max_bound: the same for the largest e2e.

    """
    # The scales: the usual wait of a request, and its usual work.
    seeds = range(len(experiment.traces))
    outcomes = [experiment.outcome(Case(Fcfs(), seed)) for seed in seeds]
    waits_s = [float(np.nanmean(outcome.records.ttft_s)) for outcome in outcomes]
    wait_s = max(float(np.mean(waits_s)), 1e-3)
    trace = experiment.traces[0]
    work_s = experiment.service.of(trace.prompt_tokens, trace.output_tokens)
    usual_s = float(np.median(work_s))

    family: list[Headway | WaitOverWork] = [
        Headway(factor * wait_s, usual_s, power) for power in POWERS for factor in WINDOWS
    ]
    family += [WaitOverWork(exponent, usual_s) for exponent in EXPONENTS]

    best = Tuned(Headway(wait_s * 1e-3, usual_s), 0.0, 0.0)
    base = _tails(experiment, Fcfs())
    for policy in family:
        mean, p99, largest = (_tails(experiment, policy) / base - 1).mean(axis=0).tolist()
        if p99 <= p99_bound and largest <= max_bound and mean < best.mean_vs_fcfs:
            best = Tuned(policy, mean, p99)
    return best


def _tails(
    experiment: Experiment, policy: OrderPolicy
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Return mean, P99 and maximum of e2e, one row per seed."""
    rows = []
    for seed in range(len(experiment.traces)):
        e2e_s = experiment.outcome(Case(policy, seed)).records.e2e_s
        e2e_s = e2e_s[np.isfinite(e2e_s)]
        rows.append((e2e_s.mean(), np.percentile(e2e_s, 99), e2e_s.max()))
    return np.array(rows)
