"""What only a scenario file says, through the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from headway.cli.simulate import simulate
from headway.errors import HeadwayError, InputError
from headway.report.report import Report

H100 = '[[pool]]\ndeployment = "llama-3.1-8b@h100:tp1"\n'
L40S = '[[pool]]\ndeployment = "llama-3.1-8b@l40s:tp1"\n'
HEAD = 'workload = "azure-conv"\nnum_requests = 400\nseeds = 2\nrate_rps = 8.0\n'


def report(tmp_path: Path, text: str, *arguments: str) -> Report[Any]:
    """The report of a scenario, every run checked against the laws."""
    file = tmp_path / "scenario.toml"
    file.write_text(text)
    result = CliRunner().invoke(
        simulate, [str(file), "--laws", "--json", "-", *arguments], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return Report.from_json(result.stdout)


def of(report: Report[Any], scope: str, policy: str = "fcfs") -> Any:
    """The row of a tenant or a pool, whose predictions are not shuffled."""
    rows = [row for row in report.rows if (row.scope or "").startswith(scope)]
    return next(row for row in rows if row.policy == policy and row.predictions != "shuffled")


def test_a_scenario_says_what_the_options_say(tmp_path: Path) -> None:
    from_file = report(tmp_path, HEAD + 'policies = ["fcfs", "sjf"]\n' + H100)
    options = ["--on", "llama-3.1-8b@h100:tp1", "--num-requests", "400", "--seeds", "2"]
    options += ["--rate", "8", "--policy", "fcfs,sjf", "--laws", "--json", "-"]
    said = CliRunner().invoke(simulate, ["azure-conv", *options], catch_exceptions=False)
    assert Report.from_json(said.stdout).rows == from_file.rows


def test_a_scenario_says_how_many_replicas_are_on(tmp_path: Path) -> None:
    rule = 'autoscale = "work 20s, 1..3, delay 2s, every 1s"\n'
    (row,) = report(tmp_path, HEAD + rule + H100).rows
    assert 1.1 * row.span_s < row.replica_s < 2.9 * row.span_s
    outage = "[[outage]]\nreplica = 0\nstart_s = 1.0\nstop_s = 2.0\n"
    with pytest.raises(InputError, match="does not fail"):
        report(tmp_path, HEAD + rule + H100 + outage)


def test_every_figure_of_the_issue_is_in_a_row(tmp_path: Path) -> None:
    text = HEAD + 'slo = "ttft < 500ms"\n' + H100
    (row,) = report(tmp_path, text).rows
    for name in ("ttft", "tpot", "itl", "e2e"):
        statistics = ("mean", "p50", "p90", "p99", "max")
        values = [getattr(row, f"{name}_{which}_s") for which in statistics]
        assert all(isinstance(v, float) and v > 0 for v in values)
        assert values[1:] == sorted(values[1:], key=float)
    for name in ("slowdown_p99", "goodput_requests_per_s", "output_tok_per_s", "utilisation"):
        assert isinstance(getattr(row, name), float)
    assert 0 < row.usd_per_mtok_output < 100
    assert 0 < row.joules_per_output_token < 100


def test_energy_is_between_idle_and_the_data_sheets_most(tmp_path: Path) -> None:
    (row,) = report(tmp_path, HEAD + H100).rows
    tokens_per_s, watts = row.output_tok_per_s, 700.0
    joules = row.joules_per_output_token
    assert 0.05 * watts / tokens_per_s < joules < watts / tokens_per_s


def test_pools_of_different_hardware_share_the_requests(tmp_path: Path) -> None:
    both = report(tmp_path, HEAD + 'route = "work-left"\n' + H100 + L40S + "replicas = 2\n")
    assert of(both, "pool 0").busy_s > 0
    assert of(both, "pool 1").busy_s > 0
    assert of(both, "pool 0").requests + of(both, "pool 1").requests == both.rows[0].requests
    (alone,) = report(tmp_path, HEAD + L40S).rows
    assert both.rows[0].e2e_mean_s < alone.e2e_mean_s


def test_prefill_and_decode_apart_with_a_transfer(tmp_path: Path) -> None:
    split = "[disaggregation]\ntransfer_s = 0.25\ntransfer_token_s = 1e-6\n"
    parted = report(tmp_path, HEAD + H100 + H100 + split)
    assert of(parted, "pool 0").decode_tokens == 0
    assert of(parted, "pool 1").decode_tokens > 0
    assert parted.rows[0].itl_max_s > 0.25  # between the first token and the second
    parts = report(tmp_path, HEAD + H100 + H100 + split, "--explain", "7").rows
    assert 0.25 < {row.part: row.time_s for row in parts}["transfer"] < 0.26
    options = ["--on", "llama-3.1-8b@h100,llama-3.1-8b@h100"]
    here = CliRunner().invoke(
        simulate,
        [
            "azure-conv",
            *options,
            "--disaggregate",
            "--num-requests",
            "50",
            "--explain=7",
            "--json=-",
        ],
        catch_exceptions=False,
    )
    parts = Report.from_json(here.stdout).rows
    assert {row.part: row.time_s for row in parts}["transfer"] == pytest.approx(1e-3)


def test_a_replica_that_fails_costs_time_but_no_request(tmp_path: Path) -> None:
    two = HEAD + H100 + "replicas = 2\n"
    outage = "[[outage]]\nreplica = 1\nstart_s = 5.0\nstop_s = 30.0\n"
    whole, broken = (report(tmp_path, text).rows[0] for text in (two, two + outage))
    assert broken.unfinished == 0
    assert broken.e2e_mean_s > whole.e2e_mean_s


def test_long_answers_go_to_a_second_pool_where_that_pays(tmp_path: Path) -> None:
    said = report(tmp_path, HEAD + H100 + L40S + "[offload]\nshare = 0.1\n")
    assert 0 < of(said, "pool 1").decode_tokens < of(said, "pool 0").decode_tokens
    open_share = report(tmp_path, HEAD + H100 + L40S + "[offload]\n")
    assert any(
        "offload: 0% of the requests" in note for note in open_share.notes
    )  # no queue to relieve
    assert open_share.rows[0].e2e_mean_s < said.rows[0].e2e_mean_s


def test_tenants_have_shares_weights_and_objectives(tmp_path: Path) -> None:
    head = HEAD.replace("rate_rps = 8.0", "rate_rps = 60.0")
    text = head + 'policies = ["fcfs", "fair"]\n' + H100 + "max_num_seqs = 16\n"
    text += "[tenant.gold]\nshare = 0.5\nweight = 20.0\nttft_s = 3.0\n"
    text += "[tenant.bulk]\nshare = 0.5\nweight = 1.0\n"
    both = report(tmp_path, text)
    for policy in ("fcfs", "fair"):
        assert sum(of(both, f"tenant {who}", policy).requests for who in ("gold", "bulk")) == 400
    gold, bulk = (of(both, f"tenant {who}", "fair") for who in ("gold", "bulk"))
    assert gold.slo_attainment > of(both, "tenant gold", "fcfs").slo_attainment
    assert gold.ttft_mean_s < bulk.ttft_mean_s


def test_a_trace_says_itself_who_asks(tmp_path: Path) -> None:
    trace = tmp_path / "log.csv"
    rows = "".join(f"{k * 0.1},{100 + k},{20 + k},{'ab'[k % 2]}\n" for k in range(60))
    trace.write_text("arrival_s,prompt_tokens,output_tokens,tenant\n" + rows)
    text = f'workload = "{trace}"\nseeds = 1\n' + H100 + "[tenant.b]\ne2e_s = 30.0\n"
    answer = report(tmp_path, text)
    assert [of(answer, f"tenant {who}").requests for who in "ab"] == [30, 30]
    assert of(answer, "tenant b").slo_attainment == 1
    with pytest.raises(InputError, match="no tenant 'c'; it has a, b"):
        report(tmp_path, text.replace("tenant.b", "tenant.c"))


def test_static_batches_wait_for_their_longest_answer(tmp_path: Path) -> None:
    h100, l40s = H100 + 'engine = "none"\n', L40S + 'engine = "none"\n'
    head = HEAD.replace("rate_rps = 8.0\n", "load = 0.7\n")
    batches = report(tmp_path, head + 'policies = ["luf"]\n' + h100 + "[batch]\nmax_batch = 8\n")
    continuous = report(tmp_path, HEAD.replace("8.0", "1.0") + h100)
    first, by_length, shuffled = (row.e2e_mean_s for row in batches.rows)
    assert by_length < first
    assert by_length < shuffled
    assert first > continuous.rows[0].e2e_mean_s
    alike = report(tmp_path, head + h100 + "[batch]\nmax_batch = 8\nratio = 1.5\nwindow_s = 0.2\n")
    assert alike.rows[0].e2e_mean_s != first
    busy = HEAD.replace("rate_rps = 8.0", "load = 1.5")
    batch, offload = "[batch]\nmax_batch = 8\n", "[offload]\nshare = 0.1\n"
    kept, moved = (
        report(tmp_path, busy + pools).rows[0].e2e_mean_s
        for pools in (h100 + batch, h100 + l40s + batch + offload)
    )
    assert moved < kept


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seeds = 2\n" + H100, "needs workload"),
        (HEAD, "needs a \\[\\[pool\\]\\]"),
        (HEAD + "colour = 1\n" + H100, "unknown key 'colour'"),
        (HEAD + H100 + "replica = 2\n", "did you mean replicas"),
        (HEAD + H100 + 'replicas = "2"\n', "must be a whole number"),
        (HEAD + H100 + "replicas = true\n", "must be a whole number"),
        (HEAD + "load = 0.9\n" + H100, "exclude each other"),
        (HEAD + 'route = "nearest"\n' + H100, "unknown route"),
        (HEAD + H100 + "[disaggregation]\n", "two pools"),
        (HEAD + H100 + "[offload]\n", "offload needs two pools"),
        (
            HEAD + H100 + "[[outage]]\nreplica = 0\nstart_s = 3.0\nstop_s = 2.0\n",
            "after it started",
        ),
        (HEAD + H100 + "[tenant.a]\nweight = 1.0\n", "give every tenant a share"),
        (HEAD + H100 + "[batch]\nmax_batch = 9999\n", "static batch of 9999"),
        (HEAD + 'policies = "fcfs"\n' + H100, "a list of names"),
        (HEAD + H100 + 'engine = "steam"\n', "steam"),
        ("workload = \n", "is not TOML"),
    ],
)
def test_a_scenario_that_makes_no_sense_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(HeadwayError, match=says):
        report(tmp_path, text)


def test_options_do_not_contradict_a_scenario(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--seeds is for the scenario"):
        report(tmp_path, HEAD + H100, "--seeds", "3")


def test_step_times_of_a_calibrated_engine(tmp_path: Path) -> None:
    rows = [report(tmp_path, HEAD + H100 + engine).rows[0] for engine in ('engine = "none"\n', "")]
    assert rows[0].e2e_mean_s != rows[1].e2e_mean_s
    assert 0.3 < rows[0].e2e_mean_s / rows[1].e2e_mean_s < 3
