from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from headway.cli.simulate import simulate
from headway.cli.trace import trace
from headway.errors import InputError
from headway.report.report import Report

BASE = ["azure-conv", "--on", "llama-3.1-8b@h100:tp1", "--num-requests", "300", "--seeds", "2"]


def run(*arguments: str) -> str:
    result = CliRunner().invoke(simulate, [*BASE, *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return str(result.stdout)


def test_a_comparison_is_printed_with_its_control() -> None:
    text = run(
        "--policy", "fcfs,sjf", "--load", "0.9", "--laws", "--slo", "ttft < 500ms, tpot < 50ms"
    )
    assert "shuffled" in text
    assert "$/Mtok" in text
    assert "conservation" in text


def test_json_is_a_report_and_the_same_every_time() -> None:
    first, second = (run("--policy", "headway", "--json", "-") for _ in range(2))
    assert first == second
    report = Report.from_json(first)
    assert report.kind == "simulate"
    assert [row.policy for row in report.rows][:2] == ["fcfs", "headway"]
    assert any("headway is" in note and "chosen for mean" in note for note in report.notes)
    row = report.rows[0]
    for key in ("ttft", "tpot", "e2e"):
        for which in ("mean", "p50", "p90", "p99", "max"):
            assert isinstance(getattr(row, f"{key}_{which}_s"), float)
    assert json.loads(first)["question"]["max_num_seqs"] == 1024


def test_a_fleet_that_follows_its_load_pays_for_the_replicas_that_are_on() -> None:
    always = Report.from_json(run("--rate", "30", "--replicas", "4", "--json", "-"))
    follows = Report.from_json(
        run("--rate", "30", "--autoscale", "requests 20, 1..4, delay 1s, every 1s", "--json", "-")
    )
    assert follows.question["autoscale"] == "requests 20, 1..4, delay 1s, wait 300s, every 1s"
    row, base = follows.rows[0], always.rows[0]
    assert row.span_s < row.replica_s < 4 * row.span_s
    assert row.usd_per_mtok_output < base.usd_per_mtok_output
    assert base.replica_s is None


def test_requests_that_do_not_fit_are_told_of() -> None:
    assert "requests never ended" in run("--kv-blocks", "20")


def test_explain_says_where_the_time_of_a_request_went() -> None:
    text = run("--explain", "7")
    for part in ("queue", "prefill", "decode", "interference", "preemption", "transfer"):
        assert part in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--policy", "best"], "unknown policy"),
        (["--rate", "3", "--load", "0.5"], "not both"),
        (["--autoscale", "work 60s"], "the fewest and most replicas"),
        (["--autoscale", "load 3, 1..8"], "an autoscaler is a signal"),
        (["--autoscale", "requests 8, 9..4"], "the fewest first"),
        (["--autoscale", "requests 8, 1..4", "--replicas", "3"], "leave out the 3"),
        (["--slo", "ttft=5"], "objectives are written"),
        (["--predictor", "folder/"], "tau=SKILL"),
        (["--explain", "300"], "300 of 300"),
        (["--kv-blocks", "1"], "no request fits"),
        (["--rate", "1e-9"], "give a higher rate or fewer requests"),
        (["--num-requests", "1e14"], "from 1 to 50,000,000 requests"),
        (["--seeds", "1000000000"], "seeds must be from 1 to 10000"),
        (["--max-num-batched-tokens", "1"], "must be at least max_num_seqs"),
    ],
)
def test_bad_input_is_one_sentence(arguments: list[str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        CliRunner().invoke(simulate, [*BASE, *arguments], catch_exceptions=False)


@pytest.mark.parametrize(
    "deployment", ["llama-3.1-8b", "llama-3.1-8b@h100:xp2", "nothing@h100:tp1"]
)
def test_a_bad_deployment_is_refused(deployment: str) -> None:
    with pytest.raises(InputError):
        CliRunner().invoke(simulate, ["azure-conv", "--on", deployment], catch_exceptions=False)


def test_a_trace_is_imported_and_simulated(tmp_path: Path) -> None:
    source = tmp_path / "azure.csv"
    source.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        + "".join(f"2023-11-16 18:15:{k:02d}.5,{300 + k},{20 + k}\n" for k in range(50)),
        encoding="utf-8",
    )
    target = tmp_path / "ours.csv"
    result = CliRunner().invoke(
        trace, ["import", "azure", str(source), "-o", str(target)], catch_exceptions=False
    )
    assert result.exit_code == 0
    assert "50 requests" in result.output
    served = CliRunner().invoke(
        simulate, [str(target), "--on", "llama-3.1-8b@h100", "--seeds", "1"],
        catch_exceptions=False,
    )  # fmt: skip
    assert served.exit_code == 0
    assert "Apache" not in CliRunner().invoke(trace, ["formats"]).output.splitlines()[0]


def with_prompts(path: Path, count: int) -> Path:
    """Requests whose prompts tell their length, several at a time."""
    asks = (("What is 2 + 2?", 5), ("Write a long story about a dragon and a knight.", 600))
    rows = [
        {
            "arrival_s": i * 0.01,
            "prompt_tokens": 12,
            "output_tokens": asks[i % 2][1],
            "prompt": asks[i % 2][0],
        }
        for i in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_trained_predictor_orders_a_trace_with_prompts(tmp_path: Path) -> None:
    log = with_prompts(tmp_path / "log.jsonl", 300)
    arguments = [str(log), *BASE[1:3], "--seeds", "1", "--max-num-seqs", "4", "--policy", "sjf"]
    result = CliRunner().invoke(
        simulate, [*arguments, "--predictor", "default", "--json", "-"], catch_exceptions=False
    )
    rows = Report.from_json(result.stdout).rows
    mean_s = {row.predictions: row.e2e_mean_s for row in rows}
    assert mean_s["from the prompt"] < 0.8 * min(mean_s["-"], mean_s["shuffled"])


def test_a_trained_predictor_needs_prompts() -> None:
    with pytest.raises(InputError, match="holds lengths, not prompts"):
        run("--predictor", "default", "--policy", "sjf")


def test_a_sweep_on_ray_is_the_same_report() -> None:
    pytest.importorskip("ray", reason="needs headway[ray]")
    arguments = ("--policy", "sjf", "--laws", "--json", "-")
    assert run(*arguments, "--executor", "ray", "--workers", "2") == run(*arguments)
