"""Calibration while it runs: what share of answers fell below each level lately.

Every finished request leaves the level that its length had in the prediction made before it was
seen (its probability integral transform). If these are not uniform, the stated level q is wrong,
and the q-quantile of the levels seen is the one to read instead: a conformal predictive system
(Vovk et al. 2017) over a sliding window, shrunk towards its parent while little was seen.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
WINDOW = 1000
PRIOR_COUNT = 25.0


class LevelWindow:
    """The levels of the latest answers, oldest and sorted."""

    __slots__ = ("latest", "ordered")

    def __init__(self, levels: Iterable[float] = ()) -> None:
        """Start from ``levels``, the oldest first."""
        self.latest: deque[float] = deque(levels, maxlen=WINDOW)
        self.ordered = sorted(self.latest)

    def observe(self, level: float) -> None:
        """Add the ``level`` of one more answer; the oldest of a full window is forgotten."""
        if len(self.latest) == WINDOW:
            del self.ordered[bisect_left(self.ordered, self.latest[0])]
        self.latest.append(level)
        insort(self.ordered, level)

    def recalibrated(self, nominal: Floats, parent: Floats) -> Floats:
        """Return the level to read for each of ``nominal``, given what ``parent`` would read.

        Both increase, and so does the result.
        """
        count = len(self.ordered)
        if count == 0:
            return parent

        # The k-th of n levels is exceeded by the next answer with probability 1 - k / (n + 1).
        rank = nominal * (count + 1) - 1
        below = np.minimum(np.maximum(rank, 0), count - 1).astype(np.intp)
        lower = np.array([self.ordered[i] for i in below.tolist()])
        upper = np.array([self.ordered[min(i + 1, count - 1)] for i in below.tolist()])
        own = lower + (rank - below) * (upper - lower)

        # Levels that the window is too small to speak of are the parent's, in order.
        own = np.where(rank < 0, np.minimum(parent, self.ordered[0]), own)
        own = np.where(rank > count - 1, np.maximum(parent, self.ordered[-1]), own)

        share = count / (count + PRIOR_COUNT)
        # Between logits, because the tails of a prediction far too narrow lie at 0.9999.
        mixed = share * _logits(own) + (1 - share) * _logits(parent)
        levels: Floats = 1 / (1 + np.exp(-mixed))
        return levels


def _logits(levels: Floats) -> Floats:
    logits: Floats = np.log(levels) - np.log1p(-levels)
    return logits
