from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest

from headway.cli.compare import compare
from headway.cli.ideal import ideal
from headway.errors import HeadwayError, InputError
from headway.http.fake import FakeEngine, FakeSpeed, running
from headway.ideal.compare import Footing, ideal_report, read_requests
from headway.measure.endpoint.budget import Budget
from headway.measure.endpoint.campaign import Campaign, Plan
from headway.measure.endpoint.endpoint import Address, Endpoint
from headway.measure.endpoint.ledger import Ledger
from headway.measure.measurement import (
    Clock,
    Measurement,
    RequestLoad,
    Setup,
    write_measurements,
)
from headway.report.report import Report

REQUESTS = """{"prompt_tokens": 512, "output_tokens": 64, "scenario": "qa"}
{"prompt_tokens": 100, "output_tokens": 8, "scenario": "qa", "cached_tokens": 50}

{"prompt_tokens": 2000, "output_tokens": 1, "scenario": "summary", "model": "llama-3.1-8b"}
"""


def run(command: click.Command, *arguments: str) -> None:
    command.main(list(arguments), standalone_mode=False)


def answer(
    capsys: pytest.CaptureFixture[str], command: click.Command, *arguments: str
) -> Report[Any]:
    run(command, *arguments, "--json", "-")
    return Report.from_json(capsys.readouterr().out)


def test_models_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    run(ideal, "llama-3.1-8b", "llama-3.1-70b", "--on", "a100,h100")
    out = capsys.readouterr().out
    assert out.count("llama-3.1-8b") == 2
    assert "batch 1, as the idealized runtime is defined" in out


def test_means_per_scenario_and_single_requests(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text(REQUESTS)
    means = answer(capsys, ideal, "llama-3.1-8b", "--lengths", str(path), "--on", "h100")
    assert [(r.scenario, r.num_requests) for r in means.rows] == [("qa", 2), ("summary", 1)]
    each = answer(capsys, ideal, "llama-3.1-8b", "--lengths", str(path), "--on", "h100", "--each")
    seconds = [r.runtime_s.expected for r in each.rows]
    assert means.rows[0].runtime_s.expected == pytest.approx((seconds[0] + seconds[1]) / 2)
    assert each.rows[1].prompt_tokens == 50  # what was cached is not computed
    other = answer(capsys, ideal, "llama-3.2-1b", "--lengths", str(path), "--on", "h100")
    assert [r.scenario for r in other.rows] == ["qa"]


def test_a_profile_beside_the_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    setup = Setup("mine", "engine 1", "cpu")
    loads = [RequestLoad(1, p, o) for p in (1, 64, 512) for o in (1, 16)]
    measurements = [
        Measurement(setup, l, (0.02 + 1e-4 * l.prompt_tokens + 0.019 * (l.output_tokens - 1),) * 3,
                    Clock.WALL, "")
        for l in loads  # noqa: E741
    ]  # fmt: skip
    path = tmp_path / "mine.jsonl"
    write_measurements(path, measurements)
    report = answer(capsys, compare, str(path), "--against", "llama-3.1-8b", "--prompt", "256")
    assert [row.software for row in report.rows] == ["vllm", "engine 1"]
    runtime_s = report.rows[1].runtime_s.expected
    assert runtime_s == pytest.approx(0.02 + 0.0256 + 63 * 0.019, rel=0.05)


def test_the_data_sheet_instead_of_an_engine(capsys: pytest.CaptureFixture[str]) -> None:
    lengths = ("--prompt", "256", "--output", "3")
    (engine,) = answer(capsys, ideal, "bloom-176b", *lengths).rows
    (sheet,) = answer(capsys, ideal, "bloom-176b", *lengths, "--engine", "none").rows
    assert (engine.software, sheet.software) == ("vllm", None)
    assert sheet.basis == "assumed"
    for row in (engine, sheet):
        assert row.energy_j.lower < row.energy_j.expected


def test_where_the_time_of_an_endpoint_goes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("httpx", reason="the endpoint client needs the extra http")
    path = tmp_path / "api.jsonl"
    speed = FakeSpeed(
        ttft_s=0.0053, prompt_token_s=2e-5, itl_s=0.005, network_s=0.03, tokens=1_000_000
    )
    with (
        running(FakeEngine(speed)) as url,
        Ledger(path) as ledger,
        Endpoint(Address(url, "m")) as endpoint,
    ):
        Campaign(Plan((16, 128, 512), 12, 3), ledger, Budget(99), "m").run(endpoint)
    report = answer(capsys, compare, str(path), "--against", "llama-3.1-8b", "--on", "h100")
    assert "than the model's idealized runtime" in report.title
    parts = {row.part: row for row in report.rows}
    assert 0.028 < parts["network"].seconds.expected < 0.2  # of a busy machine
    assert parts["model and software"].factor.lower > 0
    summed = sum(
        parts[name].seconds.expected
        for name in ("model and software", "contention", "drift", "queue", "network")
    )
    assert summed == pytest.approx(parts["raw"].seconds.expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such-model"], "unknown model"),
        (["llama-3.1-8b", "--on", "no-such-chip"], "unknown"),
        (["llama-3.1-8b", "--engine", "no-such"], "unknown engine"),
        (["llama-3.1-405b", "--on", "a100", "--accelerators", "1"], "lacks"),
        (["llama-3.1-8b", "--lengths", "nowhere.jsonl"], "cannot read"),
    ],
)
def test_what_cannot_be_answered_is_said(arguments: list[str], message: str) -> None:
    with pytest.raises(HeadwayError, match=message):
        run(ideal, *arguments)


def test_what_is_no_profile_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "api.jsonl"
    with pytest.raises(HeadwayError, match="no file"):
        run(compare, str(path), "--against", "llama-3.1-8b")
    path.write_text('{"kind": "start"}\n')
    with pytest.raises(HeadwayError, match="one model on one accelerator"):
        run(compare, str(path), "--against", "llama-3.1-8b", "--on", "a100,h100")
    path.write_text("nonsense\n")
    with pytest.raises(HeadwayError, match="not a measurement"):
        run(compare, str(path))


@pytest.mark.parametrize(
    "line",
    ["{", "[]", "{}", '{"prompt_tokens": 1}', '{"prompt_tokens": "x", "output_tokens": 1}',
     '{"prompt_tokens": 1, "output_tokens": -4}', '{"prompt_tokens": NaN, "output_tokens": 4}',
     '{"prompt_tokens": 1e999, "output_tokens": 4}'],
)  # fmt: skip
def test_bad_requests_are_named_by_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text(json.dumps({"prompt_tokens": 1, "output_tokens": 1}) + "\n" + line + "\n")
    with pytest.raises(HeadwayError, match="line 2"):
        run(ideal, "llama-3.1-8b", "--lengths", str(path))


def test_an_empty_ledger_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "api.jsonl"
    path.write_text('{"kind": "start"}\n')
    with pytest.raises(HeadwayError, match="too few"):
        run(compare, str(path), "--against", "llama-3.1-8b")


def test_requests_beyond_the_context_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    path.write_text('{"prompt_tokens": 9000, "output_tokens": 8, "cached_tokens": 8900}\n')
    footing = Footing(clusters=("h100",), requests=read_requests(path))
    with pytest.raises(InputError, match=r"at most 8,192 tokens of context.*9,008"):
        ideal_report(["llama-3-8b"], footing)
