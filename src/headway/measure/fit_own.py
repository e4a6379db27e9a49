"""A user's own points on top of the shipped calibration: one factor for all, and a few more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headway.errors import InputError
from headway.measure.fit import Observed, Problem, descend
from headway.measure.fit_points import ServingPoint, stack_points
from headway.measure.fit_serving import logs, subject
from headway.serving.one_engine import serving_times
from headway.steptime.calibration import Calibration, Own
from headway.steptime.kernel_coefficients import FIRST_TOKEN, NAMES
from headway.steptime.work import Array

NOISE = 0.05  # the same configuration measured again differs by 0.5 to 5%
FACTOR_SPREAD, STRETCH_SPREAD = 0.25, 0.5
FEWEST, STEPS = 3, 20


def fit_own(points: Sequence[ServingPoint], calibration: Calibration) -> Own:
    """Fit factors to ``points``; raise `InputError` for fewer than three with a time per token.

    Points that the calibration already predicts change nothing.
    """
    if sum(point.tpot_s is not None for point in points) < FEWEST:
        raise InputError(
            f"a calibration needs at least {FEWEST} points with a time per output token, and 5 to "
            f"10 that span the concurrencies of interest are better; given were {len(points)}"
        )
    table = stack_points(points)
    base = [calibration.logs(subject(point)) for point in points]
    observed = Observed(
        logs([point.tpot_s for point in points]),
        logs([point.ttft_s for point in points]),
        logs([point.mean_ttft_s for point in points]),
        np.ones(len(points)),
    )
    problem = Problem(
        table=table,
        observed=observed,
        start=np.stack([found for found, _ in base]),
        base_stretch=np.array([stretch for _, stretch in base]),
        member=np.ones((len(points), 1)),
        stretch=np.ones((len(points), 1)),
        spread=np.array([FACTOR_SPREAD] * len(NAMES) + [STRETCH_SPREAD]),
        noise=NOISE,
    )
    first = np.array([name in FIRST_TOKEN for name in NAMES])
    x = np.zeros(len(NAMES) + 1)
    x = descend(problem, x, ~first, True, (1.0, 0.0, 0.0), STEPS)
    if np.any(np.isfinite(observed.ttft) | np.isfinite(observed.mean_ttft)):
        x = descend(problem, x, first, False, (0.0, 1.0, 0.1), STEPS)
    error = float(np.nanmean(np.abs(np.expm1(tpot_errors(problem, x)))))
    return Own(tuple(float(v) for v in x[:-1]), float(x[-1]), len(points), error)


def tpot_errors(problem: Problem, x: Array) -> Array:
    """Log of predicted over measured time per output token."""
    theta, scale = problem.logs(x)
    times = serving_times(problem.table, np.exp(theta), np.exp(scale))
    return np.asarray(np.log(times.tpot_s) - problem.observed.tpot)
