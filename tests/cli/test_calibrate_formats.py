"""Result files as each benchmark tool writes them, in full, give the same calibration."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from headway.cli.calibrate import calibrate
from headway.errors import InputError

SERVED = ["--model", "llama-3.1-8b", "--on", "h100", "--engine", "vllm", "--precision", "bf16"]
POINTS = ((1, 9.0, 60.0), (4, 9.6, 75.0), (16, 11.9, 110.0), (64, 19.0, 240.0))
PROMPT, OUTPUT = 1000, 500


def vllm(users: int, tpot_ms: float, ttft_ms: float) -> dict[str, object]:
    return {
        "date": "20260801-101010", "endpoint_type": "openai", "backend": "vllm", "label": None,
        "model_id": "meta-llama/Llama-3.1-8B-Instruct", "num_prompts": 10 * users,
        "request_rate": "inf", "burstiness": 1.0, "max_concurrency": users, "duration": 12.3,
        "completed": 10 * users, "failed": 0, "total_input_tokens": 10 * users * PROMPT,
        "total_output_tokens": 10 * users * OUTPUT, "request_goodput": None,
        "input_lens": [PROMPT] * 2, "ttfts": [0.1], "itls": [[0.01]], "errors": [""],
        "mean_ttft_ms": ttft_ms * 1.4, "median_ttft_ms": ttft_ms, "p99_ttft_ms": ttft_ms * 3,
        "mean_tpot_ms": tpot_ms, "median_tpot_ms": tpot_ms, "mean_itl_ms": tpot_ms,
    }  # fmt: skip


def sglang(users: int, tpot_ms: float, ttft_ms: float) -> dict[str, object]:
    return {
        "tag": None, "backend": "vllm", "dataset_name": "random", "request_rate": float("inf"),
        "max_concurrency": users, "sharegpt_output_len": None, "random_input_len": PROMPT,
        "completed": 10 * users, "total_input_tokens": 10 * users * PROMPT,
        "total_output_tokens": 10 * users * OUTPUT, "mean_e2e_latency_ms": OUTPUT * tpot_ms,
        "mean_ttft_ms": ttft_ms * 1.4, "median_ttft_ms": ttft_ms, "mean_tpot_ms": tpot_ms,
        "median_tpot_ms": tpot_ms, "concurrency": 0.97 * users, "accept_length": None,
    }  # fmt: skip


def aiperf(users: int, tpot_ms: float, ttft_ms: float) -> dict[str, object]:
    def stats(value: float, unit: str = "ms", middle: float | None = None) -> dict[str, object]:
        return {"unit": unit, "avg": value, "p50": value if middle is None else middle, "count": 9}

    return {
        "schema_version": "1.0",
        "request_throughput": {"unit": "requests/sec", "avg": 1.0},
        "time_to_first_token": stats(ttft_ms * 1.4, middle=ttft_ms),
        "inter_token_latency": stats(tpot_ms),
        "output_sequence_length": stats(OUTPUT, "tokens"),
        "input_sequence_length": stats(PROMPT, "tokens"),
        "input_config": {"endpoint": {"type": "chat"}, "loadgen": {"concurrency": users}},
        "error_summary": [],
    }


def inferencex(users: int, tpot_ms: float, ttft_ms: float) -> dict[str, object]:
    return {
        "hw": "h100", "tp": 1, "ep": 1, "dp_attention": "false", "conc": users, "isl": 1111,
        "osl": 555.5556, "framework": "vllm", "precision": "bf16", "tput_per_gpu": 100.0,
        "mean_ttft": ttft_ms * 1.4e-3, "median_ttft": ttft_ms * 1e-3, "mean_tpot": tpot_ms * 1e-3,
        "median_tpot": tpot_ms * 1e-3, "mean_intvty": 1e3 / tpot_ms,
    }  # fmt: skip


def guidellm() -> dict[str, object]:
    def split(mean: float, median: float | None = None) -> dict[str, object]:
        whole = {"mean": mean, "median": mean if median is None else median, "count": 100}
        return {"successful": whole, "errored": {"mean": 0.0}, "total": whole}

    return {
        "metadata": {"version": 1},
        "benchmarks": [
            {
                "config": {"strategy": {"type_": "concurrent", "streams": users}},
                "metrics": {
                    "request_concurrency": split(0.98 * users),
                    "prompt_token_count": split(PROMPT),
                    "output_token_count": split(OUTPUT),
                    "time_to_first_token_ms": split(ttft_ms * 1.4, ttft_ms),
                    "time_per_output_token_ms": split(tpot_ms + 0.1),
                    "inter_token_latency_ms": split(tpot_ms),
                },
            }
            for users, tpot_ms, ttft_ms in POINTS
        ],
    }


def _calibrated(folder: Path, files: list[Path]) -> list[float]:
    made = folder / "made.json"
    arguments = [*map(str, files), *SERVED, "-o", str(made)]
    calibrate.main(args=arguments, standalone_mode=False)
    tree = json.loads(made.read_text())
    assert tree["points"] == len(POINTS)
    rows = sorted(tree["rows"]["tpot"])
    return [*tree["log_first_token"].values(), *(value for row in rows for value in row)]


def _written(folder: Path, tool: Callable[..., dict[str, object]]) -> list[Path]:
    files = []
    for point in POINTS:
        files.append(folder / f"{tool.__name__}-{point[0]}.json")
        files[-1].write_text(json.dumps(tool(*point)))
    return files


def test_every_tool_gives_the_same_calibration(tmp_path: Path) -> None:
    expected = _calibrated(tmp_path, _written(tmp_path, vllm))
    assert any(abs(value) > 0.01 for value in expected)
    lines = tmp_path / "sglang.jsonl"
    lines.write_text("\n".join(json.dumps(sglang(*point)) for point in POINTS))
    one = tmp_path / "guidellm.json"
    one.write_text(json.dumps(guidellm()))
    tools = [_written(tmp_path, aiperf), _written(tmp_path, inferencex), [lines], [one]]
    for files in tools:
        found = _calibrated(tmp_path, files)
        assert found == pytest.approx(expected, abs=2e-3), files[0].name


def test_a_result_without_a_concurrency_says_what_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "rate.json"
    path.write_text(json.dumps({**vllm(*POINTS[0]), "max_concurrency": None}))
    with pytest.raises(InputError, match="needs a concurrency"):
        calibrate.main(args=[str(path), *SERVED], standalone_mode=False)
