"""Time of any forward pass, learned from a few measurements of one engine.

Derived here. A pass takes curve(new tokens) + kv x cached tokens read + pairs x query-key pairs
scored, and something more if requests begin in it, which engines prepare for. The curve is straight
between knots and never falls; all coefficients are non-negative, found by least squares on relative
errors. Requests are sums of passes, so both kinds of measurement are rows of one system.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headway.errors import InputError
from headway.steptime.step_time import RequestOverhead
from headway.steptime.time_estimate import Basis, TimeEstimate
from headway.steptime.work import Array
from headway.workload.step import Step

# How strongly neighbouring slopes are held alike; only where no measurement tells them apart.
SMOOTHNESS = 0.02
MIN_SPREAD = 0.02
MIN_MEASUREMENTS = 4
MIN_LOG_PASSES = 30
SDS_OF_90_PERCENT = 1.645
# Columns of `_features` beside the slopes: floor, cached tokens, scored pairs, beginning requests.
NUM_OTHER_FEATURES = 4
# Neighbouring knots differ by this factor or more.
KNOT_RATIO = 1.25


@dataclass(frozen=True, slots=True, eq=False)
class FittedStepTime:
    """A `StepTimeModel` learned from measurements: by `fit_passes` or `fit_step_log`.

    Attributes:
        knots: new tokens at which the curve bends, from 1.
        coefficients: seconds of the floor, per new token between knots, per cached token read, per
            query-key pair, and of a pass that takes in prompts.
        spread: relative standard error of single measurements.

    """

    knots: Array
    coefficients: Array
    spread: float

    @property
    def request_overhead(self) -> RequestOverhead:
        """Nothing: whatever a request takes beyond its passes is in the passes as measured."""
        return RequestOverhead()

    def step_time(self, step: Step) -> TimeEstimate:
        """Return the time of ``step``, arrays of its leading shape, with its 90% interval."""
        seconds = np.asarray(_features(step, self.knots) @ self.coefficients)
        factor = float(np.exp(SDS_OF_90_PERCENT * self.spread))

        return TimeEstimate(
            expected_s=seconds,
            lower_s=seconds / factor,
            upper_s=seconds * factor,
            basis=Basis.FITTED,
        )

    def passes_s(self, passes: Sequence[Step]) -> float:
        """Return the expected seconds of all ``passes``, one after another."""
        return float(sum(self.step_time(step).expected_s.sum() for step in passes))


def fit_passes(passes: Sequence[Sequence[Step]], seconds: Array) -> FittedStepTime:
    """Learn from measurements of one engine, requests and single steps alike.

    Args:
        passes: the passes of each measurement.
        seconds: undisturbed time of each measurement, shape (measurements,).

    Raises:
        InputError: there are fewer than four measurements.

    """
    if len(passes) < MIN_MEASUREMENTS:
        raise InputError(f"a fit of passes needs four measurements or more, not {len(passes)}")
    knots = _knots([step for steps in passes for step in steps])
    rows = np.stack([sum(_total_features(step, knots) for step in steps) for steps in passes])

    # Not every engine prepares for new requests: the form that predicts the left-out ones better.
    without_begin = rows.copy()
    without_begin[:, -1] = 0.0
    rows = min((without_begin, rows), key=lambda form: _left_out_error(form, seconds))

    coefficients = _solve(rows, seconds)
    log_errors = np.log(rows @ coefficients / seconds)
    degrees = max(len(passes) - np.count_nonzero(coefficients), 2)
    spread = float(np.sqrt(np.sum(log_errors**2) / degrees))

    return FittedStepTime(knots, coefficients, max(spread, MIN_SPREAD))


def fit_step_log(steps: Step, seconds: Array) -> FittedStepTime:
    """Learn the mean time of passes from an engine's log.

    Args:
        steps: the passes, arrays of shape (passes, groups).
        seconds: of each pass, shape (passes,).

    Raises:
        InputError: there are fewer than thirty passes.

    """
    if seconds.size < MIN_LOG_PASSES:
        raise InputError(f"a log of passes needs thirty or more, not {seconds.size}")
    knots = _knots([steps])
    rows = _features(steps, knots)

    # Errors are relative to the fitted time, not to the measured one: a pass that was held up
    # must count in the mean.
    scale_s = np.full(seconds.size, float(seconds.mean()))
    for _ in range(3):
        coefficients = _solve(rows, seconds, scale_s)
        scale_s = np.maximum(rows @ coefficients, 1e-2 * float(seconds.mean()))

    spread = float(np.std(seconds / scale_s))
    return FittedStepTime(knots, coefficients, max(spread, MIN_SPREAD))


def _features(step: Step, knots: Array) -> Array:
    """Return what the coefficients are multiplied with, shape (..., coefficients)."""
    sequences, scheduled, computed = np.broadcast_arrays(
        step.num_sequences, step.scheduled_tokens, step.computed_tokens
    )
    new = (sequences * scheduled).sum(axis=-1)[..., None]
    segments = np.clip(new - knots, 0.0, np.append(np.diff(knots), np.inf))
    cached = (sequences * computed).sum(axis=-1)[..., None]

    # Cached keys are read once for all new tokens and scored by each; `cached` has the first.
    later = np.maximum(scheduled - 1, 0)
    scored = (sequences * (scheduled * later / 2 + later * computed)).sum(axis=-1)[..., None]

    begins = (((computed == 0) & (scheduled > 0)) | (scheduled > 1)).any(axis=-1)[..., None]
    columns = [np.ones_like(new), segments, cached, scored, begins.astype(np.float64)]
    return np.concatenate(columns, axis=-1)


def _total_features(step: Step, knots: Array) -> Array:
    features = _features(step, knots)
    return np.asarray(features.reshape(-1, features.shape[-1]).sum(axis=0))


def _knots(steps: Sequence[Step]) -> Array:
    """Return the measured numbers of new tokens, thinned to neighbours a quarter apart."""
    sizes = np.unique(np.concatenate([np.ravel(step.total_tokens) for step in steps]))
    knots = [1.0]
    for size in sizes:
        if size >= KNOT_RATIO * knots[-1]:
            knots.append(float(size))

    # The last stretch goes on beyond what was measured, with the slope before it.
    return np.asarray(knots[:-1] if len(knots) > 2 else knots)


def _left_out_error(rows: Array, seconds: Array) -> float:
    """Return the root mean square of the log errors of measurements left out in turn."""
    log_errors = []
    for i in range(seconds.size):
        others = np.arange(seconds.size) != i
        predicted_s = float(rows[i] @ _solve(rows[others], seconds[others]))
        log_errors.append(np.log(max(predicted_s, 1e-12) / seconds[i]))
    return float(np.sqrt(np.mean(np.square(log_errors))))


def _solve(rows: Array, seconds: Array, scale_s: Array | None = None) -> Array:
    """Return the coefficients with the least squared errors relative to ``scale_s``.

    ``scale_s`` is ``seconds`` by default.
    """
    scale_s = seconds if scale_s is None else scale_s

    # A slope is compared with its neighbour over the stretch of the narrower of the two.
    num_slopes = rows.shape[1] - NUM_OTHER_FEATURES
    size = float(np.median(seconds / rows[:, : 1 + num_slopes].sum(axis=1)))
    smooth = np.zeros((num_slopes - 1, rows.shape[1]))
    for i in range(1, num_slopes):
        smooth[i - 1, i : i + 2] = SMOOTHNESS / size, -SMOOTHNESS / size

    # Columns of like size keep the least squares well conditioned.
    system = np.vstack([rows / scale_s[:, None], smooth])
    target = np.append(seconds / scale_s, np.zeros(num_slopes - 1))
    column_scale = np.maximum(np.abs(system).max(axis=0), 1e-30)
    return np.asarray(non_negative(system / column_scale, target) / column_scale)


def non_negative(matrix: Array, target: Array) -> Array:
    """Return the x >= 0 that minimizes |matrix x - target| (Lawson and Hanson 1974, ch. 23).

    Own code: SciPy has the same, and would be a dependency for these lines alone.
    """
    count = matrix.shape[1]
    x, free = np.zeros(count), np.zeros(count, dtype=bool)

    for _ in range(10 * count):
        # Free the unknown whose growth would lower the error most.
        gradient = matrix.T @ (target - matrix @ x)
        blocked = ~free & (gradient > 1e-10)
        if not blocked.any():
            break
        free[int(np.argmax(np.where(blocked, gradient, -np.inf)))] = True

        # Solve for the free unknowns; those that would turn negative go back to 0.
        while True:
            solution = np.zeros(count)
            solution[free] = np.linalg.lstsq(matrix[:, free], target, rcond=None)[0]
            negative = free & (solution <= 0)
            if not negative.any():
                x = solution
                break
            distance = np.maximum(x[negative] - solution[negative], 1e-300)
            x = x + min(float(np.min(x[negative] / distance)), 1.0) * (solution - x)
            free &= x > 1e-15
            x[~free] = 0.0

    return np.asarray(x)
