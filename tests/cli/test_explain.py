"""`estimate --engine` and `explain` as a person meets them."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from headway.cli.estimate import estimate
from headway.cli.explain import explain
from headway.errors import InputError
from headway.report.report import Report

LOAD = ["--engine", "vllm", "--isl", "1k", "--osl", "1000", "--concurrency", "64"]
ASKED = ["llama-3.3-70b", "--on", "h200", "--precision", "fp8", "--tp", "8", *LOAD]


def _run(command: click.Command, *arguments: str) -> None:
    command.main(args=list(arguments), standalone_mode=False)


def _report(capsys: pytest.CaptureFixture[str], command: click.Command, *a: str) -> Report:
    _run(command, *a, "--json", "-")
    return Report.from_json(capsys.readouterr().out)


def test_estimate_serves_a_load(capsys: pytest.CaptureFixture[str]) -> None:
    row = _report(capsys, estimate, *ASKED, "--api-in", "0.5", "--api-out", "1.5").rows[0]
    assert float(row["tpot_s_lower"] or 0) < float(row["tpot_s"] or 0)
    assert float(row["tpot_s"] or 0) < float(row["tpot_s_upper"] or 0)
    assert row["basis"] == "fitted"
    for name in ("ttft_s", "power_w", "joules_per_output_token", "break_even_load"):
        assert float(row[name] or 0) > 0
    blended = float(row["usd_per_mtok_blended"] or 0)
    assert float(row["usd_per_mtok_input"] or 0) < blended < float(row["usd_per_mtok_output"] or 0)


def test_estimate_prints_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    _run(estimate, *ASKED)
    out = capsys.readouterr().out
    for label in ("TTFT", "TPOT", "throughput", "J/output token", "hardware and model were"):
        assert label in out


def test_half_the_hours_cost_twice(capsys: pytest.CaptureFixture[str]) -> None:
    full = _report(capsys, estimate, *ASKED).rows[0]
    half = _report(capsys, estimate, *ASKED, "--duty-cycle", "0.5").rows[0]
    twice = 2 * float(full["usd_per_mtok_blended"] or 0)
    assert float(half["usd_per_mtok_blended"] or 0) == pytest.approx(twice)


def test_parts_add_up_to_the_time_per_token(capsys: pytest.CaptureFixture[str]) -> None:
    whole = _report(capsys, estimate, *ASKED).rows[0]
    rows = _report(capsys, explain, *ASKED).rows
    seconds = [float(row["seconds"] or 0) for row in rows if "seconds" in row]
    assert sum(seconds) == pytest.approx(float(whole["tpot_s"] or 0), rel=1e-6)
    changes = {row["part"]: row["tpot_change"] for row in rows if "tpot_change" in row}
    assert float(changes["with memory bandwidth x2"] or 0) < -0.1
    assert all(float(change or 0) <= 1e-9 for change in changes.values())


def test_explain_says_how_sure_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    _run(explain, *ASKED[:-1], "20000")
    out = capsys.readouterr().out
    assert "10-90% of the time per token" in out
    assert "doublings outside the measured range" in out


def test_drafting_is_served(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["deepseek-v3", "--on", "h200", "--tp", "8", *LOAD[:-1], "4"]
    plain = _report(capsys, estimate, *asked).rows[0]
    mtp = _report(capsys, estimate, *asked, "--speculate", "mtp", "--draft-tokens", "1").rows[0]
    assert float(mtp["tpot_s"] or 0) < float(plain["tpot_s"] or 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["llama-3.3-70b", "--on", "h200", "--isl", "1k"], "--engine"),
        (["llama-3.3-70b", "--on", "h200", "--engine", "vllm", "--isl", "1k"], "--osl"),
        ([*ASKED, "--accelerators", "8"], "layout"),
        ([*ASKED, "--draft-tokens", "2"], "--speculate"),
        ([*ASKED, "--cached", "1"], "cached_fraction"),
        ([*ASKED, "--calibration", "/nowhere.json"], "nowhere"),
        (["llama-3.3-70b", "--on", "h200", *LOAD, "--engine", "vlm"], "vllm"),
        (["llama-3.3-70b", "--on", "h200", "--tp", "8", *LOAD, "--isl", "200k"], "at most"),
    ],
)
def test_a_load_that_cannot_be_is_refused(arguments: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        _run(estimate, *arguments)


def test_a_page_can_be_written(tmp_path: Path) -> None:
    _run(estimate, *ASKED, "--json", str(tmp_path / "answer.json"))
    assert Report.from_json((tmp_path / "answer.json").read_text()).kind == "estimate"
