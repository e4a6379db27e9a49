"""Exchanges against the published form and against limits."""

from __future__ import annotations

import numpy as np
import pytest

from headway.hardware.cluster import Cluster
from headway.steptime.collectives import bandwidth_bound, exchange_model
from headway.steptime.work import Collective, Pattern


def seconds(
    cluster: Cluster, pattern: Pattern, ranks: float, message: float, stride: float = 1.0
) -> float:
    one = Collective("c", pattern, ranks, stride, message, 1.0)
    waiting, moving = exchange_model(cluster).exchange_s(one, cluster, 1.0)
    return float(waiting + moving)


def test_small_all_reduce_in_a_node_is_the_low_latency_protocol(h100: Cluster) -> None:
    # NCCL tuning.cc: 6.8 us + 2 x 7 hops x 0.6 us, and half the bandwidth for 1 kB
    expected = 6.8e-6 + 2 * 7 * 0.6e-6 + 2 * 7 / 8 * 1e3 / 450e9 / 0.5
    assert seconds(h100, Pattern.ALL_REDUCE, 8, 1e3) == pytest.approx(expected)


def test_large_all_reduce_in_a_node_takes_the_simple_protocol(h100: Cluster) -> None:
    moving = 2 * 7 / 8 * 1e10 / 450e9
    assert seconds(h100, Pattern.ALL_REDUCE, 8, 1e10) == pytest.approx(moving, rel=0.02)


def test_two_nodes_pay_for_the_far_link(h100: Cluster) -> None:
    expected = 6.8e-6 + 2 * 7 * 0.6e-6 + 2 * 5e-6 + 2 * (2 - 1) / 16 * 1e3 / 50e9 / 0.5
    assert seconds(h100, Pattern.ALL_REDUCE, 16, 1e3) == pytest.approx(expected, rel=1e-3)


def test_strided_ranks_leave_the_node_earlier(h100: Cluster) -> None:
    near = seconds(h100, Pattern.ALL_REDUCE, 8, 1e6)
    assert seconds(h100, Pattern.ALL_REDUCE, 8, 1e6, stride=8) > near


def test_one_rank_exchanges_nothing(h100: Cluster) -> None:
    for pattern in Pattern:
        assert seconds(h100, pattern, 1, 1e9) == 0


@pytest.mark.parametrize("pattern", list(Pattern))
def test_no_exchange_beats_the_link(h100: Cluster, pattern: Pattern) -> None:
    for ranks in (2, 8, 16, 64, 1024):
        for message in np.geomspace(1, 1e10, 11):
            one = Collective("c", pattern, ranks, 1.0, message, 3.0)
            waiting, moving = exchange_model(h100).exchange_s(one, h100, 1.0)
            assert float(waiting + moving) >= float(bandwidth_bound(one, h100))


@pytest.mark.parametrize("pattern", list(Pattern))
def test_longer_messages_never_take_less_time(h100: Cluster, pattern: Pattern) -> None:
    message = np.geomspace(1, 1e10, 500)
    for ranks in (2, 8, 64):
        one = Collective("c", pattern, ranks, 1.0, message, 1.0)
        waiting, moving = exchange_model(h100).exchange_s(one, h100, 0.8)
        assert np.all(np.diff(waiting + moving) >= -1e-15)
