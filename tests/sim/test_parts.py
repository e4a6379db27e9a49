from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
from tests.sim.worlds import LinearStepTime, poisson, pool, table, world

from headway.errors import InputError, UnknownNameError
from headway.predict.prediction import LEVELS
from headway.report.estimate import Estimate
from headway.schedule.consolidate import Consolidation
from headway.schedule.offload import Offload
from headway.schedule.order import Fcfs, HighestResponseRatio, ShortestJob
from headway.schedule.route import work_left
from headway.schedule.view import ServiceTime
from headway.sim.breakdown import time_parts
from headway.sim.engine import Engine
from headway.sim.experiment import Case, Experiment, compare, run_all
from headway.sim.outcome import Outcome, simulate_trace
from headway.sim.predictions import Skill, kendall_tau, quantiles, shuffled, view_of
from headway.sim.site import Disaggregation, Outage, Site, alone_ns, share_of_work
from headway.sim.static_batch import BatchTime, Second, serve_batches
from headway.sim.tune import tune
from headway.workload.oracle import Trace
from headway.workload.request import Slo
from headway.workload.step import Step

MODEL = LinearStepTime(4e-3, 3e-5, 2e-8)


def test_tables_say_what_the_model_says() -> None:
    engine = Engine(max_num_seqs=100, max_num_batched_tokens=1000, num_kv_blocks=5000)
    made = table(engine, MODEL)
    random = np.random.default_rng(0)
    for _ in range(300):
        n = int(random.integers(1, 101))
        kv = int(random.integers(n, engine.kv_tokens))
        said = made.decode_step_ns(n, kv)
        asked = MODEL.step_time(Step.decode(n, kv / n)).expected_s * 1e9
        assert said == pytest.approx(float(asked), rel=0.01)
        new = int(random.integers(1, 1001 - n))
        old = int(random.integers(0, 3000))
        pairs = new * old + new * (new + 1) // 2
        said = made.mixed_step_ns(n, kv, new, pairs)
        both = Step.decode(n, kv / n).with_group(Step.prefill(1, old + new, old))
        asked = MODEL.step_time(both).expected_s * 1e9
        assert said == pytest.approx(float(asked), rel=0.02)


def parts_of(outcome: Outcome, trace: Trace, site: Site, i: int) -> dict[str, float]:
    return {row.part: row.time_s for row in time_parts(outcome, trace, site, i)}


def test_a_breakdown_adds_up_and_alone_means_alone() -> None:
    cluster = world(Engine(num_kv_blocks=3000), MODEL)
    trace = poisson(200, 30, 0)
    outcome = simulate_trace(trace, cluster)
    for i in range(0, 200, 17):
        parts = parts_of(outcome, trace, cluster, i)
        whole_s = parts.pop("e2e")
        assert sum(parts.values()) == pytest.approx(whole_s)
        assert whole_s == pytest.approx(float(outcome.records.e2e_s[i]))
        assert parts["interference"] > -1e-6
        assert parts["overhead"] == 0
    single = Trace(np.zeros(1), np.array([700]), np.array([40]))
    lonely = simulate_trace(single, cluster)
    prefill, decode = alone_ns(single.prompt_tokens, single.output_tokens, cluster.pools[0])
    assert int(lonely.requests["last_ns"][0]) == int(prefill[0] + decode[0])


def test_a_transfer_between_pools_is_part_of_the_time() -> None:
    engine = Engine(num_kv_blocks=3000)
    split = Site(
        (pool(engine, MODEL), pool(engine, MODEL)), disaggregation=Disaggregation(5e-3, 1e-6)
    )
    trace = poisson(100, 20, 0)
    outcome = simulate_trace(trace, split)
    i = int(np.argmax(trace.output_tokens))
    parts = parts_of(outcome, trace, split, i)
    assert parts["transfer"] == pytest.approx(5e-3 + 1e-6 * float(trace.prompt_tokens[i]), abs=1e-8)


def test_predictions_have_the_skill_that_was_asked_for_and_are_calibrated() -> None:
    lengths = np.random.default_rng(0).lognormal(5, 1, 4000).astype(np.int64) + 1
    rows = quantiles(lengths, 0.4, 1)
    assert kendall_tau(np.log(lengths[:800]), rows[:800, 5]) == pytest.approx(0.4, abs=0.05)
    for k, level in enumerate(LEVELS):
        assert np.mean(lengths <= rows[:, k]) == pytest.approx(level, abs=0.03)
    mixed = shuffled(rows, 1)
    assert abs(kendall_tau(np.log(lengths[:800]), mixed[:800, 5])) < 0.06
    assert np.array_equal(np.sort(mixed[:, 5]), np.sort(rows[:, 5]))
    with pytest.raises(InputError, match="tau"):
        quantiles(lengths, 1.5, 0)


