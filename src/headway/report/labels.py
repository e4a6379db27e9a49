"""Where labels go on a picture: near their point, off the lines, off each other, inside.

Derived here: every label tries a few shapes at a few spots around its anchor, in the order given,
and takes the cheapest. ``assets/draw.js`` does the same in the browser.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Point = tuple[float, float]
Points = npt.NDArray[np.float64]  # (n, 2)
# Across and up, in halves of the label. Lower right first: on the axes of a frontier, nothing is
# both faster and cheaper than a point of the front.
AROUND: tuple[Point, ...] = (
    (1, -1), (1, -0.5), (0.5, -1), (1, 0), (0, -1), (1, 0.5), (-0.5, -1), (-1, 1), (-1, 0.5),
    (-1, 0), (-0.5, 1), (0, 1), (0.5, 1), (1, 1), (-1, -0.5), (-1, -1),
)  # fmt: skip
AT_END: tuple[Point, ...] = ((0, 1), (1, 0), (1, 1), (-1, 1), (1, -1), (0, -1), (-1, 0))
AWAY = (5.0, 10.0, 16.0, 24.0, 36.0, 52.0, 72.0, 100.0)

MOST_POINTS = 4000  # of the lines are looked at: more would be one blot


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle; ``y`` grows upwards."""

    left: float
    bottom: float
    right: float
    top: float

    def holds(self, points: Points, margin: float = 0.0) -> int:
        """How many of ``points`` (n, 2) lie inside or within ``margin``."""
        x, y = points[:, 0], points[:, 1]
        inside = (x > self.left - margin) & (x < self.right + margin)
        return int(np.sum(inside & (y > self.bottom - margin) & (y < self.top + margin)))

    def overlaps(self, other: Box) -> bool:
        """Whether the two share any area."""
        across = self.left < other.right and other.left < self.right
        return across and self.bottom < other.top and other.bottom < self.top

    def sticks_out(self, frame: Box) -> float:
        """How far the box reaches beyond ``frame``."""
        across = max(frame.left - self.left, self.right - frame.right, 0.0)
        return across + max(frame.bottom - self.bottom, self.top - frame.top, 0.0)


@dataclass(frozen=True, slots=True)
class Label:
    """A label for one of ``anchors`` in one of ``sizes`` (width, height), the best first."""

    anchors: Sequence[Point]
    sizes: Sequence[Point]
    directions: Sequence[Point] = AROUND

    def spots(self) -> Iterator[tuple[float, Place]]:
        """Every place with what it costs while nothing is near."""
        for (i, (x, y)), (shape, (width, height)), away, (rank, (across, up)) in product(
            enumerate(self.anchors), enumerate(self.sizes), AWAY, enumerate(self.directions)
        ):
            left = x + across * (away + width / 2) - width / 2
            bottom = y + up * (away + height / 2) - height / 2
            box = Box(left, bottom, left + width, bottom + height)
            yield 8 * i + 2 * shape + away / 3 + rank / 2, Place(shape, box, (x, y))


class Place(NamedTuple):
    """Where a label went: which of its sizes, its box, and its anchor."""

    shape: int
    box: Box
    anchor: Point

    @property
    def leader(self) -> tuple[Point, Point]:
        """The stroke from the anchor to the box."""
        x, y = self.anchor
        box = self.box
        return self.anchor, (min(max(x, box.left), box.right), min(max(y, box.bottom), box.top))


def sampled(path: Sequence[Point], step: float = 4.0) -> list[Point]:
    """Points every ``step`` or so along the straight pieces of ``path``, its corners included."""
    points = list(path[:1])
    for (x0, y0), (x1, y1) in pairwise(path):
        pieces = max(1, int(math.dist((x0, y0), (x1, y1)) / step))
        points += [
            (x0 + (x1 - x0) * i / pieces, y0 + (y1 - y0) * i / pieces) for i in range(1, pieces + 1)
        ]
    return points


def place(labels: Iterable[Label], lines: Sequence[Point], frame: Box) -> list[Place]:
    """A place for each label, the important ones first, clear of ``lines`` where that can be.

    To leave ``frame`` or to cover another label costs more than to cover a line, and that more than
    a leader that crosses one.
    """
    points = np.unique(np.round(np.array(lines, dtype=np.float64).reshape(-1, 2)), axis=0)
    points = points[:: 1 + len(points) // MOST_POINTS]
    placed: list[Place] = []
    for label in labels:
        least, best = math.inf, None
        for own, spot in sorted(label.spots(), key=itemgetter(0)):
            if own >= least:
                break
            cost = own + _cost(spot, placed, points, frame)
            if cost < least:
                least, best = cost, spot
        if best:
            placed.append(best)
    return placed


def _cost(spot: Place, placed: Sequence[Place], points: Points, frame: Box) -> float:
    """What ``spot`` costs for all that is near it."""
    out = spot.box.sticks_out(frame)
    leader = np.array(sampled(spot.leader)[1:])
    covers = sum(spot.box.overlaps(other.box) or other.box.holds(leader) > 0 for other in placed)
    apart = np.abs(points[:, None, :] - leader[None, :, :]).max(axis=-1) if len(points) else points
    crossed = int(np.sum(apart.min(axis=0) < 3)) if len(points) else 0
    return 8 * crossed + 6 * spot.box.holds(points, 2.0) + 300 * covers + (1000 + out if out else 0)
