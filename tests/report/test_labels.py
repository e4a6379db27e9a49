from itertools import combinations

import numpy as np
import pytest

from headway.report.labels import Box, Label, place, sampled

FRAME = Box(0, 0, 800, 500)


def test_labels_keep_clear_of_lines_and_of_each_other() -> None:
    line = sampled([(20, 100), (300, 120), (500, 200), (520, 450)])
    labels = [Label([(x, y)], [(120.0, 30.0), (60.0, 60.0)]) for x, y in line[::12]]
    places = place(labels, line, FRAME)
    assert len(places) == len(labels)
    for one, other in combinations(places, 2):
        assert not one.box.overlaps(other.box)
    for spot, label in zip(places, labels, strict=True):
        assert spot.box.beyond(FRAME) == 0
        assert spot.box.count(np.array(line)) == 0
        box = spot.box
        assert (box.width, box.height) == pytest.approx(label.sizes[spot.shape])


def test_a_lone_label_goes_to_the_lower_right() -> None:
    (spot,) = place([Label([(400.0, 250.0)], [(100.0, 20.0)])], [], FRAME)
    assert spot.box.left > 400
    assert spot.box.top > 250


def test_the_second_anchor_serves_where_the_first_is_crowded() -> None:
    wall = [(float(x), float(y)) for x in range(600, 800, 4) for y in range(0, 500, 4)]
    (spot,) = place([Label([(700.0, 250.0), (100.0, 250.0)], [(90.0, 20.0)])], wall, FRAME)
    assert spot.anchor == (100.0, 250.0)


def test_a_sampled_path_keeps_its_corners_and_leaves_no_gap() -> None:
    path = [(0.0, 0.0), (30.0, 40.0), (30.0, 41.0)]
    points = sampled(path, 4.0)
    assert set(path) <= set(points)
    gaps = np.hypot(*np.diff(np.array(points), axis=0).T)
    assert gaps.max() < 8
    assert sampled([]) == []
