"""The plan as a person sees it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import headway as hw
from headway.cli.main import main
from headway.plan.answer import Plan
from headway.plan.diff import changes


@pytest.fixture(scope="module")
def small() -> Plan:
    return hw.plan("llama-3.1-8b", rate=10, prompt=500, output=100, on="h100,l4", engine="vllm")


def test_the_best_is_the_cheapest_that_is_sure(small: Plan) -> None:
    assert small.best is not None
    assert small.best in small.report.rows
    assert (small.best.probability or 0) >= 0.9
    usd = [row.usd_per_hour or 0.0 for row in small.report.rows if row.probability is not None]
    assert small.best.usd_per_hour == min(usd)
    assert small.report.title.startswith(f"Buy {small.best.num_accelerators} x")


def test_a_plan_is_a_report_that_can_be_read_again(small: Plan) -> None:
    again = hw.Report.from_json(small.report.to_json())
    assert again.rows[0].usd_per_hour == small.report.rows[0].usd_per_hour
    assert "<svg" in small.html() or "<table" in small.html()


def test_doubt_costs_what_certainty_costs_over_even_odds(small: Plan) -> None:
    even = hw.plan(
        "llama-3.1-8b", rate=10, prompt=500, output=100, on="h100,l4", engine="vllm", sure=0.5
    )
    assert small.best is not None
    assert even.best is not None
    assert (even.best.usd_per_hour or 0) <= (small.best.usd_per_hour or 0)
    assert even.cost_of_doubt == pytest.approx(0.0)


def test_nothing_feasible_is_an_answer(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["plan", "llama-3.1-8b", "--rate", "2", "--on", "l4", "--engine", "vllm", "--json"]
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--slo", "ttft p95 < 1s, tpot p95 < 1ms"])
    assert stop.value.code == 1
    report = json.loads(capsys.readouterr().out)
    assert report["rows"] == []
    assert "tpot p95 <" in report["title"]
    assert any(note.startswith("l4:") for note in report["notes"])


def test_a_plan_without_a_demand_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["plan", "llama-3.1-8b"])
    assert stop.value.code == 2
    assert "users" in capsys.readouterr().err


def test_what_changed_between_two_plans_is_said(small: Plan) -> None:
    again = hw.Report.from_json(small.report.to_json())
    assert changes(again, small.report) == ["nothing changed"]
    dearer = replace(small.report.rows[0], usd_per_hour=99.0, accelerator="abacus")
    words = changes(replace(again, rows=(dearer,), marks={}), small.report)
    assert any("$99.00/h" in line for line in words)
    assert any("abacus" in line for line in words)
    with pytest.raises(hw.InputError, match="a plan"):
        changes(replace(again, kind="frontier"), small.report)


def test_json_holds_the_day_and_what_benchmarks_are_worth(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = ["--rate", "10", "--prompt", "500", "--output", "100", "--on", "h100"]
    more = ["--engine", "vllm", "--day", "flat", "--benchmarks", "--json"]
    with pytest.raises(SystemExit) as stop:
        main(["plan", "llama-3.1-8b", *asked, *more])
    assert not stop.value.code
    whole = hw.Report.from_json(capsys.readouterr().out)
    assert [part.kind for part in whole.more] == ["plan-day", "plan-benchmarks"]
    assert whole.more[0].rows[0].usd_per_month == pytest.approx(whole.rows[0].usd_per_month)


def test_accelerators_that_are_there_and_not_needed_are_named() -> None:
    few = hw.plan("llama-3.1-8b", rate=1, prompt=200, output=50, on="8xh100", engine="vllm")
    assert any("not needed" in note for note in few.report.notes)


def test_an_accelerator_without_a_price_stands_last_with_the_price_at_which_it_wins() -> None:
    both = hw.plan("llama-3.1-8b", rate=4, prompt=500, output=100, on="h800,h100", engine="vllm")
    assert both.best is not None
    assert both.best.accelerator == "h100"
    last = both.report.rows[-1]
    assert (last.accelerator, last.usd_per_hour, last.usd_per_month) == ("h800", None, None)
    assert last.probability is not None

    # At that price it costs what the best does; above it, more.
    limit_usd = last.usd_per_accelerator_hour_to_win
    assert limit_usd is not None
    assert limit_usd * last.num_accelerators == pytest.approx(both.best.usd_per_hour)

    # Alone it is an answer without dollars, of which dollars cannot be asked.
    alone = hw.plan("llama-3.1-8b", rate=4, prompt=500, output=100, on="h800", engine="vllm")
    assert alone.best is not None
    assert alone.best.num_accelerators == last.num_accelerators
    assert "$" not in alone.report.title
    assert alone.benchmarks == ()
    assert alone.emit("vllm")
    with pytest.raises(hw.InputError, match="no price is known for h800"):
        alone.day()
