"""``headway load`` and ``headway report`` as a person meets them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.gateway.conftest import CHAT, Live, post
from tests.gateway.conftest import live as live  # a fixture

from headway.cli.load import load
from headway.cli.report import report
from headway.errors import HeadwayError, InputError
from headway.report.report import Report


def run_load(*arguments: str) -> None:
    load.main(list(arguments), standalone_mode=False)


def test_a_load_prints_a_table_and_writes_reports(
    live: Live, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = live.engine()
    files = [tmp_path / "a.json", tmp_path / "vllm.json", tmp_path / "a.html"]
    run_load(
        url, "--rate", "200", "--num-requests", "40", "--prompt", "8", "--compare", live.engine(),
        "--slo", "ttft < 5s", "--json", str(files[0]), "-o", str(files[1]),
        "--html", str(files[2]),
    )  # fmt: skip
    out = capsys.readouterr().out
    for word in ("TTFT (ms)", "late p99 (ms)", "good/s", url):
        assert word in out
    made = Report.from_json(files[0].read_text())
    assert [row.requests for row in made.rows] == [40, 40]
    assert [row.against_pairs for row in made.rows] == [40, None]
    assert "over 40 pairs" in out
    assert json.loads(files[1].read_text())["completed"] == 40
    assert files[2].read_text().startswith("<!doctype html>")
    report.main([str(files[1])], standalone_mode=False)
    assert "40" in capsys.readouterr().out


def test_a_sweep_has_a_row_for_each_level(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    run_load(live.engine(), "--concurrency", "1,4", "--num-requests", "8", "--json", "-")
    made = Report.from_json(capsys.readouterr().out)
    assert [row.concurrency for row in made.rows] == [1, 4]
    assert [chart.columns[:2] for chart in made.charts] == [
        ("output_tok_per_s", "ttft_p90_s"), ("output_tok_per_s", "tpot_p90_s")
    ]  # fmt: skip


def test_a_hidden_length_reaches_the_engine_and_nobody_else(live: Live) -> None:
    url = live.engine()
    run_load(url, "--workload", "azure-conv", "--rate", "500", "--num-requests", "12")
    limits = {json.loads(body)["max_tokens"] for body in live.engines[0].bodies}
    hidden = [int(headers[b"x-engine-tokens"]) for headers in live.engines[0].headers]
    assert len(limits) == 1
    assert max(hidden) <= limits.pop()
    assert len(set(hidden)) > 6
    assert all("ignore_eos" not in json.loads(body) for body in live.engines[0].bodies)


def test_lengths_are_told_to_all_where_that_is_asked_or_they_are_no_secret(live: Live) -> None:
    url = live.engine()
    run_load(
        url, "--workload", "azure-conv", "--rate", "500", "--num-requests", "8", "--tell-lengths"
    )
    run_load(url, "--rate", "500", "--num-requests", "4", "--output", "7")
    bodies = [json.loads(body) for body in live.engines[0].bodies]
    assert all(body["ignore_eos"] for body in bodies)
    assert len({body["max_tokens"] for body in bodies[:8]}) > 4
    assert {body["max_tokens"] for body in bodies[8:]} == {7}


def test_a_generator_that_is_late_says_so(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    # Nothing can be sent at 1e5 requests/s from one process.
    run_load(live.engine(), "--rate", "100000", "--num-requests", "300", "--prompt", "8")
    out = " ".join(capsys.readouterr().out.split())
    assert ("late (P99)" in out) == Path("/proc/thread-self/schedstat").exists()


def test_a_record_is_reported(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    port = live.gateway(live.engine())
    for _ in range(3):
        post(port, {**CHAT, "stream": True})
    live.entries(3)
    report.main([str(live.record), "--by", "model", "--json", "-"], standalone_mode=False)
    (row,) = Report.from_json(capsys.readouterr().out).rows
    assert (row.group, row.requests, row.unfinished) == ("fake", 3, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "needs a server"),
        (["http://127.0.0.1:9/v1"], "needs a server at"),
        (
            ["http://127.0.0.1:9/v1", "--rate", "1", "--concurrency", "2", "--model", "m"],
            "choose one",
        ),
        (["http://x/v1", "--workload", "azure-cnv", "--model", "m"], "did you mean azure-conv"),
        # Before anyone is asked: nobody listens there.
        (["http://127.0.0.1:9/v1", "--concurrency", "a"], "--concurrency must be"),
        (["http://127.0.0.1:9/v1", "--duration", "-3s"], "--duration"),
    ],
)
def test_mistakes_are_told_in_a_sentence(arguments: list[str], message: str) -> None:
    with pytest.raises(HeadwayError, match=message):
        run_load(*arguments)


def test_reports_are_read_without_the_extra_of_the_load_generator() -> None:
    code = (
        "import sys; sys.modules['httptools'] = None; "
        "import headway.cli.report, headway.load.export, headway.load.measure"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nothing_to_report_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no file"):
        report.main([str(tmp_path / "none.db")], standalone_mode=False)
