"""`estimate` and `explain` as a person meets them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

from headway.cli.estimate import estimate
from headway.cli.explain import explain
from headway.errors import InputError
from headway.report.report import Report

LOAD = ["--engine", "vllm", "--prompt", "1k", "--output", "1000", "--concurrency", "64"]
ASKED = ["llama-3.3-70b", "--on", "h200", "--precision", "fp8", "--tp", "8", *LOAD]


def _run(command: click.Command, *arguments: str) -> None:
    command.main(args=list(arguments), standalone_mode=False)


def _report(capsys: pytest.CaptureFixture[str], command: click.Command, *a: str) -> Report[Any]:
    _run(command, *a, "--json", "-")
    return Report.from_json(capsys.readouterr().out)


def test_estimate_serves_a_load(capsys: pytest.CaptureFixture[str]) -> None:
    row = _report(capsys, estimate, *ASKED, "--api-in", "0.5", "--api-out", "1.5").rows[0]
    assert row.tpot_s.lower < row.tpot_s.expected < row.tpot_s.upper
    assert row.basis == "fitted"
    assert row.ttft_s.expected > 0
    assert row.joules_per_output_token.expected > 0
    assert row.power_w > 0
    assert row.break_even_load > 0
    prices = (row.break_even_usd_per_mtok_input, row.break_even_usd_per_mtok_output)
    assert prices[0] < row.usd_per_mtok_blended < prices[1] < row.usd_per_mtok_output.expected


def test_estimate_prints_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    _run(estimate, *ASKED)
    out = capsys.readouterr().out
    for label in ("TTFT", "TPOT", "tok/s/acc.", "J/token", "hardware and model were"):
        assert label in out


def test_half_the_hours_cost_twice(capsys: pytest.CaptureFixture[str]) -> None:
    full = _report(capsys, estimate, *ASKED).rows[0]
    half = _report(capsys, estimate, *ASKED, "--duty-cycle", "0.5").rows[0]
    assert half.usd_per_mtok_blended == pytest.approx(2 * full.usd_per_mtok_blended)


def test_parts_add_up_to_the_time_per_token(capsys: pytest.CaptureFixture[str]) -> None:
    whole = _report(capsys, estimate, *ASKED).rows[0]
    rows = _report(capsys, explain, *ASKED).rows
    seconds = [row.seconds for row in rows if row.seconds is not None]
    assert sum(seconds) == pytest.approx(whole.tpot_s.expected, rel=1e-6)
    changes = {row.part: row.tpot_change for row in rows if row.tpot_change is not None}
    assert changes["with memory bandwidth x2"] < -0.1
    assert all(change <= 1e-9 for change in changes.values())


def test_explain_says_how_sure_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    _run(explain, *ASKED[:-1], "20000")
    out = capsys.readouterr().out
    assert "10-90% of the time per token" in out
    assert "doublings outside the range" in out


def test_drafting_is_served(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["deepseek-v3", "--on", "h200", "--tp", "8", *LOAD[:-1], "4"]
    plain = _report(capsys, estimate, *asked).rows[0]
    mtp = _report(capsys, estimate, *asked, "--speculate", "mtp", "--draft-tokens", "1").rows[0]
    assert mtp.tpot_s.expected < plain.tpot_s.expected


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([*ASKED, "--users", "8"], "one of concurrency, users and rate"),
        ([*ASKED, "--think", "5s"], "think time belongs to users"),
        (["llama-3.3-70b", "--on", "h200", "--tp", "8", "--rate", "1e4"], "serves at most"),
        ([*ASKED, "--accelerators", "8"], "layout"),
        ([*ASKED, "--draft-tokens", "2"], "--speculate"),
        ([*ASKED, "--cached", "1"], "cached_fraction"),
        ([*ASKED, "--calibration", "/nowhere.json"], "nowhere"),
        (["llama-3.3-70b", "--on", "h200", *LOAD, "--engine", "vlm"], "vllm"),
        (["llama-3.3-70b", "--on", "h200", "--tp", "8", *LOAD, "--prompt", "200k"], "at most"),
    ],
)
def test_a_load_that_cannot_be_is_refused(arguments: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        _run(estimate, *arguments)


def test_a_page_can_be_written(tmp_path: Path) -> None:
    _run(estimate, *ASKED, "--json", str(tmp_path / "answer.json"))
    assert Report.from_json((tmp_path / "answer.json").read_text()).kind == "estimate"
