"""Which points are worth considering, and which three to name."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from headway.steptime.work import Array

SPEED_WEIGHT = 3.0


def pareto_front(speed: Array, cost: Array) -> npt.NDArray[np.intp]:
    """Indices of the points that no other point beats in both, fastest first.

    Args:
        speed: shape (points,), more is better.
        cost: shape (points,), less is better.
    """
    order = np.lexsort((cost, -speed))
    best_before = np.minimum.accumulate(cost[order])
    better = np.ones(order.size, dtype=bool)
    better[1:] = cost[order][1:] < best_before[:-1]
    return order[better]


def preferred(speed: Array, cost: Array) -> int:
    """The point with the largest speed^3 / price (Erdil 2025, section 4.1)."""
    return int(np.argmax(SPEED_WEIGHT * np.log(speed) - np.log(cost)))
