"""How much an engine holds: learned from what it publishes, or from the gaps between its tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.gateway.speed import Line, Speed


@given(st.floats(1e-4, 0.1), st.floats(1e-6, 1e-2), st.integers(30, 300))
def test_points_on_a_line_give_the_line(height: float, slope: float, count: int) -> None:
    line = Line()
    for k in range(count):
        line.see(k % 17, height + slope * (k % 17))
    fit = line.fit()
    assert fit is not None
    assert fit == pytest.approx((height, slope), rel=1e-4, abs=1e-9)


def test_the_limit_comes_to_what_keeps_an_engine_busy() -> None:
    speed = Speed(most=10_000)
    for k in range(3000):
        inflight = max(1, int(speed.limit) - k % 7)
        speed.answered(inflight, 100, 0.05, 0.009 + 0.0005 * inflight)
    # 9 ms / 0.5 ms x 0.9 / 0.1: there the engine makes nine tenths of all it ever could.
    assert speed.limit == pytest.approx(162, rel=0.05)


def test_a_look_between_an_arrival_and_its_step_does_not_starve_an_engine() -> None:
    speed = Speed(most=64)
    speed.published(running=1, waiting=1, inflight=2)
    assert speed.limit == 32
    speed.published(running=8, waiting=3, inflight=11)
    assert speed.limit == 8
    speed.published(running=8, waiting=0, inflight=8)
    assert speed.limit > 8
