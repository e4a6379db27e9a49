from __future__ import annotations

import numpy as np
import pytest

from headway.workload.aggregate import (
    RequestSummary,
    latency_fields,
    meets,
    paired,
    statistics,
    t_quantile,
)
from headway.workload.record import Records
from headway.workload.request import Slo


def records() -> Records:
    return Records(
        np.array([0.0, 1.0, 2.0, 3.0]),
        np.array([0.5, 1.1, np.nan, 4.0]),
        np.array([1.5, 1.1, np.nan, 8.0]),
        np.array([5, 5, 5, 5]),
        np.array([11, 1, 3, 5]),
        np.zeros(4, dtype=np.int64),
        np.array([False, False, True, False]),
    )


def test_a_single_token_meets_any_tpot_and_the_unserved_meet_nothing() -> None:
    assert meets(records(), Slo(tpot_s=1e-9)).tolist() == [False, True, False, False]
    assert meets(records(), Slo()).tolist() == [True, True, False, True]


def test_nothing_is_none_not_zero() -> None:
    assert statistics(np.array([np.nan]))["mean"] is None


@pytest.mark.parametrize(
    ("degrees", "value"), [(1, 12.7062), (2, 4.30265), (3, 3.1824), (9, 2.26216), (30, 2.04227)]
)
def test_students_t(degrees: int, value: float) -> None:
    assert t_quantile(degrees) == pytest.approx(value, rel=4e-3)


def test_pairs_take_out_what_the_seed_did() -> None:
    base = [10.0, 20.0, 40.0]
    found = paired([9.0, 18.0, 36.0], base)
    assert found.mean == pytest.approx(-0.1)
    assert found.upper - found.lower < 1e-9
    assert found.significant
    assert not paired([9.0], [10.0]).significant


def test_a_row_of_requests_holds_the_figures_of_all_that_ended() -> None:
    row = RequestSummary.of(records(), Slo(ttft_s=0.6, tpot_s=0.2))
    assert (row.requests, row.unfinished) == (4, 1)
    assert row.requests_per_s == pytest.approx(3 / 8)
    assert row.output_tok_per_s == pytest.approx(17 / 8)
    assert row.goodput_requests_per_s == pytest.approx(2 / 8)
    assert row.slo_attainment == pytest.approx(2 / 4)
    assert row.ttft_max_s == 1.0
    assert RequestSummary.of(records()).slo_attainment is None


def test_measured_figures_lie_within_their_intervals() -> None:
    values = np.random.default_rng(1).exponential(1.0, 4000)
    row = latency_fields("ttft", values, intervals=True)
    for which in ("mean", "p50", "p90", "p99"):
        estimate = row[f"ttft_{which}_s"]
        assert estimate.lower < estimate.expected < estimate.upper
    assert row["ttft_mean_s"].expected == pytest.approx(values.mean())
    assert latency_fields("ttft", values[:5], intervals=True)["ttft_mean_s"] == values[:5].mean()


def test_records_as_objects_and_as_columns_are_the_same() -> None:
    columns = records()
    again = Records.of([columns.record(i) for i in range(len(columns))])
    for name in ("arrival_s", "first_s", "last_s", "output_tokens", "rejected"):
        assert np.array_equal(getattr(columns, name), getattr(again, name), equal_nan=True)
