"""Every answer that a command saves can be shown again, with every view of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headway.cli.main import main
from headway.report.report import Report

COMMANDS = [
    ["catalogue", "models"],
    ["catalogue", "accelerators"],
    ["catalogue", "instances"],
    ["catalogue", "show", "h100"],
    ["catalogue", "show", "llama-3.1-70b"],
    ["prices"],
    ["ideal", "llama-3.1-8b", "--on", "h100,a100"],
]
KEYS = {
    "headway_report", "kind", "title", "question", "columns", "rows", "marks", "notes", "sources",
    "charts",
}  # fmt: skip


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    assert stop.value.code in (0, 1)
    return capsys.readouterr().out


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_saved_answer_is_shown_as_it_was(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved, page, again, table = (tmp_path / f"a.{end}" for end in ("json", "html", "htm", "csv"))
    files = ["--json", str(saved), "--html", str(page), "--csv", str(table)]
    printed = output(capsys, *arguments, *files)
    tree = json.loads(saved.read_text("utf-8"))
    assert set(tree) == KEYS
    assert set(tree["columns"]) <= set(tree["rows"][0])
    assert Report.from_json(saved.read_text("utf-8")).to_csv() == table.read_text("utf-8")
    assert output(capsys, "report", str(saved), "--html", str(again)) == printed
    assert again.read_text("utf-8") == page.read_text("utf-8")
    assert json.loads(output(capsys, *arguments, "--json")) == tree
