from __future__ import annotations

from pathlib import Path

import pytest

from headway.cli.tradeoff import tradeoff
from headway.errors import InputError, UnknownNameError
from headway.report.report import Report

SCORES = """model,scenario,accuracy,idealized_runtime,cost
a,x,0.5,0.1,9
b,x,0.6,0.2,1
c,x,0.55,0.3,2
d,x,,0.3,2
a,y,0.5,0.1,9
b,y,0.4,0.2,1
c,y,0.3,0.1,1
"""


def run(*arguments: str) -> None:
    tradeoff.main(list(arguments), standalone_mode=False)


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    path = tmp_path / "scores.csv"
    path.write_text(SCORES)
    return path


def test_the_front_and_what_beats_the_rest(
    scores: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(str(scores))
    out = capsys.readouterr().out
    assert "3 of 6 on the front" in out
    assert "left out, without accuracy or idealized_runtime: d in x" in out


def test_the_report_is_read_back(scores: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(str(scores), "--metric", "cost", "--json", "-")
    report = Report.from_json(capsys.readouterr().out)
    assert report.kind == "tradeoff"
    front = {(r.scenario, r.model) for r in report.rows if r.on_front}
    assert front == {("x", "b"), ("y", "a"), ("y", "b")}
    (beaten,) = [r for r in report.rows if (r.scenario, r.model) == ("x", "c")]
    assert beaten.beaten_by == "b"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no rows"),
        ("model,accuracy,idealized_runtime\n", "no rows"),
        ("model,accuracy\na,1\n", "idealized_runtime"),
        ("name,accuracy,idealized_runtime\na,1,1\n", "model"),
        ("model,accuracy,idealized_runtime\na,much,1\n", "line 2: accuracy is 'much'"),
        ("model,accuracy,idealized_runtime\na,1,inf\n", "not finite"),
        ("model,accuracy,idealized_runtime\na,1,0\n", "above 0"),
        ("model,accuracy,idealized_runtime\n,1,1\n", "no model"),
        ("model,accuracy,idealized_runtime\na,,\n", "no row with both"),
        ("model,accuracy,idealized_runtime\na,1\n", "no row with both"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        run(str(path))


def test_a_column_that_is_nearly_there(scores: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean"):
        run(str(scores), "--score", "acuracy")
    with pytest.raises(InputError, match="no file"):
        run(str(scores) + "x")
