"""Choosing an order for a goal, capacity, and what preemption keeps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.sim.worlds import LinearStepTime, poisson, pool, world

from headway.errors import InputError, UnknownNameError
from headway.schedule.deadline import Moore, Slack
from headway.schedule.order import Fcfs, OrderPolicy
from headway.schedule.policies import HEADWAY
from headway.schedule.route import WORK_LEFT, ReplicaView, TwoChoices, two_places, work_left
from headway.schedule.uncertain import Gittins
from headway.schedule.view import ServiceTime
from headway.sim import kernel
from headway.sim.capacity import capacity_rps
from headway.sim.engine import Engine
from headway.sim.experiment import Case, Experiment
from headway.sim.predictions import Skill
from headway.sim.scenario import Tenant
from headway.sim.site import Disaggregation, Site, share_of_work
from headway.sim.tune import GOALS, quality, tune
from headway.workload.request import Slo

MODEL = LinearStepTime(4e-3, 3e-5, 2e-8)
SLO = Slo(ttft_s=0.5, tpot_s=0.03)


def busy(engine: Engine, seeds: int = 2, slo: Slo = SLO) -> Experiment:
    """Return an experiment whose slots are scarce."""
    cluster = world(engine, MODEL)
    traces = tuple(poisson(500, 24, seed, output=60) for seed in range(seeds))
    service = share_of_work(cluster.pools[0], traces[0])
    return Experiment(traces, cluster, service, Skill(0.6), slo, lawful=True)


SCARCE = Engine(max_num_seqs=8, num_kv_blocks=3000, prefix_cache=True)


@pytest.mark.parametrize("goal", GOALS)
def test_the_order_that_is_chosen_is_no_worse_than_first_come_first_served(goal: str) -> None:
    tuned = tune(busy(SCARCE), goal)
    own, fcfs = tuned.own, tuned.fcfs
    gains = {
        "attainment": own.attainment - fcfs.attainment,
        "capacity": own.capacity_rps - fcfs.capacity_rps,
        "slowdown": fcfs.slowdown - own.slowdown,
        "ttft-p95": fcfs.ttft_p95_s - own.ttft_p95_s,
        "mean": fcfs.mean_s - own.mean_s,
    }
    assert gains[goal] > 0
    assert tuned.policy.name == HEADWAY
    assert ("in time" in tuned.gain) == (goal in ("attainment", "capacity"))
    if goal == "mean":
        assert tuned.p99_vs_fcfs <= 0.02


def test_a_goal_has_a_name() -> None:
    with pytest.raises(UnknownNameError, match="attainment"):
        tune(busy(SCARCE), "attainmant")


def test_moore_has_more_in_time_and_slack_more_still() -> None:
    asked = busy(SCARCE, seeds=3)
    shares = [quality(asked, policy).attainment for policy in (Fcfs(), Moore(), Slack())]
    assert shares == sorted(shares)
    assert shares[1] > shares[0] + 0.1


def test_capacity_is_the_rate_at_which_nine_tenths_are_in_time() -> None:
    asked = busy(SCARCE, seeds=1)
    case = Case(Moore(), 0)
    rate_rps = capacity_rps(asked, case)
    assert asked.attainment(case, 0.99 * rate_rps) >= 0.9 - 0.01
    assert asked.attainment(case, 1.1 * rate_rps) < 0.9
    assert capacity_rps(asked, case, share=0.99) < rate_rps
    impossible = replace(asked, slo=Slo(ttft_s=1e-6))
    assert capacity_rps(impossible, case) == 0


def test_those_who_cannot_be_in_time_are_refused_where_the_operator_allows_it() -> None:
    asked = busy(SCARCE, seeds=1)
    kept, shed = (asked.outcome(Case(Moore(sheds=sheds), 0)).records for sheds in (False, True))
    assert kept.rejected.sum() == 0
    assert 0 < shed.rejected.sum() < 250
    assert np.nanmax(shed.ttft_s) < np.nanmax(kept.ttft_s)


def test_the_late_get_their_share_of_the_starts() -> None:
    asked = busy(SCARCE, seeds=3)
    none, some = (quality(asked, Moore(late_share=share)) for share in (0.0, 0.25))
    assert some.p99_s < 0.9 * none.p99_s
    assert some.attainment < none.attainment


@pytest.mark.parametrize("policy", [Gittins(quantum_tokens=4), Slack(quantum_tokens=4)])
def test_a_cache_that_is_kept_is_not_computed_again(policy: OrderPolicy) -> None:
    lost, kept, swapped = (
        busy(
            replace(SCARCE, prefix_cache=cached, swap_token_s=swap_s), slo=Slo(0.15, tpot_s=0.05)
        ).outcome(Case(policy, 0))
        for cached, swap_s in ((False, None), (True, None), (False, 1e-7))
    )
    assert kept.requests["num_preemptions"].sum() > 10
    prompts = int(lost.requests["prompt_tokens"].sum())
    again = [int(o.replicas["prefill_tokens"].sum()) - prompts for o in (lost, kept, swapped)]
    assert again[2] == 0
    assert 0 < again[1] < 0.2 * again[0]


def test_a_kept_cache_gives_way_to_those_who_need_its_blocks() -> None:
    tight = replace(SCARCE, num_kv_blocks=160, max_num_seqs=32)
    outcome = busy(tight).outcome(Case(Gittins(quantum_tokens=4), 0))
    assert outcome.requests["num_preemptions"].sum() > 20
    assert outcome.replicas["hit_tokens"].sum() < outcome.requests["prompt_tokens"].sum()


def test_two_choices_are_two_and_the_same_in_both_worlds() -> None:
    draws = [two_places(turn, 5) for turn in range(2000)]
    assert all(first != second for first, second in draws)
    assert draws == [kernel.two_places(turn, 5) for turn in range(2000)]
    counts = np.bincount(np.array(draws).ravel(), minlength=5)
    assert counts.min() > 0.9 * 800
    assert two_places(3, 1) == (0, 0)
    replicas = [ReplicaView(9), ReplicaView(1), ReplicaView(5, up=False)]
    assert {TwoChoices().choose(replicas, turn) for turn in range(20)} == {1}


def test_work_that_is_left_counts_prompts_answers_and_hits() -> None:
    rule = work_left(ServiceTime(0.0, 1e-5, 1e-4), 1.0)
    busy_prompt = ReplicaView(1, output_tokens=10, prompt_tokens=5000)
    busy_answer = ReplicaView(9, output_tokens=400)
    assert rule.choose([busy_prompt, busy_answer], 0) == 1
    assert rule.choose([replace(busy_prompt, cached_tokens=2000), busy_answer], 0) == 0
    assert work_left(ServiceTime(0.0, 1e-5, 1e-4)).choose([busy_prompt, busy_answer], 0) == 1
    assert WORK_LEFT.choose([ReplicaView(5), ReplicaView(4, output_tokens=900)], 0) == 1


def test_classes_of_a_scenario_and_what_does_not_go_together() -> None:
    slo = Tenant(ttft_s=2.0, tier=1, value=3.0).slo(Slo(tpot_s=0.1))
    assert slo == Slo(ttft_s=2.0, tpot_s=0.1, tier=1, value=3.0)
    swapping = pool(Engine(num_kv_blocks=100, swap_token_s=1e-6), MODEL)
    with pytest.raises(InputError, match="swapping"):
        Site((swapping, swapping), disaggregation=Disaggregation())
