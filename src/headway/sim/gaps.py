"""Gaps between the tokens of a request, pooled over all requests, at a constant cost per step.

In one step every decoding sequence gets a token after the same gap, the time of the step; so a run
of equal steps is one count. Only a token that follows a preemption, a transfer or a failure has a
gap of its own. Gaps are counted by size: each power of two has 128 bins, so a quantile is at most
0.4% away from the true one; the maximum is exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from headway.sim.compile import compiled
from headway.sim.world import Ints

FINE = 7  # bins per power of two, as a power of two
BINS = (64 - FINE) << FINE
LARGEST = BINS  # behind the bins: the largest gap


@compiled
def place_of(gap: int) -> int:
    """The bin of a gap of ``gap`` nanoseconds."""
    if gap < 1 << FINE:
        return int(gap)
    exponent = math.frexp(float(gap))[1] - 1 - FINE
    return int(((exponent + 1) << FINE) + ((gap >> exponent) & ((1 << FINE) - 1)))


@compiled
def count_gaps(gaps: Ints, gap: int, times: int) -> None:
    """Count ``times`` gaps of ``gap`` nanoseconds."""
    gaps[place_of(gap)] += times
    gaps[LARGEST] = max(gaps[LARGEST], gap)


@compiled
def move_gap(gaps: Ints, counted: int, true: int) -> None:
    """Count one gap that was taken for ``counted`` as the ``true`` one, which is larger."""
    gaps[place_of(counted)] -= 1
    count_gaps(gaps, true, 1)


def _middles() -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    places = np.arange(BINS)
    exponent = np.maximum((places >> FINE) - 1, 0)
    low = np.where(
        places < 1 << FINE, places, ((places & ((1 << FINE) - 1)) + (1 << FINE)) * 2.0**exponent
    )
    return np.asarray(low + (2.0**exponent - 1) / 2)


@dataclass(frozen=True, slots=True, eq=False)
class Gaps:
    """Every gap between consecutive tokens of a request, counted by size.

    Attributes:
        counts: ``(BINS + 1,)``, the largest gap in nanoseconds behind the counts.

    """

    counts: Ints

    def __len__(self) -> int:
        return int(self.counts[:BINS].sum())

    @property
    def total_s(self) -> float:
        """Sum of all gaps, to 0.4%."""
        return float(self.counts[:BINS] @ _middles()) * 1e-9

    @property
    def max_s(self) -> float | None:
        """The largest; ``None`` where there is none."""
        return float(self.counts[LARGEST]) * 1e-9 if len(self) else None

    def quantile_s(self, level: float) -> float | None:
        """The smallest bin that ``level`` of all gaps do not exceed; ``None`` where there is none.

        ``level`` is a fraction; the result is within 0.4% of the exact empirical quantile.
        """
        rank = max(math.ceil(level * len(self)), 1)
        if not len(self):
            return None
        place = int(np.searchsorted(np.cumsum(self.counts[:BINS]), rank))
        return min(float(_middles()[place]) * 1e-9, float(self.counts[LARGEST]) * 1e-9)
