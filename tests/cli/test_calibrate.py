"""`calibrate` and `validate` as a person meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headway.cli.calibrate import calibrate
from headway.cli.estimate import estimate
from headway.cli.validate import validate
from headway.errors import InputError
from headway.report.report import Report

SERVED = ["--model", "llama-3.1-8b", "--on", "h100", "--engine", "vllm", "--precision", "bf16"]


def _bench(path: Path, slower: float) -> Path:
    lines = [
        {
            "max_concurrency": users,
            "completed": 100,
            "total_input_tokens": 100_000,
            "total_output_tokens": 50_000,
            "mean_tpot_ms": slower * tpot,
            "median_ttft_ms": 60.0 + users,
        }
        for users, tpot in ((1, 6.9), (4, 7.3), (16, 8.6), (64, 13.0), (128, 18.5))
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def test_an_engine_twice_as_slow_is_learned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "mine.json"
    arguments = [str(_bench(tmp_path / "bench.jsonl", 2.0)), *SERVED, "-o", str(made)]
    calibrate.main(args=arguments, standalone_mode=False)
    assert "5 points" in capsys.readouterr().out
    asked = ["llama-3.1-8b", "--on", "h100", "--precision", "bf16", "--engine", "vllm"]
    asked += ["--isl", "1000", "--osl", "500", "--concurrency", "16", "--json", "-"]
    estimate.main(args=[*asked, "--calibration", str(made)], standalone_mode=False)
    row = Report.from_json(capsys.readouterr().out).rows[0]
    assert row.tpot_s.expected == pytest.approx(17.2e-3, rel=0.15)


def test_results_that_are_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    path.write_text("{}")
    with pytest.raises(InputError, match="holds no result"):
        calibrate.main(args=[str(path), *SERVED], standalone_mode=False)


def test_validate_shows_every_split(capsys: pytest.CaptureFixture[str]) -> None:
    validate.main(args=[], standalone_mode=False)
    out = capsys.readouterr().out
    for word in ("hardware", "model", "tpot", "throughput", "energy"):
        assert word in out
    validate.main(args=["--by"], standalone_mode=False)
    assert "old source" in capsys.readouterr().out


def test_validate_scores_own_measurements(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = str(_bench(tmp_path / "bench.jsonl", 2.0))
    own = str(tmp_path / "mine.json")
    validate.main(args=[slow, *SERVED, "--json", "-"], standalone_mode=False)
    shipped = Report.from_json(capsys.readouterr().out).rows[0]
    assert (shipped.split, shipped.quantity, shipped.points) == ("own points", "tpot", 5)
    assert shipped.bias < -0.3  # twice as slow as it should be

    calibrate.main(args=[slow, *SERVED, "-o", own], standalone_mode=False)
    capsys.readouterr()
    validate.main(args=[slow, *SERVED, "--calibration", own, "--json", "-"], standalone_mode=False)
    calibrated = Report.from_json(capsys.readouterr().out).rows[0]
    assert calibrated.mape < 0.05  # so far off, the points are believed and not what was known
    assert calibrated.coverage > 0.5


def test_validate_wants_to_know_what_was_measured(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--model, --on and --engine"):
        validate.main(args=[str(tmp_path / "bench.json")], standalone_mode=False)
    with pytest.raises(InputError, match="cannot be read"):
        validate.main(args=[str(tmp_path / "none.json"), *SERVED], standalone_mode=False)
