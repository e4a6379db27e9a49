"""Where labels go on a picture: near their point, off the lines, off each other, inside.

Derived here: every label tries a few shapes at a few spots around its anchor, in the order given,
and takes the cheapest. Lengths are in pixels, ``y`` grows downwards.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from operator import itemgetter

import numpy as np
import numpy.typing as npt

from headway.report.svg import Point

Points = npt.NDArray[np.float64]  # (n, 2)

# Across and down, in halves of the label. Lower right first: on the axes of a frontier, nothing is
# both faster and cheaper than a point of the front.
AROUND: tuple[Point, ...] = (
    (1, 1), (1, 0.5), (0.5, 1), (1, 0), (0, 1), (1, -0.5), (-0.5, 1), (-1, -1), (-1, -0.5),
    (-1, 0), (-0.5, -1), (0, -1), (0.5, -1), (1, -1), (-1, 0.5), (-1, 1),
)  # fmt: skip
AT_END: tuple[Point, ...] = ((0, -1), (1, 0), (1, -1), (-1, -1), (1, 1), (0, 1), (-1, 0))
AWAY = (5.0, 10.0, 16.0, 24.0, 36.0, 52.0, 72.0, 100.0)

MAX_POINTS = 4000  # of the lines are looked at: more would be one blot

# What a place costs for each point of a line, each label, and for leaving the frame.
COVERED_POINT, CROSSED_POINT, COVERED_LABEL, OUTSIDE = 6.0, 8.0, 300.0, 1000.0


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """How wide the box is."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """How high the box is."""
        return self.bottom - self.top

    def count(self, points: Points, margin: float = 0.0) -> int:
        """Return how many of ``points`` (n, 2) lie inside or within ``margin``."""
        x, y = points[:, 0], points[:, 1]
        inside = (x > self.left - margin) & (x < self.right + margin)
        return int(np.sum(inside & (y > self.top - margin) & (y < self.bottom + margin)))

    def overlaps(self, other: Box) -> bool:
        """Return whether the two share any area."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom

    def beyond(self, frame: Box) -> float:
        """Return how far the box reaches out of ``frame``."""
        across = max(frame.left - self.left, self.right - frame.right, 0.0)
        return across + max(frame.top - self.top, self.bottom - frame.bottom, 0.0)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a label goes: which of its sizes, its box, and the point that it names."""

    shape: int
    box: Box
    anchor: Point

    @property
    def leader(self) -> tuple[Point, Point]:
        """The stroke from the anchor to the box."""
        x, y = self.anchor
        box = self.box
        return self.anchor, (min(max(x, box.left), box.right), min(max(y, box.top), box.bottom))


@dataclass(frozen=True, slots=True)
class Label:
    """A label for one of ``anchors`` in one of ``sizes`` (width, height), the best first."""

    anchors: Sequence[Point]
    sizes: Sequence[Point]
    directions: Sequence[Point] = AROUND

    def places(self) -> Iterator[tuple[float, Place]]:
        """Yield every place with what it costs while nothing is near."""
        for (i, (x, y)), (shape, (width, height)), away, (rank, (across, down)) in product(
            enumerate(self.anchors), enumerate(self.sizes), AWAY, enumerate(self.directions)
        ):
            x0 = x + across * (away + width / 2) - width / 2
            y0 = y + down * (away + height / 2) - height / 2
            box = Box(left=x0, top=y0, right=x0 + width, bottom=y0 + height)
            cost = 8 * i + 2 * shape + away / 3 + rank / 2
            yield cost, Place(shape=shape, box=box, anchor=(x, y))


def sampled(path: Sequence[Point], step: float = 4.0) -> list[Point]:
    """Return points every ``step`` or so along the pieces of ``path``, its corners included."""
    points = list(path[:1])
    for (x0, y0), (x1, y1) in pairwise(path):
        pieces = max(1, int(math.dist((x0, y0), (x1, y1)) / step))
        points += [
            (x0 + (x1 - x0) * i / pieces, y0 + (y1 - y0) * i / pieces) for i in range(1, pieces + 1)
        ]
    return points


def place(labels: Iterable[Label], lines: Sequence[Point], frame: Box) -> list[Place]:
    """Return a place for each label, clear of ``lines`` where that can be; important labels first.

    To leave ``frame`` or to cover another label costs more than to cover a line, and that more than
    a leader that crosses one.
    """
    points = np.unique(np.round(np.array(lines, dtype=np.float64).reshape(-1, 2)), axis=0)
    points = points[:: 1 + len(points) // MAX_POINTS]

    places: list[Place] = []
    for label in labels:
        min_cost, best = math.inf, None
        # From the cheapest on: no later place beats one that costs less in all than it does alone.
        for own_cost, spot in sorted(label.places(), key=itemgetter(0)):
            if own_cost >= min_cost:
                break
            cost = own_cost + _cost(spot, places, points, frame)
            if cost < min_cost:
                min_cost, best = cost, spot
        if best:
            places.append(best)
    return places


def _cost(spot: Place, places: Sequence[Place], points: Points, frame: Box) -> float:
    """Return what ``spot`` costs for all that is near it."""
    beyond = spot.box.beyond(frame)
    cost = OUTSIDE + beyond if beyond else 0.0
    cost += COVERED_POINT * spot.box.count(points, margin=2.0)

    leader = np.array(sampled(spot.leader)[1:])
    for other in places:
        if spot.box.overlaps(other.box) or other.box.count(leader):
            cost += COVERED_LABEL

    # Points of lines that the leader passes; most are far from all of it.
    reach = np.abs(points - (leader[0] + leader[-1]) / 2) < np.abs(leader[0] - leader[-1]) / 2 + 3
    near = points[reach.all(axis=-1)]
    if len(near):
        gaps = np.abs(near[:, None, :] - leader[None, :, :]).max(axis=-1).min(axis=0)
        cost += CROSSED_POINT * int(np.sum(gaps < 3))
    return cost
