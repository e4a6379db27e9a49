"""What a gateway recorded is replayed, and learned from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.record.test_store import ENTRY as STORED

from headway.cli.simulate import simulate
from headway.errors import InputError
from headway.record.store import open_store
from headway.report.report import Report

ENTRY = replace(STORED, prompt_tokens=700, output_tokens=50)
DEPLOYMENT = ["--on", "llama-3.1-8b@h100:tp1", "--seeds", "1", "--json", "-"]


def test_a_record_is_a_trace(tmp_path: Path) -> None:
    path = tmp_path / "live.db"
    store = open_store(path)
    for i in range(60):
        store.add(replace(ENTRY, id=f"hw-{i}", arrival_s=100.0 + i / 10))
    store.add(replace(ENTRY, id="hw-broken", status="failed", arrival_s=101.0))
    store.close()
    result = CliRunner().invoke(simulate, [str(path), *DEPLOYMENT], catch_exceptions=False)
    report = Report.from_json(result.stdout)
    assert report.question["num_requests"] == 60
    assert report.rows[0].requests == 60
    assert float(report.question["rate_rps"] or 0) == pytest.approx(10)


def test_a_record_says_who_asked(tmp_path: Path) -> None:
    path, scenario = tmp_path / "live.db", tmp_path / "replay.toml"
    store = open_store(path)
    for i in range(40):
        store.add(replace(ENTRY, id=f"hw-{i}", arrival_s=100.0 + i / 10, tenant="ab"[i % 4 == 0]))
    store.close()
    scenario.write_text(
        f'workload = "{path}"\nseeds = 1\n[[pool]]\ndeployment = "llama-3.1-8b@h100:tp1"\n'
        "[tenant.b]\nttft_s = 1.0\n"
    )
    result = CliRunner().invoke(simulate, [str(scenario), "--json", "-"], catch_exceptions=False)
    rows = Report.from_json(result.stdout).rows
    assert [(row.scope, row.requests) for row in rows[1:]] == [("tenant a", 30), ("tenant b", 10)]


def test_a_record_without_answers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "live.db"
    open_store(path).close()
    with pytest.raises(InputError, match="no answered request"):
        CliRunner().invoke(simulate, [str(path), *DEPLOYMENT], catch_exceptions=False)


def test_a_record_with_prompts_teaches_a_predictor(tmp_path: Path) -> None:
    from headway.cli.predict import predict

    path, folder = tmp_path / "live.db", tmp_path / "predictor"
    store = open_store(path)
    for i in range(120):
        long = i % 2
        store.add(
            replace(
                ENTRY,
                id=f"hw-{i}",
                arrival_s=100.0 + i,
                prompt=f"Write a long story about {i}" if long else f"What is {i} plus 1?",
                output_tokens=400 if long else 6,
            )
        )
    store.close()
    arguments = ["train", str(path), "-o", str(folder), "--hold-out", "0"]
    result = CliRunner().invoke(predict, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert (folder / "card.json").is_file()


def test_a_record_without_prompts_cannot_teach(tmp_path: Path) -> None:
    from headway.cli.predict import predict

    path = tmp_path / "live.db"
    store = open_store(path)
    store.add(ENTRY)
    store.close()
    arguments = ["train", str(path), "-o", str(tmp_path / "p")]
    with pytest.raises(InputError, match="keep_prompts"):
        CliRunner().invoke(predict, arguments, catch_exceptions=False)
