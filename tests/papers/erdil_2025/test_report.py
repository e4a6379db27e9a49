"""The published model behind the same reports and commands as our own."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from headway.errors import DoesNotFitError
from headway.papers.erdil_2025.accelerators import ACCELERATORS
from headway.papers.erdil_2025.forward import Choices
from headway.papers.erdil_2025.frontier import frontier
from headway.papers.erdil_2025.models import MODELS
from headway.papers.erdil_2025.report import PublishedQuestion, estimate_report, frontier_report
from headway.report.report import Report

H100 = ACCELERATORS["h100"]


def test_a_point_of_the_notebook() -> None:
    question = PublishedQuestion(model=MODELS["llama-3-70b"])
    row = estimate_report(question, H100, 8, 64).rows[0]
    # facts: kernels 1.28 + network 3.7369 + memory 7.2056 ms (arithmetic 1.6126), $0.891227
    assert row.step_s == pytest.approx(12.222541184816581e-3, rel=1e-9)
    assert row.usd_per_mtok_output == pytest.approx(0.8912269613928756, rel=1e-9)
    assert row.latency_s == pytest.approx(1.28e-3)
    assert row.network_s == pytest.approx(3.7369e-3, rel=1e-4)
    assert row.memory_s == pytest.approx(7.2056e-3, rel=1e-4)
    assert (row.binds, row.draft_tokens) == ("memory", None)


def test_a_speculating_point_of_the_notebook() -> None:
    question = PublishedQuestion(model=MODELS["llama-3-70b"], draft=MODELS["llama-3-8b"])
    row = estimate_report(question, H100, 8, 64).rows[0]
    assert 1 / row.tok_per_s_per_user == pytest.approx(9.018099603789691e-3)


def test_rows_say_what_the_search_finds() -> None:
    model, draft = MODELS["llama-3-70b"], MODELS["llama-3-8b"]
    question = PublishedQuestion(model=model, draft=draft, pipeline=False)
    report = frontier_report(question, [H100])
    curve = frontier(model, H100, draft=draft, choices=Choices(pipeline=False))
    speeds = [row.tok_per_s_per_user for row in report.rows]
    assert speeds == pytest.approx(curve.tok_per_s.tolist(), rel=1e-9)
    costs = [row.usd_per_mtok_output for row in report.rows]
    assert costs == pytest.approx(curve.usd_per_mtok_output.tolist(), rel=1e-9)
    assert report.marks["preferred"] == curve.preferred()
    assert all(row.on_front for row in report.rows)
    again = Report.from_json(report.to_json())
    assert (again.flat_rows, again.marks) == (report.flat_rows, report.marks)


def test_a_point_that_another_accelerator_beats_is_not_on_the_front() -> None:
    dear = replace(H100, name="dear", usd_per_hour=10 * H100.usd_per_hour)
    question = PublishedQuestion(model=MODELS["llama-3-8b"], pipeline=False)
    report = frontier_report(question, [H100, dear])
    assert {row.accelerator for row in report.rows if row.on_front} == {"h100"}
    assert report.rows[report.marks["preferred:dear"]].accelerator == "dear"


def test_what_does_not_fit_is_refused_with_the_missing_bytes() -> None:
    question = PublishedQuestion(model=MODELS["llama-3-70b"], context_tokens=100_000)
    with pytest.raises(DoesNotFitError, match=r"lacks [\d.]+ GB"):
        estimate_report(question, H100, 2, 64)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    from headway.cli.main import main

    with pytest.raises(SystemExit) as stop:
        main(["papers", "erdil-2025", *arguments])
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


def test_the_commands_reach_it_by_the_papers_names(capsys: pytest.CaptureFixture[str]) -> None:
    point = ("--on", "h100", "--accelerators", "8", "--batch", "64")
    code, out, _ = run(capsys, "estimate", "llama-3.1-70b", *point, "--json")
    assert code == 0
    row = json.loads(out)["rows"][0]
    assert row["step_s"] == pytest.approx(12.222541184816581e-3, rel=1e-9)

    dear = run(capsys, "estimate", "llama-3-70b", *point, "--price", "4.2", "--json")
    costs = [json.loads(text)["rows"][0]["usd_per_mtok_output"] for text in (out, dear[1])]
    assert costs[1] == pytest.approx(2 * costs[0])

    # A name that only the paper knows, and one that only our catalogue does.
    large = ("--on", "h100", "--accelerators", "128")
    assert "gpt-4" in run(capsys, "estimate", "gpt-4", *large)[1]
    assert "qwen3-32b" in run(capsys, "estimate", "qwen3-32b", *large, "--context", "4k")[1]


def test_the_frontier_shows_its_shape_and_files_hold_all(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ("frontier", "llama-3-8b", "--on", "h100", "--no-pipeline", "--demand", "10k")
    code, out, _ = run(capsys, *arguments)
    assert code == 0
    assert "preferred" in out
    assert len(out.splitlines()) < 30
    rows = json.loads(run(capsys, *arguments, "--json")[1])["rows"]
    assert len(rows) > 60
    assert all(row["batch"] * row["tok_per_s_per_user"] <= 1e4 * (1 + 1e-9) for row in rows)


def test_bad_questions_are_refused_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ("estimate", "llama-9", "--on", "h100"),
        ("estimate", "llama-3-70b", "--on", "h100,a100"),
        ("estimate", "llama-3-70b", "--on", "h100", "--context", "-1"),
        ("frontier", "llama-3-70b", "--on", "h100", "--demand", "0"),
    ):
        code, out, err = run(capsys, *arguments)
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
