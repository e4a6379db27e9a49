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
from headway.sim.outcome import Outcome

POWERS = (-1.0, -0.5, 0.0, 0.5, 1.0)
EXPONENTS = (0.3, 0.5, 0.7, 1.0, 1.4)
WINDOWS = (0.2, 0.35, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0)


@dataclass(frozen=True, slots=True)
class Tuned:
    """The order that was found, and what it did on the traces that it was found on."""

    policy: Headway | WaitOverWork
    mean_vs_fcfs: float
    p99_vs_fcfs: float


def tune(experiment: Experiment, p99_bound: float = 0.02, max_bound: float = 0.5) -> Tuned:
    """The best `Headway` for the traces of ``experiment``.

    Args:
        experiment: traces for training, cluster, work, skill of predictions.
        p99_bound: by how much the P99 of e2e may exceed first come first served here; on fresh
            traces it came out up to 3 points higher.
        max_bound: the same for the largest e2e.

    """
    trace = experiment.traces[0]
    seeds = range(len(experiment.traces))
    base = _tails(experiment, Fcfs())
    waits = [_wait(experiment.outcome(Case(Fcfs(), seed))) for seed in seeds]
    wait_s = max(float(np.mean(waits)), 1e-3)
    work = experiment.service.of(trace.prompt_tokens, trace.output_tokens)
    usual = float(np.median(work))
    family: list[Headway | WaitOverWork] = [
        Headway(factor * wait_s, usual, power) for power in POWERS for factor in WINDOWS
    ]
    family += [WaitOverWork(exponent, usual) for exponent in EXPONENTS]
    best = Tuned(Headway(wait_s * 1e-3, usual), 0.0, 0.0)
    for policy in family:
        relative = (_tails(experiment, policy) / base - 1).mean(axis=0)
        within = relative[1] <= p99_bound and relative[2] <= max_bound
        if within and relative[0] < best.mean_vs_fcfs:
            best = Tuned(policy, float(relative[0]), float(relative[1]))
    return best


def _wait(outcome: Outcome) -> float:
    return float(np.nanmean(outcome.records.ttft_s))


def _tails(
    experiment: Experiment, policy: OrderPolicy
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    rows = []
    for seed in range(len(experiment.traces)):
        e2e = experiment.outcome(Case(policy, seed)).records.e2e_s
        e2e = e2e[np.isfinite(e2e)]
        rows.append((e2e.mean(), np.percentile(e2e, 99), e2e.max()))
    return np.array(rows)