def experiment(seeds: int = 3) -> Experiment:
    cluster = world(Engine(max_num_seqs=8, num_kv_blocks=3000), MODEL)
    traces = tuple(poisson(600, 12, seed, output=60) for seed in range(seeds))
    service = share_of_work(cluster.pools[0], traces[0])
    return Experiment(traces, cluster, service, Skill(0.5), Slo(ttft_s=0.5), lawful=True)


def test_a_comparison_has_a_shuffled_control_for_every_order_that_predicts() -> None:
    rows = compare(experiment(), [Fcfs(), ShortestJob(), HighestResponseRatio()])
    rows = tuple(row for row in rows if row.scope is None)
    assert [(row.policy, row.predictions) for row in rows] == [
        ("fcfs", "-"),
        ("sjf", "tau 0.5"),
        ("sjf", "shuffled"),
        ("hrrn", "tau 0.5"),
        ("hrrn", "shuffled"),
    ]
    sjf, control = (row.e2e_mean_vs_fcfs for row in rows[1:3])
    assert isinstance(sjf, Estimate)
    assert isinstance(control, Estimate)
    assert sjf.expected < control.expected
    for row in rows:
        assert not any(isinstance(v, float) and not np.isfinite(v) for v in asdict(row).values())


def test_routing_by_predicted_work_is_given_predictions_under_every_order() -> None:
    """First come first served too: else all replicas look equally free to it."""
    cluster = replace(world(Engine(max_num_seqs=8, num_kv_blocks=3000), MODEL))
    rule = work_left(ServiceTime(0.0, 1.0, 4.0), 1.0)
    two = replace(cluster, pools=(replace(cluster.pools[0], replicas=2),), placement=rule)
    trace = Trace(np.zeros(9), np.full(9, 10), np.array([900, *[30] * 8]))
    service = share_of_work(cluster.pools[0], trace)
    outcome = Experiment((trace,), two, service, Skill(1.0)).outcome(Case(Fcfs(), 0))
    assert sorted(outcome.replicas["num_routed"].tolist()) == [1, 8]


def test_threads_give_the_same_bytes_as_one_after_the_other() -> None:
    rows = compare(experiment(), [ShortestJob()])
    assert repr(compare(experiment(), [ShortestJob()], workers=3)) == repr(rows)
    assert run_all(str, [1, 2, 3], workers=2) == ["1", "2", "3"]
    with pytest.raises(UnknownNameError, match="threads"):
        run_all(str, [1], executor="steam")


def test_ray_gives_the_same_bytes() -> None:
    pytest.importorskip("ray")
    rows = compare(experiment(), [ShortestJob()])
    assert repr(compare(experiment(), [ShortestJob()], workers=2, executor="ray")) == repr(rows)


def test_tuning_keeps_to_its_bound_where_it_looked() -> None:
    tuned = tune(experiment(2), p99_bound=0.02)
    assert tuned.p99_vs_fcfs <= 0.02
    assert tuned.mean_vs_fcfs <= 0


def test_impossible_clusters_are_refused() -> None:
    engine = Engine(num_kv_blocks=100)
    one = pool(engine, MODEL)
    with pytest.raises(InputError, match="two pools"):
        Site((one,), disaggregation=Disaggregation())
    with pytest.raises(InputError, match="replica 3"):
        Site((one,), outages=(Outage(3, 0.0, 1.0),))
    with pytest.raises(InputError, match="power of 2"):
        Engine(kv_block_tokens=12)
    with pytest.raises(InputError, match="at least"):
        Engine(max_num_seqs=4096)
    with pytest.raises(InputError, match="needs a view"):
        simulate_trace(poisson(5, 1, 0), Site((one,)), ShortestJob())


def test_static_batches_last_as_long_as_their_longest_answer() -> None:
    trace = Trace(np.array([0.0, 0.05, 0.08]), np.array([1, 1, 1]), np.array([10, 100, 20]))
    view = view_of(trace, quantiles(trace.output_tokens, 1.0, 0), ServiceTime(0, 0, 0.01))
    time = BatchTime(0.0, 0.01)
    records = serve_batches(trace, view, Fcfs(), Consolidation(2), time=time)
    assert records.last_s == pytest.approx([0.1, 1.1, 1.1])
    alike = serve_batches(trace, view, Fcfs(), Consolidation(2, 1.5), time=time)
    assert alike.last_s == pytest.approx([0.1, 1.1, 1.3])
    rule = Offload(50, ServiceTime(0, 0, 0.011))
    second = Second(rule, BatchTime(0.0, 0.011))
    slow = BatchTime(0.0, 0.1)
    moved = serve_batches(trace, view, Fcfs(), Consolidation(2), time=slow, second=second)
    assert moved.last_s[1] == pytest.approx(0.05 + 1.1)


def test_importing_costs_models_does_not_import_numba() -> None:
    code = "import sys, headway.steptime.step_time, headway.schedule.policies; "
    code += "assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
