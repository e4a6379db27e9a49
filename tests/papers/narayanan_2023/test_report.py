"""The published tables behind a command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headway.errors import InputError, UnknownNameError
from headway.ideal.request_profile import RequestProfile
from headway.papers.narayanan_2023.published import PublishedTable, fit_published
from headway.papers.narayanan_2023.report import fit_report, runtime_report

TABLE = PublishedTable(0.06, {1: 0.07, 512: 0.2})


def test_a_runtime_and_its_cost() -> None:
    tables = {"together/bloom": TABLE, "other/model": TABLE}
    report = runtime_report(tables, [(256, 3), (512, 1)], models=["bloom"], num_accelerators=8)
    first, second = report.rows
    assert first.model == "together/bloom"
    assert first.runtime_s == pytest.approx(0.1 + 2 * 0.06)
    assert second.runtime_s == pytest.approx(0.2)
    assert first.usd == pytest.approx(first.runtime_s * 8 * 4.096 / 3600)
    assert runtime_report(tables, [(256, 3)]).rows[1].usd is None
    with pytest.raises(UnknownNameError, match="unknown published table"):
        runtime_report(tables, [(256, 3)], models=["blom"])


def test_a_fit_shows_the_published_table() -> None:
    profile = RequestProfile.of([(1, 1, 0.1), (1, 3, 0.3), (64, 1, 0.2), (64, 3, 0.4)])
    table, _ = fit_published(profile)
    report = fit_report(profile)
    assert {row.prompt_tokens: row.prompt_s for row in report.rows} == dict(table.prompt_s)
    assert {row.token_s for row in report.rows} == {table.beta_s}


def test_the_command_reads_helms_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from headway.cli.main import main

    path = tmp_path / "tables.json"
    table = {"runtime_per_output_token": 0.06, "runtime_for_prompt_tokens": {"1": 0.07, "512": 0.2}}
    path.write_text(json.dumps({"together/bloom": table, "other/model": table}))
    command = ["papers", "narayanan-2023", "runtime", str(path)]
    with pytest.raises(SystemExit) as stop:
        main([*command, "bloom", "--prompt", "256", "--output", "3,5", "--json"])
    assert not stop.value.code
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["runtime_s"] for row in rows] == pytest.approx([0.22, 0.34])

    path.write_text("[1]")
    with pytest.raises(SystemExit) as stop:
        main(command)
    assert stop.value.code == 2
    assert "no file of published tables" in capsys.readouterr().err


def test_a_table_must_be_one() -> None:
    with pytest.raises(InputError, match="cannot be read"):
        PublishedTable.read({}, "x")
