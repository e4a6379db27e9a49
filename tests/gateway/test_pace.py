"""Nothing is held back from an engine until it has shown that requests wait inside it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.gateway.scheduler.pace import EnginePace, FadingLine

TOKENS = 101


@given(st.floats(1e-4, 0.1), st.floats(1e-6, 1e-2), st.integers(30, 300))
def test_points_on_a_line_give_the_line(height: float, slope: float, count: int) -> None:
    line = FadingLine()
    for k in range(count):
        line.add(k % 17, height + slope * (k % 17))
    fit = line.intercept_and_slope
    assert fit is not None
    assert fit == pytest.approx((height, slope), rel=1e-4, abs=1e-9)


def answer(pace: EnginePace, num_in_flight: float, ttft_s: float, gap_s: float = 0.01) -> None:
    pace.record_answer(
        num_in_flight, 100, ttft_s=ttft_s, gaps_s=gap_s * (TOKENS - 1), tokens=TOKENS
    )


@given(
    st.lists(st.integers(1, 500), min_size=50, max_size=300),
    st.floats(1e-3, 0.1),
    st.floats(0.0, 1e-3),
)
def test_an_engine_whose_gaps_grow_is_held_back_from_nothing(
    in_flight: list[int], base_s: float, per_request_s: float
) -> None:
    pace = EnginePace(max_in_flight=10_000)
    for n in in_flight:
        gap_s = base_s + per_request_s * n
        answer(pace, n, ttft_s=5 * gap_s, gap_s=gap_s)
    assert pace.hold == math.inf
    assert pace.target_in_flight == 10_000


def slots(pace: EnginePace, places: int, users: int, answers: int) -> None:
    """Answers of an engine with ``places`` in front of which ``users`` ask again and again."""
    service_s = 0.05 + 0.01 * (TOKENS - 1)
    for _ in range(answers):
        inside = min(users, pace.target_in_flight)
        wait_s = max(0.0, inside / places - 1) * service_s
        answer(pace, inside, 0.05 + wait_s)


@pytest.mark.parametrize("places", [4, 32, 128])
def test_a_hold_starts_at_the_level_that_was_seen_and_stays_there(places: int) -> None:
    pace = EnginePace(max_in_flight=10_000)
    slots(pace, places, users=places, answers=40)
    assert pace.hold == math.inf
    while pace.hold == math.inf:
        slots(pace, places, users=2 * places, answers=1)
    assert places < pace.hold < 1.1 * places + 2
    for _ in range(50):
        slots(pace, places, users=2 * places, answers=20)
        assert places < pace.hold < 1.3 * places + 4


def test_a_hold_that_shortens_no_wait_is_lifted_and_takes_more_evidence_the_next_time() -> None:
    """As with prompts of which an engine suddenly caches none."""
    pace = EnginePace(max_in_flight=10_000)
    for _ in range(100):
        answer(pace, 50, ttft_s=0.02)
    was_held = []
    for _ in range(700):
        answer(pace, min(50, pace.target_in_flight), ttft_s=1.0)
        was_held.append(pace.has_queued)
    assert was_held[99]
    assert not was_held[200]
    assert not was_held[299]
    assert was_held[399]
    assert not was_held[450]
    assert sum(was_held) <= 200


def test_a_look_between_an_arrival_and_its_step_does_not_starve_an_engine() -> None:
    pace = EnginePace(max_in_flight=64)
    pace.record_queue(num_running=1, num_waiting=3, num_in_flight=2)
    pace.record_queue(num_running=8, num_waiting=0, num_in_flight=8)
    pace.record_queue(num_running=8, num_waiting=3, num_in_flight=11)
    assert pace.target_in_flight == 64

    pace.record_queue(num_running=8, num_waiting=3, num_in_flight=11)
    assert 8 < pace.target_in_flight < 11
    pace.record_queue(num_running=20, num_waiting=0, num_in_flight=20)
    assert pace.target_in_flight > 20


def test_who_arrives_in_every_step_is_no_queue() -> None:
    pace = EnginePace(max_in_flight=1000)
    for _ in range(50):
        pace.record_answer(256, 100, ttft_s=0.05, gaps_s=0.07, tokens=8)
    for _ in range(10):
        pace.record_queue(num_running=256, num_waiting=40, num_in_flight=296)
    assert not pace.has_queued
