"""Where answers go: files that cannot be written are refused before any work, nothing is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from headway.cli.main import main

ESTIMATE = ["estimate", "llama-3.1-8b", "--on", "h100"]
TARGET = ["--on", "h100", "--tok-s", "40", "--usd-per-mtok-output", "1"]
FULL = Path("/dev/full")


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    streams = capsys.readouterr()
    assert (stop.value.code, streams.out, streams.err.count("\n")) == (2, "", 1)
    return streams.err


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["--json", ""], "--json needs the name of a file, such as out.json"),
        (["--html", "-"], "--html needs the name of a file, such as out.html"),
        (["--png", ""], "--png needs the name of a file"),
        (["--html", "."], "it is a folder"),
        (["--json", "nowhere/out.json"], "there is no folder nowhere"),
        (["--json", "out", "--html", "out"], "give two names"),
        (["--json", "out", "--png", "./out"], "give two names"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_first(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in refused(capsys, *ESTIMATE, *files)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "question",
    [
        ["possible", "llama-3.1-8b", *TARGET],
        ["what-if", "llama-3.1-8b", *TARGET],
    ],
)
def test_small_answers_go_to_a_file_too(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, question: list[str]
) -> None:
    path = tmp_path / "out.json"
    answers = []
    for where in (["--json"], ["--json", "-"], ["--json", str(path)]):
        with pytest.raises(SystemExit):
            main([*question, *where])
        text = capsys.readouterr().out
        answers.append(path.read_text() if path.exists() else text)
    assert len(set(answers)) == 1
    assert json.loads(answers[0])


@pytest.mark.skipif(not FULL.is_char_device(), reason="there is no /dev/full here")
@pytest.mark.parametrize("asked", ["catalogue models", "catalogue models --json -", "--help"])
def test_a_full_disk_gets_one_sentence(asked: str) -> None:
    command = f"{sys.executable} -m headway.cli.main {asked} > /dev/full"
    ran = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr == "headway: cannot write to standard output: No space left on device\n"


def test_a_closed_stdout_is_no_error() -> None:
    command = f"{sys.executable} -m headway.cli.main catalogue models >&-"
    ran = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_terminal_that_knows_ascii_only_gets_every_table() -> None:
    command = [sys.executable, "-m", "headway.cli.main", "predict", "Write a haiku"]
    ran = subprocess.run(
        command, capture_output=True, check=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}
    )
    assert b"mean" in ran.stdout


def test_a_file_name_that_is_no_text_can_be_read_and_reported(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = {
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "vocab_size": 100,
        "num_attention_heads": 4, "num_hidden_layers": 2, "torch_dtype": "bfloat16",
    }  # fmt: skip
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.json"))
    path.write_text(json.dumps(config))
    with pytest.raises(SystemExit) as stop:
        main(["estimate", str(path), "--on", "h100", "--json", str(tmp_path / "out.json")])
    assert stop.value.code == 0, capsys.readouterr().err
    assert json.loads((tmp_path / "out.json").read_text())["title"].startswith("caf\ufffd in")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([*ESTIMATE, "--acceptance", "0.5"], "need --speculate"),
        ([*ESTIMATE, "--no-bonus-token"], "need --speculate"),
        ([*ESTIMATE, "--precision", ""], "unknown number format"),
        (["frontier", "llama-3.1-8b"], "see headway frontier --help"),
    ],
)  # fmt: skip
def test_an_option_that_would_change_nothing_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert said in refused(capsys, *arguments)


def test_a_narrow_terminal_cuts_no_figure() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "headway.cli.main", "catalogue", "models"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "12", "TERM": "dumb"},
    )
    assert "llama-3.1-70b" in ran.stdout
    assert max(map(len, ran.stdout.splitlines())) > 60
