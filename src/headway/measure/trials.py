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
from headway.report.estimate import Estimate

# Clocks and code paths differ by that much between runs, however often one repeats.
MIN_DOUBT = 0.005
# Between the 5% and the 95% quantile of a normal law.
SDS_OF_90_PERCENT = 3.3
# What a single trial may be above its floor.
SINGLE_TRIAL_DOUBT = 0.2


@dataclass(frozen=True, slots=True)
class Interval:
    """A number and what it lies between; the unit is that of the name it is bound to."""

    lower: float
    expected: float
    upper: float

    def __post_init__(self) -> None:
        # The slack is for sums of floats.
        slack = 1e-9 * max(abs(self.lower), abs(self.upper), 1e-300)
        if not self.lower - slack <= self.expected <= self.upper + slack:
            raise InputError(
                f"an interval needs lower <= expected <= upper, not {self.lower:g}, "
                f"{self.expected:g}, {self.upper:g}"
            )

    @classmethod
    def exactly(cls, value: float) -> Interval:
        """Return ``value`` without doubt."""
        return cls(value, value, value)

    @classmethod
    def total(cls, parts: Sequence[Interval]) -> Interval:
        """Return the sum of ``parts``, end by end."""
        return cls(
            sum(part.lower for part in parts),
            sum(part.expected for part in parts),
            sum(part.upper for part in parts),
        )

    def estimate(self, level: float | None = None) -> Estimate:
        """Return it as a cell of a report."""
        return Estimate(self.expected, self.lower, self.upper, level)

    @property
    def sd(self) -> float:
        """The standard deviation of a normal law that has 90% in here."""
        return (self.upper - self.lower) / SDS_OF_90_PERCENT

    def holds(self, value: float) -> bool:
        """Return whether ``value`` lies within."""
        return self.lower <= value <= self.upper


@dataclass(frozen=True, slots=True)
class Envelope:
    """Undisturbed seconds with their interval, and the mean of what came on top."""

    floor_s: Interval
    disturbance_s: float
    num_trials: int


def lower_envelope(trials_s: Sequence[float], confidence: float = 0.9) -> Envelope:
    """Return the `Envelope` of ``trials_s``; a single trial is its own floor, known to 20% only.

    Raises:
        InputError: there is no trial, or one is negative or not finite.

    """
    if not trials_s or min(trials_s) < 0 or not all(map(math.isfinite, trials_s)):
        raise InputError("trials must be one or more finite times, none of them negative")
    ordered = sorted(trials_s)
    fastest, count = ordered[0], len(ordered)
    if count == 1:
        return Envelope(Interval((1 - SINGLE_TRIAL_DOUBT) * fastest, fastest, fastest), 0.0, 1)

    # n (min - floor) / scale follows F(2, 2 degrees), whose quantiles are in closed form.
    scale, degrees = _exponential_scale(ordered)
    tail = degrees * ((1 - confidence) ** (-1 / degrees) - 1)

    # A disturbance as large as the time itself cannot be told from it.
    expected = max(fastest - scale / count, 0.5 * fastest)
    lower = min(max(fastest - scale * tail / count, 0.0), expected * (1 - MIN_DOUBT))
    upper = max(fastest, expected * (1 + MIN_DOUBT))

    mean = math.fsum(ordered) / count
    return Envelope(Interval(lower, expected, upper), max(mean - expected, 0.0), count)


def _exponential_scale(ordered: Sequence[float]) -> tuple[float, int]:
    """Return the scale of the disturbance from the lower half of the trials, and its degrees."""
    fastest, count = ordered[0], len(ordered)
    num_used = max(2, (count + 1) // 2)

    inside = math.fsum(seconds - fastest for seconds in ordered[:num_used])
    beyond = (count - num_used) * (ordered[num_used - 1] - fastest)
    return (inside + beyond) / (num_used - 1), num_used - 1
