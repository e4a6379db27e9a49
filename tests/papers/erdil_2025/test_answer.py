"""The published model behind the same reports and commands as our own."""

from __future__ import annotations

import json

import pytest

from headway.errors import DoesNotFitError
from headway.papers.erdil_2025.accelerators import ACCELERATORS
from headway.papers.erdil_2025.answer import PublishedQuestion, estimate, frontier
from headway.papers.erdil_2025.frontier import frontier as search
from headway.papers.erdil_2025.models import MODELS
from headway.report.report import Report

H100 = ACCELERATORS["h100"]


def test_a_point_of_the_notebook() -> None:
    question = PublishedQuestion(MODELS["llama-3-70b"])
    row = estimate(question, H100, 8, 64).rows[0]
    # facts: kernels 1.28 + network 3.7369 + memory 7.2056 ms (arithmetic 1.6126), $0.891227
    assert row["step_s"] == pytest.approx(12.222541184816581e-3, rel=1e-9)
    assert row["usd_per_mtok"] == pytest.approx(0.8912269613928756, rel=1e-9)
    assert row["latency_s"] == pytest.approx(1.28e-3)
    assert row["network_s"] == pytest.approx(3.7369e-3, rel=1e-4)
    assert row["memory_s"] == pytest.approx(7.2056e-3, rel=1e-4)


def test_a_speculating_point_of_the_notebook() -> None:
    question = PublishedQuestion(MODELS["llama-3-70b"], draft=MODELS["llama-3-8b"])
    row = estimate(question, H100, 8, 64).rows[0]
    assert 1 / float(row["tok_per_s_per_user"] or 0) == pytest.approx(9.018099603789691e-3)


def test_rows_say_what_the_search_found() -> None:
    model = MODELS["llama-3-70b"]
    question = PublishedQuestion(model, draft=MODELS["llama-3-8b"], pipeline=False)
    report = frontier(question, [H100])
    from headway.papers.erdil_2025.forward import Choices

    found = search(model, H100, draft=MODELS["llama-3-8b"], choices=Choices(pipeline=False))
    speeds = [row["tok_per_s_per_user"] for row in report.rows]
    assert speeds == pytest.approx(found.speed_tokens_per_s.tolist(), rel=1e-9)
    costs = [row["usd_per_mtok"] for row in report.rows]
    assert costs == pytest.approx(found.usd_per_mtok.tolist(), rel=1e-9)
    assert Report.from_json(report.to_json()) == report


def test_what_does_not_fit_is_refused_with_the_missing_bytes() -> None:
    question = PublishedQuestion(MODELS["llama-3-70b"], context_tokens=100_000)
    with pytest.raises(DoesNotFitError, match=r"lacks [\d.]+ GB"):
        estimate(question, H100, 2, 64)


def test_the_command_reaches_it_by_the_papers_names(capsys: pytest.CaptureFixture[str]) -> None:
    from headway.cli.main import main

    with pytest.raises(SystemExit) as stop:
        main(
            ["estimate", "llama-3.1-70b", "--on", "h100", "--accelerators", "8", "--batch", "64",
             "--context", "0", "--as", "erdil-2025", "--json", "-"]
        )  # fmt: skip
    assert stop.value.code in (0, None)
    tree = json.loads(capsys.readouterr().out)
    assert tree["rows"][0]["step_s"] == pytest.approx(12.222541184816581e-3, rel=1e-9)
    with pytest.raises(SystemExit):
        main(["estimate", "gpt-4", "--on", "h100", "--accelerators", "128", "--as", "erdil-2025"])
    assert "gpt-4" in capsys.readouterr().out
