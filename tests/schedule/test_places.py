from __future__ import annotations

import numpy as np
import pytest
from tests.schedule.test_policies import view

from headway.errors import InputError
from headway.predict.prediction import LEVELS
from headway.schedule.consolidate import Consolidation
from headway.schedule.fair import FairShares
from headway.schedule.offload import Offload
from headway.schedule.order import order
from headway.schedule.route import LEAST_LOADED, PREFIX_AFFINE, ReplicaView, RoundRobin
from headway.schedule.view import ServiceTime, View


def test_a_batch_holds_answers_of_similar_length_and_always_the_first() -> None:
    ordered = np.array([2, 0, 1, 3])
    tokens = np.array([90.0, 300.0, 100.0, 140.0])
    assert Consolidation(8, 1.5).batch(ordered, tokens) == [2, 0]
    assert Consolidation(8, 2.0).batch(ordered, tokens) == [2, 0, 3]
    assert Consolidation(2).batch(ordered, tokens) == [2, 0]
    with pytest.raises(InputError, match="ratio"):
        Consolidation(8, 0.5)


def test_offload_only_where_it_shortens_the_total() -> None:
    seen = view([0, 0], [50, 1000])
    rule = Offload(200, ServiceTime(0, 0, 0.05))
    assert rule.long(seen).tolist() == [0, 1]
    assert not rule.pays(seen, 1, fast_backlog_s=0.0, slow_backlog_s=0.0)
    assert rule.pays(seen, 1, fast_backlog_s=100.0, slow_backlog_s=0.0)
    assert not rule.pays(seen, 0, fast_backlog_s=100.0, slow_backlog_s=0.0)
    assert Offload.at_share(np.arange(101.0), 0.1, ServiceTime()).threshold_tokens == 90


def test_fair_shares_keep_a_flood_from_drowning_the_other_tenant() -> None:
    n = 11
    tenants = np.array([0] * 10 + [1])
    seen = View(
        np.concatenate([np.zeros(10), [0.5]]),
        np.ones(n),
        np.full((n, len(LEVELS)), 100.0),
        np.full(n, np.inf),
        np.zeros(n),
        tenants,
    )
    assert order(FairShares(), seen, 1.0).tolist().index(10) == 1
    heavy = FairShares(((0, 100.0),))
    assert order(heavy, seen, 1.0).tolist().index(10) == 10


def test_round_robin_skips_what_is_down() -> None:
    replicas = [ReplicaView(0), ReplicaView(5, up=False), ReplicaView(9)]
    assert RoundRobin().choose(replicas, 1) == 2
    with pytest.raises(InputError, match="up"):
        RoundRobin().choose([ReplicaView(0, up=False)], 0)


def test_scores_count_load_and_credit_prefixes() -> None:
    replicas = [ReplicaView(3), ReplicaView(2), ReplicaView(2, cached_tokens=4096)]
    assert LEAST_LOADED.choose(replicas, 0) == 1
    assert LEAST_LOADED.choose(replicas, 2) == 2
    assert PREFIX_AFFINE.choose(replicas, 0) == 2
