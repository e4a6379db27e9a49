from __future__ import annotations

import numpy as np
import pytest

from headway.errors import InputError
from headway.workload.record import Records, RequestRecord


def test_a_record_knows_its_latencies() -> None:
    record = RequestRecord("a", 1.0, (1.5, 1.6, 1.9), 10, 3)
    assert record.ttft_s == 0.5
    assert record.e2e_s == pytest.approx(0.9)
    assert record.tpot_s == pytest.approx(0.2)
    assert record.itl_s == pytest.approx((0.1, 0.3))


def test_what_is_not_known_is_none() -> None:
    single = RequestRecord("a", 1.0, (1.5,), 10, 1)
    assert single.tpot_s is None
    failed = RequestRecord("a", 1.0, (), 10, 5, status="failed")
    assert failed.e2e_s is None
    assert failed.ttft_s is None
    assert RequestRecord("a", 0.0, (1.0, 2.0), 10, 50).itl_s is None


def test_impossible_records_are_refused() -> None:
    with pytest.raises(InputError, match="backwards"):
        RequestRecord("a", 2.0, (1.5,), 10, 1)
    with pytest.raises(InputError, match="no token"):
        RequestRecord("a", 2.0, (), 10, 1)
    with pytest.raises(InputError, match="status"):
        RequestRecord("a", 2.0, (3.0,), 10, 1, status="fine")
    nan, inf = float("nan"), float("inf")
    for arrival_s, token_s in ((nan, (1.0,)), (0.0, (nan,)), (0.0, (1.0, inf))):
        with pytest.raises(InputError, match="finite"):
            RequestRecord("a", arrival_s, token_s, 10, len(token_s))


def test_columns_say_the_same_as_objects() -> None:
    records = Records(
        np.array([0.0, 1.0, 2.0]),
        np.array([0.5, 1.5, np.nan]),
        np.array([1.5, 1.5, np.nan]),
        np.array([5, 5, 5]),
        np.array([11, 1, 3]),
        np.zeros(3, dtype=np.int64),
        np.array([False, False, True]),
    )
    assert records.tpot_s[0] == pytest.approx(0.1)
    assert np.isnan(records.tpot_s[1])
    assert [records.record(i).status for i in range(3)] == ["done", "done", "rejected"]
    assert records.record(0).tpot_s == pytest.approx(0.1)
