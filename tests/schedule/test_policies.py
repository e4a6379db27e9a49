from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.errors import InputError, UnknownNameError
from headway.predict.prediction import LEVELS, LengthPrediction
from headway.schedule.order import (
    Fcfs,
    HighestResponseRatio,
    OrderPolicy,
    ShortestJob,
    ShortestRemaining,
    order,
)
from headway.schedule.policies import check_policy, find_policy, policies
from headway.schedule.uncertain import Boost, Gittins, Shift, TailInflated, UncertaintyAware
from headway.schedule.view import ServiceTime, View, quantiles_of
from headway.workload.request import Request, Slo

ALL = list(policies().values())


def view(
    arrival_s: list[float],
    tokens: list[float],
    spread: float = 1.0,
    prompt_tokens: list[int] | None = None,
    deadline_s: list[float] | None = None,
) -> View:
    n = len(arrival_s)
    factors = spread ** np.linspace(-1, 1, len(LEVELS))
    return View(
        np.array(arrival_s, dtype=np.float64),
        np.array(prompt_tokens or [10] * n, dtype=np.float64),
        np.array(tokens, dtype=np.float64)[:, None] * factors[None, :],
        np.array(deadline_s or [np.inf] * n, dtype=np.float64),
        np.zeros(n),
        np.zeros(n, dtype=np.int64),
        ServiceTime(0.0, 1e-4, 1e-2),
    )


@pytest.mark.parametrize("policy", ALL, ids=lambda p: p.name)
@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.floats(0, 1e4), st.floats(0, 1e5), st.floats(1, 10)), min_size=0, max_size=20
    ),
    now_s=st.floats(0, 2e4),
)
def test_every_policy_orders_every_view_soundly(
    policy: OrderPolicy, rows: list[tuple[float, float, float]], now_s: float
) -> None:
    seen = view([r[0] for r in rows], [r[1] for r in rows], 2.0)
    check_policy(policy, seen, now_s)


@pytest.mark.parametrize(
    "policy", [p for p in ALL if p.name not in ("fair",)], ids=lambda p: p.name
)
def test_the_order_does_not_depend_on_who_else_waits(policy: OrderPolicy) -> None:
    """Keys come from a request's own row, so a gateway may ask about any part of its queue."""
    random = np.random.default_rng(0)
    seen = view(list(random.random(30) * 10), list(1 + random.random(30) * 500), 1.5)
    whole = policy.keys(seen).at(20.0)
    part = policy.keys(view(list(seen.arrival_s[:7]), list(seen.at(0.5)[:7]), 1.5)).at(20.0)
    assert len(part) == 7
    assert np.all(np.isfinite(whole))


def test_fcfs_keeps_the_order_of_arrival_and_ties_go_to_the_row() -> None:
    assert order(Fcfs(), view([3, 1, 1, 2], [1, 2, 3, 4]), 5).tolist() == [1, 2, 3, 0]


def test_sjf_reads_the_wanted_quantile() -> None:
    seen = view([0, 0], [100, 110], 1.0)
    wide = View(
        seen.arrival_s,
        seen.prompt_tokens,
        np.stack([50 + 450 * np.array(LEVELS), 100 + 20 * np.array(LEVELS)]),
        seen.deadline_s,
        seen.produced_tokens,
        seen.tenants,
    )
    assert order(ShortestJob(0.1), wide, 0)[0] == 0
    assert order(ShortestJob(0.9), wide, 0)[0] == 1


def test_srpt_counts_what_is_out_already() -> None:
    seen = view([0, 0], [100, 60])
    half_done = View(
        seen.arrival_s,
        seen.prompt_tokens,
        seen.quantiles,
        seen.deadline_s,
        np.array([50.0, 0.0]),
        seen.tenants,
    )
    assert order(ShortestRemaining(), half_done, 0)[0] == 0


def test_hrrn_lets_the_long_one_through_in_the_end() -> None:
    seen = view([0.0, 100.0], [1000, 10])
    assert order(HighestResponseRatio(), seen, 102.0)[0] == 1
    late = view([0.0, 1000.0], [1000, 10])
    assert order(HighestResponseRatio(), late, 1000.01)[0] == 0


def test_rt_lm_mixes_slack_and_length() -> None:
    seen = view([0, 1], [500, 10])
    assert order(UncertaintyAware(0.0), seen, 0)[0] == 1
    equal_length = view([0, 1], [100, 100])
    assert order(UncertaintyAware(1.0), equal_length, 0)[0] == 0


