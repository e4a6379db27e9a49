"""What repeated measurements of one thing say: the undisturbed time, and the disturbance.

Disturbance only adds. So the minimum is nearest to the truth, and lies above it by about the scale
of the disturbance over the number of trials. For an exponential disturbance both the correction
and its interval are exact (Epstein and Tsao 1953); the scale is taken from the lower half of the
trials, so that a few stalls do not widen it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from headway.errors import InputError
from headway.measure.interval import Interval

# Clocks and code paths differ by that much between runs, however often one repeats.
LEAST_DOUBT = 0.005


@dataclass(frozen=True, slots=True)
class Envelope:
    """Undisturbed seconds with their interval, and the mean of what came on top."""

    floor_s: Interval
    disturbance_s: float
    num_trials: int


def lower_envelope(trials_s: Sequence[float], confidence: float = 0.9) -> Envelope:
    """The `Envelope` of ``trials_s``; a single trial is its own floor, known to 20% only."""
    if not trials_s or min(trials_s) < 0 or not all(map(math.isfinite, trials_s)):
        raise InputError("trials must be one or more finite times, none of them negative")
    ordered = sorted(trials_s)
    least, count = ordered[0], len(ordered)
    mean = math.fsum(ordered) / count
    if count == 1:
        return Envelope(Interval(0.8 * least, least, least), 0.0, 1)
    scale, degrees = _scale(ordered)
    # (n (min - floor) / scale) follows F(2, 2 degrees), whose quantiles are in closed form.
    tail = degrees * ((1 - confidence) ** (-1 / degrees) - 1)
    # A disturbance as large as the time itself cannot be told from it.
    expected = max(least - scale / count, 0.5 * least)
    lower = min(max(least - scale * tail / count, 0.0), expected * (1 - LEAST_DOUBT))
    upper = max(least, expected * (1 + LEAST_DOUBT))
    return Envelope(Interval(lower, expected, upper), max(mean - expected, 0.0), count)


def _scale(ordered: Sequence[float]) -> tuple[float, int]:
    """Scale of the exponential disturbance from the lower half of the trials, and its degrees."""
    least, count = ordered[0], len(ordered)
    kept = max(2, (count + 1) // 2)
    inside = math.fsum(seconds - least for seconds in ordered[:kept])
    beyond = (count - kept) * (ordered[kept - 1] - least)
    return (inside + beyond) / (kept - 1), kept - 1
