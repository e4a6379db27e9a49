"""Calibration while it runs: what share of answers fell below each level lately.

Every finished request leaves the level that its length had in the prediction made before it was
seen (its probability integral transform). If these are not uniform, the stated level q is wrong,
and the q-quantile of the levels seen is the one to read instead: a conformal predictive system
(Vovk et al. 2017) over a sliding window, shrunk towards its parent while little was seen.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from headway.predict.prediction import logit

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

        # A loop of Python's: fifteen levels cost NumPy four times as much.
        share = count / (count + PRIOR_COUNT)
        levels = []
        for level, usual in zip(nominal.tolist(), parent.tolist(), strict=True):
            # The k-th of n levels is exceeded by the next answer with probability 1 - k / (n + 1).
            rank = level * (count + 1) - 1
            if rank < 0:
                # Levels that the window is too small to speak of are the parent's, in order.
                own = min(usual, self.ordered[0])
            elif rank > count - 1:
                own = max(usual, self.ordered[-1])
            else:
                below = int(rank)
                lower, upper = self.ordered[below], self.ordered[min(below + 1, count - 1)]
                own = lower + (rank - below) * (upper - lower)

            # Between logits, because the tails of a prediction far too narrow lie at 0.9999.
            mixed = share * logit(own) + (1 - share) * logit(usual)
            levels.append(1 / (1 + math.exp(-mixed)))
        return np.array(levels)
