"""Which points are worth considering, and which three to name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from headway.steptime.work import Array

SPEED_WEIGHT = 3.0


def pareto_front(speed: Array, cost: Array) -> npt.NDArray[np.intp]:
    """Return indices of the points that no other point beats in both, fastest first.

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
    """Return the point with the largest speed^3 / cost (Erdil 2025, section 4.1)."""
    return int(np.argmax(SPEED_WEIGHT * np.log(speed) - np.log(cost)))


def marks(names: Sequence[str], speed: Array, cost: Array) -> dict[str, int]:
    """Return the three points to name, and the preferred one of each of several ``names``.

    Args:
        names: of the fronts that the points are on, such as accelerators.
        speed: shape (points,), more is better.
        cost: shape (points,), less is better.

    """
    points = {
        "preferred": preferred(speed, cost),
        "cheapest": int(np.argmin(cost)),
        "fastest": int(np.argmax(speed)),
    }
    for name in dict.fromkeys(names) if len(set(names)) > 1 else ():
        own = np.flatnonzero(np.array(names) == name)
        points[f"preferred:{name}"] = int(own[preferred(speed[own], cost[own])])
    return points
