from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sim.worlds import LinearStepTime, poisson, pool, world

from headway.sim.engine import Engine
from headway.sim.gaps import BINS, Gaps, count_gaps, place_of
from headway.sim.outcome import simulate_trace
from headway.sim.policy_row import Run
from headway.sim.site import Disaggregation, Site
from headway.workload.oracle import Trace
from headway.workload.request import Slo


@given(st.lists(st.integers(1, 10**14), min_size=1, max_size=200), st.floats(0.01, 1))
def test_quantiles_are_within_two_fifths_of_a_percent(sizes: list[int], level: float) -> None:
    counts = np.zeros(BINS + 1, dtype=np.int64)
    for size in sizes:
        count_gaps(counts, size, 1)
    gaps = Gaps(counts)
    exact = float(np.quantile(sizes, level, method="inverted_cdf")) * 1e-9
    assert gaps.quantile_s(level) == pytest.approx(exact, rel=0.004)
    assert gaps.max_s == pytest.approx(max(sizes) * 1e-9)
    assert gaps.total_s == pytest.approx(sum(sizes) * 1e-9, rel=0.004)
    assert len(gaps) == len(sizes)


@given(st.integers(0, 2**61), st.integers(0, 2**61))
def test_larger_gaps_stand_no_lower(a: int, b: int) -> None:
    low, high = sorted((a, b))
    assert 0 <= place_of(low) <= place_of(high) < BINS


def test_a_run_of_equal_steps_has_equal_gaps() -> None:
    trace = Trace(np.zeros(3), np.full(3, 10), np.full(3, 50))
    outcome = simulate_trace(
        trace, world(Engine(num_kv_blocks=200), LinearStepTime(0.01, 0.0, 0.0))
    )
    run = Run("fcfs", "-", outcome.records, outcome.records.e2e_s, Slo(), outcome)
    row, *_ = run.rows(trace)
    assert len(outcome.gaps) == 3 * 49
    for which in ("mean", "p50", "p90", "p99", "max"):
        assert getattr(row, f"itl_{which}_s") == pytest.approx(0.01, rel=0.004)


def test_the_gap_of_a_transfer_and_of_a_preemption_are_gaps() -> None:
    engine = Engine(num_kv_blocks=3000)
    split = Site((pool(engine), pool(engine)), disaggregation=Disaggregation(0.5, 0.0))
    outcome = simulate_trace(poisson(20, 1.0, 0, output=20), split)
    assert (outcome.gaps.max_s or 0) > 0.5
    # Two sequences outgrow the cache: one waits until the other has ended.
    tight = Engine(num_kv_blocks=12, max_num_seqs=4)
    trace = Trace(np.zeros(2), np.full(2, 16), np.full(2, 150))
    squeezed = simulate_trace(trace, world(tight))
    assert len(squeezed.requests) == 2
    assert (squeezed.gaps.max_s or 0) > 20 * (squeezed.gaps.quantile_s(0.5) or 1)
