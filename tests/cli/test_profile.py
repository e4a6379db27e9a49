from __future__ import annotations

import importlib.util
import io
import json
from collections import deque
from pathlib import Path

import click
import pytest

from headway.cli.profile import profile
from headway.errors import HeadwayError, InputError, MissingExtraError
from headway.http.fake import FakeEngine, FakeSpeed, running
from headway.measure.measurement import read_measurements
from headway.report.report import Report

pytest.importorskip("httpx", reason="the endpoint client needs the extra http")
QUICK = FakeSpeed(ttft_s=0.001, itl_s=0.0002, tokens=1_000_000)
SHORT = ["--prompt", "16,64", "--output", "6", "--trials", "2", "--model", "fake"]


def run(*arguments: str) -> None:
    profile.main(list(arguments), standalone_mode=False)


def test_a_black_box_within_its_budget(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "api.jsonl"
    prices = ["--prompt-price", "1", "--output-price", "2", "--budget-usd", "1"]
    engine = FakeEngine(QUICK)
    with running(engine) as url:
        words = ["--endpoint", url, *SHORT, *prices, "-o", str(out), "--yes"]
        run(*words, "--json", "-")
        streams = capsys.readouterr()
        report = Report.from_json(streams.out)
        assert "4 requests to http" in streams.err
        assert "never more than $1" in streams.err
        assert [row.num_answers for row in report.rows] == [2, 2]
        assert isinstance(report.question["spent_usd"], float)
        run(*words)  # all is there already
        assert engine.num_requests == 4
    assert "spent: 4 requests" in capsys.readouterr().out


def test_nothing_is_asked_without_a_yes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    engine = FakeEngine(QUICK)
    with running(engine) as url, pytest.raises(click.Abort):
        run("--endpoint", url, *SHORT, "-o", str(tmp_path / "x.jsonl"))
    assert engine.num_requests == 0


def test_an_endpoint_that_refuses_is_one_sentence(tmp_path: Path) -> None:
    with (
        running(FakeEngine(faults=deque(["status-401"]))) as url,
        pytest.raises(InputError, match=r"unauthorized.*this is a 401"),
    ):
        run("--endpoint", url, *SHORT, "-o", str(tmp_path / "x.jsonl"), "--yes")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "either a MODEL"),
        (["llama-3.1-8b", "--endpoint", "http://x/v1"], "either a MODEL"),
        (["--endpoint", "ftp://x", "--model", "m"], "http or https"),
        (["--endpoint", "http://x/v1"], "--model"),
        (
            ["--endpoint", "http://x/v1", "--model", "m", "--budget-usd", "1"],
            "needs the price",
        ),
        (["--endpoint", "http://x/v1", "--model", "m", "--prompt-price", "1"], "need each other"),
        (["--endpoint", "http://x/v1", "--model", "m", "--extra", "[1]"], "JSON object"),
        (["--endpoint", "http://x/v1", "--model", "m", "--api-key-env", "NO_SUCH"], "NO_SUCH"),
        (["--endpoint", "http://x/v1", "--model", "m", "--prompt", "a"], "must be a number"),
        (["no-such-model"], "unknown model"),
        (["./nowhere/config.json"], "no file"),
    ],
)
def test_what_cannot_be_done_is_said(arguments: list[str], message: str) -> None:
    with pytest.raises(HeadwayError, match=message):
        run(*arguments, "--yes")


def test_a_real_engine_or_how_to_get_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "tiny" / "config.json"
    config.parent.mkdir()
    tiny = {
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 256,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
    }
    config.write_text(json.dumps(tiny))
    out = tmp_path / "m.jsonl"
    words = [
        str(config),
        "--prompt",
        "1,64",
        "--output",
        "1,4",
        "--trials",
        "3",
        "-o",
        str(out),
    ]
    if (
        importlib.util.find_spec("torch") is None
        or importlib.util.find_spec("transformers") is None
    ):
        with pytest.raises(MissingExtraError, match=r"headway\[torch\]"):
            run(*words)
        pytest.skip("a real engine needs the extra torch")
    run(*words)
    assert "tiny on transformers" in capsys.readouterr().out
    measurements = read_measurements(out)
    assert len(measurements) == 6
    fastest = {str(m.load): m.min_s for m in measurements}
    # Loose on purpose: the laws of an engine, on a machine with other work on it.
    assert (
        fastest["RequestLoad(batch=1, prompt_tokens=1, output_tokens=4)"]
        > fastest["RequestLoad(batch=1, prompt_tokens=1, output_tokens=1)"]
    )
