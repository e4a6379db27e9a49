"""Static batches: laws, the compiled loop against the plain one, and what filling them is worth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reference.plain_batches import plain_ends_s
from tests.sim.worlds import pool

from headway.errors import InputError
from headway.schedule.consolidate import Consolidation
from headway.schedule.offload import Offload
from headway.schedule.order import Fcfs, HighestResponseRatio, OrderPolicy
from headway.schedule.uncertain import LeastUncertain
from headway.sim.engine import Engine
from headway.sim.predictions import quantiles, view_of
from headway.sim.static_batch import BatchTime, Second, batch_time, serve_batches
from headway.workload.aggregate import paired
from headway.workload.oracle import Trace

TIME = BatchTime(fixed_s=0.1, token_s=0.01, request_s=0.02, token_request_s=0.001)
POLICIES: list[OrderPolicy] = [Fcfs(), LeastUncertain(), HighestResponseRatio()]
requests = st.lists(
    st.tuples(st.floats(0, 0.5), st.integers(1, 80), st.integers(1, 80)), min_size=1, max_size=40
)


def second(factor: float, threshold_tokens: float = 1.0) -> Second:
    slow = TIME.slower(factor)
    return Second(Offload(threshold_tokens, slow.service(1)), slow)


@settings(max_examples=60, deadline=None)
@given(
    rows=requests,
    policy=st.sampled_from(POLICIES),
    max_batch=st.integers(1, 6),
    ratio=st.sampled_from([1.0, 1.7, math.inf]),
    window_s=st.sampled_from([0.0, 0.4]),
    nearest=st.booleans(),
    slow=st.sampled_from([None, 1.5, 4.0]),
)
def test_the_compiled_loop_is_the_plain_one(
    rows: list[tuple[float, int, int]],
    policy: OrderPolicy,
    max_batch: int,
    ratio: float,
    window_s: float,
    nearest: bool,
    slow: float | None,
) -> None:
    gaps_s, output_tokens, predicted = (np.array(column) for column in zip(*rows, strict=True))
    trace = Trace(np.cumsum(gaps_s), np.ones(len(rows), dtype=np.int64), output_tokens)
    rule = Consolidation(max_batch, ratio, window_s, nearest)
    view = view_of(trace, quantiles(predicted, 1.0, 0), TIME.service(max_batch))
    other = None if slow is None else second(slow, 20.0)
    records = serve_batches(trace, view, policy, rule, time=TIME, second=other)
    plain = plain_ends_s(trace, view, policy, rule, time=TIME, second=other)
    assert records.last_s == pytest.approx(plain, rel=1e-12)

    # Everybody is served, and nobody sooner than alone on the faster engine.
    alone_s = TIME.of(1, trace.output_tokens)
    assert np.all(records.e2e_s >= alone_s - 1e-9)


def test_a_batch_takes_longer_with_every_request_and_token() -> None:
    assert TIME.of(8, 100) == pytest.approx(0.1 + 8 * 0.02 + (0.01 + 8 * 0.001) * 100)
    assert np.all(np.diff(TIME.of(4, np.arange(1, 50))) > 0)
    assert TIME.of(5, 30) > TIME.of(4, 30)
    assert TIME.service(8).of(7, 100) == pytest.approx(TIME.of(8, 100))
    with pytest.raises(InputError, match="negative"):
        BatchTime(0.1, 0.01, -1.0)
    with pytest.raises(InputError, match="some time per token"):
        BatchTime(0.1, 0.0)


def test_batch_times_of_a_pool_grow_with_the_batch() -> None:
    engine = Engine(max_num_seqs=64, max_num_batched_tokens=4096, num_kv_blocks=50_000)
    trace = Trace(np.arange(3.0), np.full(3, 200), np.full(3, 100))
    time = batch_time(pool(engine), trace, 16)
    alone = batch_time(pool(engine), trace, 1)
    assert time.of(1, 100) == pytest.approx(alone.of(1, 100))
    assert alone.of(1, 100) < time.of(16, 100) < 16 * alone.of(1, 100)


def overloaded(tau: float, seed: int) -> tuple[Trace, np.ndarray]:
    """Return 600 requests, a third more than batches of 8 can serve, and their predictions."""
    random = np.random.default_rng(seed)
    output_tokens = np.maximum(np.rint(40 * random.lognormal(-0.3, 0.8, 600)), 1).astype(np.int64)
    longest = output_tokens.reshape(-1, 8).max(axis=1).mean()
    rate = 1.3 * 8 / float(TIME.of(8, longest))
    trace = Trace(
        np.cumsum(random.exponential(1 / rate, 600)), np.ones(600, dtype=np.int64), output_tokens
    )
    return trace, quantiles(output_tokens, tau, seed)


def test_similar_lengths_in_one_batch_raise_throughput_in_overload_and_need_skill() -> None:
    shapes = {"plain": Consolidation(8), "nearest": Consolidation(8, nearest=True)}
    spans: dict[tuple[str, float], list[float]] = {}
    means: dict[tuple[str, float], list[float]] = {}
    for tau in (0.0, 0.5):
        for seed in range(5):
            trace, predicted = overloaded(tau, seed)
            view = view_of(trace, predicted, TIME.service(8))
            for name, rule in shapes.items():
                records = serve_batches(trace, view, Fcfs(), rule, time=TIME)
                spans.setdefault((name, tau), []).append(float(records.last_s.max()))
                means.setdefault((name, tau), []).append(float(records.e2e_s.mean()))

    assert paired(spans["plain", 0.5], spans["nearest", 0.5]).lower > 0.03
    assert paired(means["nearest", 0.5], means["plain", 0.5]).upper < -0.1
    assert abs(paired(spans["plain", 0.0], spans["nearest", 0.0]).mean) < 0.03


def test_a_second_engine_takes_the_longest_and_helps_the_less_the_slower_it_is() -> None:
    trace, predicted = overloaded(1.0, 0)
    view = view_of(trace, predicted, TIME.service(8))
    means = [
        float(serve_batches(trace, view, Fcfs(), Consolidation(8), time=TIME, second=other)
              .e2e_s.mean())
        for other in (second(2.0), second(8.0), None)
    ]  # fmt: skip
    assert means[0] < means[1] < means[2]

    # The longest of those that wait goes, and only where it is longer than the threshold.
    three = Trace(
        np.array([0.0, 0.01, 0.02, 0.03]), np.ones(4, dtype=np.int64), np.array([50, 20, 60, 10])
    )
    known = view_of(three, quantiles(three.output_tokens, 1.0, 0), TIME.service(1))
    records = serve_batches(three, known, Fcfs(), Consolidation(1), time=TIME, second=second(1.2))
    alone = TIME.slower(1.2)
    assert records.last_s[1] == pytest.approx(0.01 + float(alone.of(1, 20)))
    assert records.last_s[2] == pytest.approx(records.last_s[1] + float(alone.of(1, 60)))
    kept = serve_batches(
        three, known, Fcfs(), Consolidation(1), time=TIME, second=second(1.2, 1000.0)
    )
    assert kept.last_s == pytest.approx(np.cumsum(TIME.of(1, three.output_tokens)))
