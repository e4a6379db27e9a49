from __future__ import annotations

import numpy as np
import pytest

from headway.errors import InputError
from headway.workload.objective import Objective, limits_of, parse_objectives, parse_slo
from headway.workload.request import Slo


def test_objectives_are_read_as_they_are_written() -> None:
    objectives = parse_objectives("ttft p95 < 500ms, tpot p99.9<50ms,e2e mean <= 2s")
    assert objectives == (
        Objective("ttft", "p95", 0.5),
        Objective("tpot", "p99.9", 0.05),
        Objective("e2e", "mean", 2.0),
    )
    assert parse_objectives(", ".join(map(str, objectives))) == objectives
    assert limits_of(objectives) == Slo(ttft_s=0.5, tpot_s=0.05, e2e_s=2.0)


def test_without_a_statistic_every_request_is_meant() -> None:
    assert parse_objectives("ttft < 1s") == (Objective("ttft", "max", 1.0),)
    assert parse_slo(None) == Slo()


def test_a_statistic_leaves_out_requests_that_have_none() -> None:
    values = np.array([1.0, np.nan, 3.0])
    assert Objective("ttft", "mean", 1.0).statistic_of(values) == 2.0
    assert Objective("ttft", "p50", 1.0).statistic_of(values) == 2.0
    assert Objective("ttft", "max", 1.0).statistic_of(values) == 3.0
    assert Objective("ttft", "max", 1.0).statistic_of(np.array([np.nan])) is None


@pytest.mark.parametrize(
    "text",
    ["", "ttft", "ttft=500ms", "ttfx p95 < 1s", "ttft p95 < fast", "ttft p950 < 1s",
     "ttft p95 < 0s", "ttft p95 < 1s, ttft p99 < 2s"],
)  # fmt: skip
def test_what_is_no_objective_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_objectives(text)
