"""Laws of collectives, then the times that the published program gave."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.papers.erdil_2025.accelerators import ACCELERATORS
from headway.papers.erdil_2025.collectives import (
    ALL_REDUCE,
    ALL_TO_ALL,
    POINT_TO_POINT,
    collective_s,
    group,
    tensor_groups,
)

POINTS = Path(__file__).parents[3] / ".." / "shared" / "data" / "economics" / "points.json"
H100 = ACCELERATORS["h100"]

accelerators = st.sampled_from(sorted(ACCELERATORS)).map(ACCELERATORS.__getitem__)
ways = st.floats(1.0, 1e5)
sizes = st.floats(0.0, 1e9)


@given(accelerators, ways, sizes, st.floats(1.0, 10.0))
def test_more_bytes_never_take_less_time(accelerator, ways, num_bytes, factor) -> None:  # type: ignore[no-untyped-def]
    for laid_out in tensor_groups(ways, accelerator):
        less, more = laid_out.time_s(np.array([num_bytes, num_bytes * factor]))
        assert 0 <= less <= more


@given(accelerators, sizes)
def test_one_rank_is_free(accelerator, num_bytes) -> None:  # type: ignore[no-untyped-def]
    assert collective_s(1, 1, num_bytes, accelerator) == 0
    assert collective_s(0.5, 1, num_bytes, accelerator, passes=ALL_TO_ALL) == 0


@given(accelerators, ways, sizes)
def test_an_all_reduce_takes_at_least_an_all_to_all(accelerator, ways, num_bytes) -> None:  # type: ignore[no-untyped-def]
    nodes = np.ceil(ways / accelerator.node_size)
    reduce = collective_s(ways, nodes, num_bytes, accelerator, passes=ALL_REDUCE)
    assert collective_s(ways, nodes, num_bytes, accelerator, passes=ALL_TO_ALL) <= reduce


@given(accelerators, ways, sizes)
def test_layouts_are_groups_of_their_ranks(accelerator, ways, num_bytes) -> None:  # type: ignore[no-untyped-def]
    nodes = np.ceil(ways / accelerator.node_size)
    one, two = tensor_groups(ways, accelerator)
    sent = np.asarray(num_bytes)
    for laid_out, power in ((one, 1.0), (two, 0.5)):
        direct = group(ways**power, nodes**power, accelerator, ALL_REDUCE)
        assert laid_out.time_s(sent) == pytest.approx(direct.time_s(sent), rel=1e-9, abs=1e-15)


def test_shapes_broadcast() -> None:
    times = collective_s(np.array([[2.0], [8.0]]), 1.0, np.array([1e3, 1e6, 1e8]), H100)
    assert times.shape == (2, 3)
    assert np.all(np.diff(times, axis=0) > 0)
    assert np.all(np.diff(times, axis=1) > 0)


@pytest.mark.parametrize(
    ("ranks", "nodes", "num_bytes", "passes", "us"),
    [
        (8, 1, 1e3, ALL_REDUCE, 15.2078),
        (8, 1, 1e6, ALL_REDUCE, 22.9778),
        (8, 1, 2e6, ALL_REDUCE, 30.7556),
        (8, 1, 1e7, ALL_REDUCE, 72.4357),
        (8, 1, 1e8, ALL_REDUCE, 440.857),
        (16, 2, 1e6, ALL_REDUCE, 32.9778),
        (64, 8, 1e7, ALL_REDUCE, 128.5526),
        (2, 2, 1e6, POINT_TO_POINT, 31.8),
        (8, 1, 1e6, ALL_TO_ALL, 14.8889),
        (1.1, 1, 1e3, ALL_REDUCE, 5.600404),
    ],
)
def test_published_times(
    ranks: float, nodes: float, num_bytes: float, passes: int, us: float
) -> None:
    time = collective_s(ranks, nodes, num_bytes, H100, passes=passes)
    assert float(time) * 1e6 == pytest.approx(us, rel=3e-6)


@pytest.mark.skipif(not POINTS.exists(), reason="the published points are not beside this checkout")
def test_every_published_time() -> None:
    passes = {"allreduce": ALL_REDUCE, "all-to-all": ALL_TO_ALL, "p2p": POINT_TO_POINT}
    entries = [p for p in json.loads(POINTS.read_text()) if p["name"] == "coll"]
    assert len(entries) >= 10
    for p in entries:
        time = collective_s(p["ranks"], p["nodes"], p["bytes"], H100, passes=passes[p["coll"]])
        assert float(time) * 1e6 == pytest.approx(p["us"], rel=1e-9)
