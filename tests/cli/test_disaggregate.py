"""`estimate` and `explain` with --disaggregate, several concurrencies and token prices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

from headway.cli.estimate import estimate
from headway.cli.explain import explain
from headway.errors import InputError
from headway.report.estimate import Estimate
from headway.report.report import Report

LOAD = ["--engine", "vllm", "--prompt", "4k", "--output", "500", "--concurrency"]
SERVED = ["llama-3.3-70b", "--on", "h200", "--precision", "fp8", "--tp", "4", *LOAD]
ASKED = [*SERVED, "64"]


def _run(command: click.Command, *arguments: str) -> None:
    command.main(args=list(arguments), standalone_mode=False)


def _rows(capsys: pytest.CaptureFixture[str], command: click.Command, *a: str) -> tuple[Any, ...]:
    _run(command, *a, "--json", "-")
    return Report.from_json(capsys.readouterr().out).rows


def _value(row: Any, name: str) -> float:
    value = getattr(row, name)
    return value.expected if isinstance(value, Estimate) else float(value)


def test_two_stages_are_answered_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    row = _rows(capsys, estimate, *ASKED, "--disaggregate", "1x2")[0]
    assert row.num_accelerators == 12
    assert row.prefill_accelerators == 4
    parts = ("queue_s", "prefill_s", "transfer_exposed_s", "handling_s")
    assert sum(_value(row, name) for name in parts) == pytest.approx(_value(row, "ttft_s"))
    for quantity in (row.tpot_s, row.ttft_s, row.output_tok_per_s_per_accelerator):
        assert quantity.lower < quantity.expected < quantity.upper
    together = _rows(capsys, estimate, *ASKED)[0]
    assert _value(row, "tpot_s") < _value(together, "tpot_s")
    assert 500 * row.usd_per_mtok_output == pytest.approx(4500 * row.usd_per_mtok_blended)


def test_the_page_names_what_is_full(capsys: pytest.CaptureFixture[str]) -> None:
    _run(estimate, *SERVED, "512", "--disaggregate", "1x3")
    out = capsys.readouterr().out
    for said in ("TTFT", "prefill use", "100 %", "J/token", "measured"):
        assert said in out


def test_the_best_split_uses_what_it_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    auto = ("--disaggregate", "auto", "--accelerators", "16")
    rows = _rows(capsys, estimate, *ASKED, *auto)
    assert [row.engines for row in rows if "x" in str(row.engines)] != []
    assert {row.engines for row in rows} == {"1x3", "2x2", "3x1", "4 of both"}
    rates = [_value(row, "output_tok_per_s_per_accelerator") for row in rows]
    assert rates == sorted(rates, reverse=True)
    assert all(row.num_accelerators == 16 for row in rows)


def test_prefill_may_run_elsewhere_over_another_link(capsys: pytest.CaptureFixture[str]) -> None:
    elsewhere = ["--prefill-on", "h100", "--prefill-tp", "8", "--kv-link", "NVLink"]
    row = _rows(capsys, estimate, *ASKED, "--disaggregate", "1x1", *elsewhere)[0]
    assert row.prefill_accelerators == 8
    assert row.num_accelerators == 12
    slow = ["--kv-link", "0.5", "--no-kv-overlap"]
    slower = _rows(capsys, estimate, *ASKED, "--disaggregate", "1x1", *slow)[0]
    assert _value(slower, "transfer_s") > 100 * _value(row, "transfer_s")
    assert slower.transfer_exposed_s == slower.transfer_s


def test_explain_says_what_another_engine_would_give(capsys: pytest.CaptureFixture[str]) -> None:
    rows = _rows(capsys, explain, *SERVED, "256", "--disaggregate", "1x3")
    by_part = {row.part: row for row in rows}
    assert _value(by_part["in use: prefill"], "share") == pytest.approx(1.0, abs=0.05)
    assert _value(by_part["with one prefill engine more"], "throughput_change") > 0.1
    first = [row for part, row in by_part.items() if part.startswith("first token")]
    assert sum(_value(row, "share") for row in first) == pytest.approx(1.0)


def test_several_concurrencies_are_a_table_and_a_picture(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rows = _rows(capsys, estimate, *SERVED, "1..16,100")
    assert [row.concurrency for row in rows] == [1, 2, 4, 8, 16, 100]
    alone = _rows(capsys, estimate, *SERVED, "16")[0]
    assert rows[4] == alone
    _run(estimate, *SERVED, "1,64", "--html", str(tmp_path / "load.html"))
    assert "requests at once" in (tmp_path / "load.html").read_text("utf-8")
    assert "range" in capsys.readouterr().out


def test_cached_input_has_a_price_and_breaks_even_later(
    capsys: pytest.CaptureFixture[str],
) -> None:
    api = ["--cached", "0.5", "--api-in", "0.6", "--api-out", "2"]
    whole = _rows(capsys, estimate, *ASKED, *api)[0]
    less = _rows(capsys, estimate, *ASKED, *api, "--api-cached", "0.06")[0]
    assert 0 < whole.break_even_usd_per_mtok_cached_input < whole.break_even_usd_per_mtok_input
    assert _value(less, "break_even_load") > _value(whole, "break_even_load")


def test_assumed_acceptance_is_said_and_a_given_one_is_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    served = ["deepseek-r1", "--on", "b200", "--tp", "8", "--engine", "sglang", "--prompt", "1k"]
    drafting = ["--output", "1k", "--concurrency", "8", "--speculate", "mtp", "--draft-tokens", "2"]
    _run(estimate, *served, *drafting)
    out = capsys.readouterr().out
    assert "acceptance is assumed" in out
    assert "assumed" in out.split("basis")[1]
    given = _rows(capsys, estimate, *served, *drafting, "--acceptance", "0.8")[0]
    assert given.basis == "fitted"
    assert _value(given, "tokens_per_pass") == pytest.approx(1 + 0.8 + 0.64)
    parts = {row.part for row in _rows(capsys, explain, *served, *drafting)}
    assert {"draft", "drafting, engine"} <= parts


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([*ASKED, "--disaggregate", "2-1"], "2x1"),
        ([*ASKED, "--disaggregate", "0x1"], "2x1"),
        ([*ASKED, "--disaggregate", "auto"], "--accelerators"),
        ([*ASKED, "--disaggregate", "auto", "--accelerators", "4"], "one engine of each stage"),
        ([*ASKED, "--disaggregate", "1x1", "--accelerators", "8"], "auto only"),
        ([*ASKED, "--disaggregate", "1x1", "--kv-link", "carrier pigeon"], "NVLink 4"),
        ([*ASKED, "--disaggregate", "1x1", "--kv-link", "0"], "bandwidth"),
        ([*ASKED, "--kv-link", "NVLink"], "--disaggregate"),
        ([*ASKED, "--prefill-tp", "2"], "--disaggregate"),
        ([*SERVED, "1,2", "--disaggregate", "1x1"], "one load at a time"),
        ([*SERVED, "8..2"], "rise"),
        ([*SERVED, "1.5"], "whole number"),
        ([*SERVED, "many"], "number"),
        ([*ASKED, "--disaggregate", "1x1", "--engine", "none"], "--engine"),
        (["llama-3.3-70b", "--on", "h200", "--disaggregate", "1x1"], "--concurrency"),
        ([*ASKED, "--accelerators", "8"], "layout"),
    ],
)
def test_what_cannot_be_is_refused(arguments: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        _run(estimate, *arguments)


def test_explain_takes_one_split() -> None:
    with pytest.raises(InputError, match="one split"):
        _run(explain, *ASKED, "--disaggregate", "auto")
    with pytest.raises(InputError, match="--disaggregate"):
        _run(explain, *ASKED, "--kv-link", "NVLink")
