from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.errors import InputError
from headway.measure.trials import Interval, lower_envelope

times = st.lists(st.floats(1e-4, 10), min_size=1, max_size=30)


@given(times)
def test_the_floor_is_never_above_the_least_trial(trials: list[float]) -> None:
    envelope = lower_envelope(trials)
    assert 0 <= envelope.floor_s.lower <= envelope.floor_s.expected
    assert envelope.floor_s.expected <= min(trials) * 1.0051
    assert envelope.disturbance_s >= 0


@given(times, st.floats(0.1, 100))
def test_the_floor_has_the_unit_of_the_trials(trials: list[float], factor: float) -> None:
    once = lower_envelope(trials).floor_s
    scaled = lower_envelope([factor * t for t in trials]).floor_s
    assert scaled.expected == pytest.approx(factor * once.expected, rel=1e-9)
    assert scaled.lower == pytest.approx(factor * once.lower, rel=1e-9)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    source, floor, hits = random.Random(5), 0.1, 0
    for _ in range(2000):
        trials = [floor + source.expovariate(1 / 0.05) for _ in range(8)]
        hits += lower_envelope(trials, 0.9).floor_s.holds(floor)
    assert 0.88 < hits / 2000 < 0.93


def test_the_estimate_is_not_biased_by_the_number_of_trials() -> None:
    source = random.Random(6)
    for count in (5, 20):
        floors = [
            lower_envelope([1 + source.expovariate(5) for _ in range(count)]).floor_s.expected
            for _ in range(1500)
        ]
        assert sum(floors) / len(floors) == pytest.approx(1, abs=0.01)


def test_a_few_stalls_do_not_widen_the_interval() -> None:
    calm = [1.0, 1.01, 1.02, 1.005, 1.015, 1.012, 1.018, 1.008]
    stalled = [*calm[:6], 9.0, 25.0]
    assert lower_envelope(stalled).floor_s.lower > 0.9


def test_one_trial_is_known_badly_and_none_is_refused() -> None:
    assert lower_envelope([1.0]).floor_s == Interval(0.8, 1.0, 1.0)
    for bad in ([], [float("nan")], [-1.0]):
        with pytest.raises(InputError, match="trials"):
            lower_envelope(bad)
    with pytest.raises(InputError, match="lower"):
        Interval(2, 1, 3)
