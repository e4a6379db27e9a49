"""How many requests a second an order serves while enough of them meet their objectives."""

from __future__ import annotations

from headway.sim.experiment import Case, Experiment

SHARE = 0.9  # of the requests that must meet their objectives
MIN_FACTOR, MAX_FACTOR = 0.05, 4.0  # of the rate that was asked
PRECISION = 1.01


def capacity_rps(experiment: Experiment, case: Case, share: float = SHARE) -> float:
    """Return the rate at which ``share`` of the requests of one trace meet their objectives.

    The gaps between its arrivals are stretched, so bursts stay bursts. The rate is found by
    bisection within 1%; it is 0 where a twentieth of the trace's own rate is too much.
    """
    own_rps = experiment.traces[case.seed].rate_rps

    low, high = MIN_FACTOR, MAX_FACTOR
    if experiment.attainment(case, low * own_rps) < share:
        return 0.0
    while high / low > PRECISION:
        middle = (low * high) ** 0.5
        if experiment.attainment(case, middle * own_rps) >= share:
            low = middle
        else:
            high = middle
    return low * own_rps
