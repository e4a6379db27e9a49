"""How much an engine holds: learned from what it publishes, or from the gaps between its tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.gateway.scheduler.pace import EnginePace, FadingLine


@given(st.floats(1e-4, 0.1), st.floats(1e-6, 1e-2), st.integers(30, 300))
def test_points_on_a_line_give_the_line(height: float, slope: float, count: int) -> None:
    line = FadingLine()
    for k in range(count):
        line.add(k % 17, height + slope * (k % 17))
    fit = line.intercept_and_slope
    assert fit is not None
    assert fit == pytest.approx((height, slope), rel=1e-4, abs=1e-9)


def test_the_limit_comes_to_what_keeps_an_engine_busy() -> None:
    pace = EnginePace(max_in_flight=10_000)
    for k in range(3000):
        inflight = max(1, int(pace.target_in_flight) - k % 7)
        pace.record_answer(inflight, 100, 0.05, 0.009 + 0.0005 * inflight)
    # 9 ms / 0.5 ms x 0.9 / 0.1: there the engine makes nine tenths of all it ever could.
    assert pace.target_in_flight == pytest.approx(162, rel=0.05)


def test_a_look_between_an_arrival_and_its_step_does_not_starve_an_engine() -> None:
    pace = EnginePace(max_in_flight=64)
    pace.record_queue(num_running=1, num_waiting=1, num_in_flight=2)
    assert pace.target_in_flight == 32
    pace.record_queue(num_running=8, num_waiting=3, num_in_flight=11)
    assert pace.target_in_flight == 8
    pace.record_queue(num_running=8, num_waiting=0, num_in_flight=8)
    assert pace.target_in_flight > 8
