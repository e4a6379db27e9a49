"""One file of `headway calibrate` is taken wherever a time is asked, and says whose it is."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import click
import pytest

from headway.cli.calibrate import calibrate
from headway.cli.main import COMMANDS, headway
from headway.engines.local import EngineOptions
from headway.errors import InputError
from headway.gateway.config_file import load_config
from headway.report.report import Report
from headway.steptime.calibration import read_calibration

SERVED = ["--model", "llama-3.1-8b", "--on", "h100", "--engine", "vllm", "--precision", "bf16"]
ON = "llama-3.1-8b@h100:tp1"
# What asks a time, as people write it; "{}" is where the calibration goes.
QUESTIONS = {
    "estimate": ["llama-3.1-8b", "--on", "h100", "--precision", "bf16"],
    "explain": ["llama-3.1-8b", "--on", "h100", "--precision", "bf16"],
    "frontier": ["llama-3.1-8b", "--on", "h100", "--precision", "bf16"],
    "ideal": ["llama-3.1-8b", "--on", "h100", "--precision", "bf16"],
    "simulate": ["azure-code", "--on", ON, "--rate", "2", "--num-requests", "30", "--seeds", "1"],
}
NO_ENGINE_IS_TIMED = {"calibrate", "load", "profile", "papers", "predict", "trace", "catalogue"}


@pytest.fixture(scope="module")
def own_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five loads of an engine twice as slow as what ships says."""
    folder = tmp_path_factory.mktemp("own")
    lines = [
        {
            "max_concurrency": users,
            "completed": 100,
            "total_input_tokens": 100_000,
            "total_output_tokens": 50_000,
            "mean_tpot_ms": 2 * tpot,
        }
        for users, tpot in ((1, 6.9), (4, 7.3), (16, 8.6), (64, 13.0), (128, 18.5))
    ]
    bench, own = folder / "bench.jsonl", folder / "own.json"
    bench.write_text("\n".join(map(json.dumps, lines)))
    calibrate.main(args=[str(bench), *SERVED, "-o", str(own)], standalone_mode=False)
    return own


def _command(name: str) -> click.Command:
    command = headway.get_command(click.Context(headway), name)
    assert command is not None
    return command


def test_every_command_that_names_a_serving_engine_takes_a_calibration() -> None:
    without = []
    for name in COMMANDS:
        options = {flag for param in _command(name).params for flag in param.opts}
        if "--engine" in options and name not in NO_ENGINE_IS_TIMED:
            without += [] if "--calibration" in options else [name]
    assert without == []
    flags = {flag for param in _command("engine").params for flag in param.opts}
    assert "--calibration" in flags


@pytest.mark.parametrize("name", QUESTIONS)
def test_an_answer_changes_and_says_that_own_points_count(
    name: str, own_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = []
    for more in ([], ["--calibration", str(own_file)]):
        arguments = [*QUESTIONS[name], *more, "--json", "-"]
        _command(name).main(args=arguments, standalone_mode=False)
        answers.append(Report.from_json(capsys.readouterr().out))
    before, after = answers
    assert before.rows != after.rows
    assert any("your 5 points count" in note for note in after.notes)
    assert not any("your 5 points" in note for note in before.notes)


def test_an_answer_for_another_model_says_so(
    own_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["qwen3-32b", "--on", "h200", "--calibration", str(own_file), "--json", "-"]
    _command("ideal").main(args=arguments, standalone_mode=False)
    notes = " ".join(Report.from_json(capsys.readouterr().out).notes)
    assert "your 5 points are of llama-3.1-8b in bf16 on h100 with vllm" in notes
    none = [*arguments[:-2], "--engine", "none", "--json", "-"]
    _command("ideal").main(args=none, standalone_mode=False)
    assert "they do not count" in " ".join(Report.from_json(capsys.readouterr().out).notes)


def test_a_gateway_expects_what_was_measured(
    own_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backends = ["http://127.0.0.1:9/v1"]
    plain = load_config(None, backends=backends, on=ON).expected
    with caplog.at_level(logging.INFO, logger="headway.gateway"):
        own = load_config(None, backends=backends, on=ON, calibration=[own_file]).expected
    assert own.output_token_s == pytest.approx(2 * plain.output_token_s, rel=0.3)
    assert "your 5 points count" in caplog.text

    # The same in a file, beside which the calibration lies.
    (tmp_path / "own.json").write_bytes(own_file.read_bytes())
    text = f'on = "{ON}"\ncalibration = ["own.json"]\n[[backend]]\nurl = "{backends[0]}"\n'
    (tmp_path / "gateway.toml").write_text(text)
    assert load_config(tmp_path / "gateway.toml").expected == own
    with pytest.raises(InputError, match="--calibration goes with --on"):
        load_config(None, backends=backends, calibration=[own_file])


def test_a_timed_engine_keeps_the_times_that_were_measured(own_file: Path) -> None:
    own = read_calibration(own_file)
    plain, timed = (
        EngineOptions(runtime="timed", deployment=ON, calibration=one).timed_deployment
        for one in (None, own)
    )
    assert plain is not None
    assert timed is not None
    ratio = timed.step_time(16, 1000).expected_s / plain.step_time(16, 1000).expected_s
    assert ratio == pytest.approx(2, rel=0.3)
    assert timed.own_words == "your 5 points count"
    with pytest.raises(InputError, match="runtime timed"):
        EngineOptions(calibration=own)
