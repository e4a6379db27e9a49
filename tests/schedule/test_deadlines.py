"""Due dates, classes and survivors: as many in time as can be, and no prediction that shrinks."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.schedule.test_policies import view

from headway.errors import InputError
from headway.predict.prediction import LEVELS, LengthPrediction
from headway.schedule.deadline import EarliestDeadline, Moore, StrictTiers
from headway.schedule.due import Dues
from headway.schedule.order import order
from headway.schedule.policies import find_policy
from headway.schedule.view import View, quantiles_of, survivors
from headway.workload.request import Request, Slo

jobs = st.lists(
    st.tuples(st.integers(-3, 30), st.integers(1, 10), st.sampled_from([1, 1, 4])), max_size=8
)


def dues(rows: list[tuple[int, int, int]], late_share: float = 0.0) -> Dues:
    columns = [np.array(column, dtype=np.float64) for column in zip(*rows, strict=True)]
    due_s, work_s, value = columns or [np.zeros(0)] * 3
    return Dues(due_s, work_s, value, late_share)


def can_all_start(asked: Dues, rows: list[int]) -> bool:
    """Whether ``rows`` can, in the best order there is: that in which their work is due."""
    ahead_s = 0.0
    for row in sorted(rows, key=lambda row: float(asked.end_s[row])):
        if ahead_s > asked.due_s[row]:
            return False
        ahead_s += float(asked.work_s[row])
    return True


@settings(max_examples=300, deadline=None)
@given(rows=jobs)
def test_those_chosen_can_start_in_time_and_no_choice_lets_more(
    rows: list[tuple[int, int, int]],
) -> None:
    asked = dues([(due, work, 1) for due, work, _ in rows])
    chosen = np.flatnonzero(asked.in_time(0.0)).tolist()
    assert can_all_start(asked, chosen)

    count = len(chosen) + 1
    assert not any(
        can_all_start(asked, list(more)) for more in combinations(range(len(rows)), count)
    )


@settings(max_examples=200, deadline=None)
@given(rows=jobs)
def test_nobody_who_is_late_or_was_promised_nothing_is_chosen(
    rows: list[tuple[int, int, int]],
) -> None:
    asked = dues(rows)
    assert not asked.in_time(0.0)[asked.due_s < 0].any()
    endless = Dues(np.full(len(rows), np.inf), asked.work_s, asked.value)
    assert not endless.in_time(0.0).any()


def test_value_decides_who_is_given_up() -> None:
    rows = [(1, 5, 1), (1, 5, 4)]
    assert dues(rows).in_time(0.0).tolist() == [False, True]
    assert dues(rows[::-1]).in_time(0.0).tolist() == [True, False]
    assert dues(rows).in_time(0.0, pace=10.0).all()


def test_due_dates_are_checked() -> None:
    with pytest.raises(InputError, match="late_share"):
        dues([(1, 1, 1)], late_share=1.0)
    with pytest.raises(InputError, match="differ"):
        Dues(np.zeros(2), np.zeros(1), np.zeros(2))
    assert dues([(1, 1, 1)], late_share=0.25).late_every == 4


def promised(arrivals: list[float], prompts: list[int], slos: list[Slo]) -> View:
    return view(arrivals, [100.0] * len(arrivals), prompt_tokens=prompts).promising(slos)


def test_those_in_time_go_first_and_the_late_by_their_work() -> None:
    # Work is 0.1 ms per prompt token and 1 s per answer; all have 1.5 s.
    seen = promised([0, 0.1, 0.2, 0.3], [9000, 10, 4000, 20], [Slo(ttft_s=1.5)] * 4)
    assert order(Moore(), seen, 0.4).tolist() == [1, 3, 2, 0]
    assert order(Moore(), seen, 50.0).tolist() == [1, 3, 2, 0]
    assert order(find_policy("headway"), seen, 0.4).tolist()[:2] == [1, 3]


def test_a_longer_prompt_may_be_promised_a_later_token() -> None:
    slo = Slo(ttft_s=1.0, ttft_prompt_token_s=1e-3)
    assert promised([2.0], [500], [slo]).first_deadline_s.tolist() == [3.5]
    assert slo.ttft_limit_s([0, 1000]).tolist() == [1.0, 2.0]
    with pytest.raises(InputError, match="prompt token"):
        Slo(ttft_prompt_token_s=-1.0)


def test_strict_classes_come_before_deadlines() -> None:
    slos = [Slo(ttft_s=1.0, tier=1), Slo(ttft_s=60.0), Slo(ttft_s=30.0)]
    seen = promised([0, 0, 0], [10, 10, 10], slos)
    assert order(StrictTiers(), seen, 0).tolist() == [2, 1, 0]
    assert order(EarliestDeadline(), seen, 0).tolist() == [0, 2, 1]


def test_a_view_of_requests_has_their_objectives() -> None:
    slo = Slo(ttft_s=1.0, tpot_s=0.05, tier=2, value=3.0)
    requests = [Request("a", 1.0, "", 10, slo=slo), Request("b", 2.0, "", 10)]
    seen = View.of(requests, np.full((2, len(LEVELS)), 5.0))
    assert seen.first_deadline_s.tolist() == [2.0, np.inf]
    assert seen.tpot_s.tolist() == [0.05, np.inf]
    assert (seen.tiers.tolist(), seen.value.tolist()) == ([2, 0], [3.0, 1.0])
    assert seen.take(np.array([1])).value.tolist() == [1.0]


@settings(max_examples=200, deadline=None)
@given(
    median=st.floats(5, 2000),
    spread=st.floats(1.05, 8),
    share=st.floats(0, 1.1),
)
def test_survivors_are_those_of_the_prediction_itself(
    median: float, spread: float, share: float
) -> None:
    quantiles = median * spread ** (4 * np.array(LEVELS) - 2)
    produced = int(share * quantiles[-1])
    rows = survivors(quantiles[None, :], np.array([float(produced)]))
    assert np.all(rows >= produced)
    assert np.all(np.diff(rows) >= 0)

    prediction = LengthPrediction(tuple(zip(LEVELS, quantiles.tolist(), strict=True)))
    one_by_one = quantiles_of(prediction.given_at_least(produced))
    if produced <= quantiles[-1]:  # beyond, where less than 1e-9 survive, the prediction stops
        assert rows[0] == pytest.approx(np.maximum.accumulate(one_by_one), rel=1e-3, abs=0.5)