def test_a_heavier_tail_goes_later_at_the_same_median() -> None:
    seen = view([0, 0], [100, 100])
    around_median = 2 * np.array(LEVELS) - 1
    narrow, wide = 1.1**around_median, 16.0**around_median
    doubtful = View(
        seen.arrival_s,
        seen.prompt_tokens,
        100 * np.stack([wide, narrow]),
        seen.deadline_s,
        seen.produced_tokens,
        seen.tenants,
        ServiceTime(0, 0, 1e-2),
    )
    assert order(TailInflated(), doubtful, 0)[0] == 1
    # Gittins does the opposite: the doubtful one may be over soon, and can be put aside if not.
    assert order(Gittins(), doubtful, 0)[0] == 0


def test_gittins_of_a_sure_length_is_the_length() -> None:
    seen = view([0, 0], [200, 100])
    assert Gittins().keys(seen).key == pytest.approx(seen.service_s)


def test_nobody_overtakes_who_is_older_by_its_index_over_the_aging() -> None:
    aging = 0.05
    index_s, short_s = Gittins().keys(view([0, 0], [2000, 1])).key.tolist()
    lead_s = (index_s - short_s) / aging
    for later_s, first in ((0.9 * lead_s, 1), (1.1 * lead_s, 0)):
        both = view([0, later_s], [2000, 1])
        assert order(Gittins(aging=aging), both, later_s)[0] == first
    with pytest.raises(InputError, match="aging"):
        Gittins(aging=-1.0)


def test_boost_moves_short_ones_ahead_and_long_ones_hardly() -> None:
    keys = Boost(0.1).keys(view([0, 0, 0], [1, 100, 100_000])).key
    assert keys[0] < keys[1] < keys[2] <= 0
    assert keys[2] == pytest.approx(0, abs=1e-6)


def test_headway_overtakes_no_more_than_the_window_per_e_of_work() -> None:
    policy = Shift(window_s=10, usual_work_s=1.0)
    keys = policy.keys(view([0, 0], [100, 271.8281828], prompt_tokens=[1, 1])).key
    assert keys[1] - keys[0] == pytest.approx(10, abs=0.01)
    linear = Shift(10, 1.0, 1.0).keys(view([0, 0], [100, 200], prompt_tokens=[1, 1])).key
    assert linear[1] - linear[0] == pytest.approx(10, abs=0.01)


def test_a_view_is_made_of_requests_and_predictions() -> None:
    requests = [
        Request("a", 1.0, "hi", 5, slo=Slo(e2e_s=3.0)),
        Request("b", 2.0, "there", 7),
    ]
    predictions = [
        LengthPrediction(((0.1, 10.0), (0.5, 20.0), (0.9, 40.0))),
        LengthPrediction(((0.1, 100.0), (0.5, 200.0), (0.9, 400.0))),
    ]
    quantiles = np.array([quantiles_of(prediction) for prediction in predictions])
    seen = View.of(requests, quantiles)
    assert seen.deadline_s.tolist() == [4.0, np.inf]
    assert seen.at(0.5) == pytest.approx([20, 200])
    assert order(ShortestJob(), seen, 3.0).tolist() == [0, 1]
    with pytest.raises(InputError, match="shape"):
        View.of(requests, quantiles[:1])


@pytest.mark.parametrize("policy", ALL, ids=lambda p: p.name)
def test_a_policy_says_whether_it_uses_predictions(policy: OrderPolicy) -> None:
    arrival_s, tokens = [0.0, 1.0, 2.0], [100.0, 400.0, 30.0]
    keys = policy.keys(view(arrival_s, tokens, 2.0)).at(9.0)
    shuffled = policy.keys(view(arrival_s, tokens[1:] + tokens[:1], 2.0)).at(9.0)
    assert (keys.tolist() != shuffled.tolist()) == policy.uses_predictions


def test_bad_views_and_names_are_refused() -> None:
    with pytest.raises(InputError, match="rise"):
        view([0], [10], 0.5)
    with pytest.raises(UnknownNameError, match="sjf"):
        find_policy("sjff")


def test_an_oracle_cannot_reach_a_policy() -> None:
    """The true length is no field of what a policy sees, nor does its room import the oracle."""
    import ast
    from pathlib import Path

    import headway.schedule

    names = [field.name for field in fields(View)]
    assert not [name for name in names if "output" in name or "true" in name]
    for source in Path(headway.schedule.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert "oracle" not in (node.module or ""), source
