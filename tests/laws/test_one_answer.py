"""One question has one answer: twenty questions through every command that can answer them."""

from __future__ import annotations

import json
import re
from itertools import product
from pathlib import Path
from typing import Any

import pytest

import headway as hw
from headway.cli.main import main
from headway.schedule.expectation import expected_service
from headway.workload.step import Step

MODELS = ("llama-3.1-8b", "llama-3.3-70b", "qwen3-32b", "qwen3-30b-a3b", "deepseek-v3")
QUESTIONS = list(product(MODELS, ("h100", "mi300x"), ("none", "vllm")))
LENGTHS = ("--prompt", "512", "--output", "64")


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Any:
    """Return a function that gives the JSON that a command prints."""

    def run(*words: str) -> dict[str, Any]:
        with pytest.raises(SystemExit) as stop:
            main([*words, "--json", "-"])
        printed = capsys.readouterr()
        assert stop.value.code in (0, None), printed.err
        answer: dict[str, Any] = json.loads(printed.out)
        return answer

    return run


@pytest.mark.parametrize(("model", "chip", "engine"), QUESTIONS)
def test_every_command_gives_the_same_answer(
    ask: Any, model: str, chip: str, engine: str, tmp_path: Path
) -> None:
    asked = (model, "--on", chip, "--engine", engine, *LENGTHS)

    # The frontier's preferred point is what estimate says of its layout, to the last digit.
    front = ask("frontier", *asked, "--max-accelerators", "16")
    point = front["rows"][front["marks"]["preferred"]]
    layout = dict(re.findall(r"(tp|pp|dp|ep)(\d+)", point["layout"]))
    degrees = [word for name, degree in layout.items() for word in (f"--{name}", degree)]
    at_once = ("--concurrency", str(point["concurrency"]))
    estimate = ask("estimate", *asked, *degrees, *at_once)["rows"][0]
    assert {**point, "on_front": None} == {**estimate, "on_front": None}

    # Python answers as the command does.
    name = f"{model}@{point['num_accelerators']}x{chip}:{point['layout']}"
    deployment = hw.deployment(name, engine=engine)
    served = deployment.serve(hw.Load(prompt=512, output=64, concurrency=point["concurrency"]))
    assert float(served.tpot_s.expected) == estimate["tpot_s"]
    assert float(served.ttft_s.expected) == estimate["ttft_s"]

    # What explain takes apart is the same time per token.
    if engine != "none":
        title = ask("explain", *asked, *degrees, *at_once)["title"]
        assert f"{estimate['tpot_s'] * 1e3:.3g} ms" in title

    # A gateway that is told the deployment expects its step times.
    step_s = deployment.step_time(batch=16, context=1024).expected_s
    assert expected_service(deployment).output_token_s == float(step_s)
    assert deployment.step_time_model.step_time(Step.decode(16, 1024)).expected_s == step_s

    # One request alone: the idealized runtime is the end-to-end time of the fastest layout.
    alone = ask("ideal", *asked)["rows"][0]
    single = ask("estimate", *asked, "--accelerators", str(alone["num_accelerators"]))["rows"][0]
    assert alone["runtime_s"] == pytest.approx(single["e2e_s"], rel=1e-4)

    # So it is for a lone user in the simulator, whose steps come from a table of the same model.
    trace = tmp_path / "trace.csv"
    lines = [f"{1000 * request},512,64" for request in range(3)]
    trace.write_text("\n".join(["arrival_s,prompt_tokens,output_tokens", *lines]))
    name = f"{model}@{single['num_accelerators']}x{chip}:{single['layout']}"
    runs = ask(
        "simulate", str(trace), "--on", name, "--engine", engine, "--policy", "fcfs", "--seeds", "1"
    )
    assert runs["rows"][0]["tpot_mean_s"] == pytest.approx(single["tpot_s"], rel=0.02)
    assert runs["rows"][0]["ttft_mean_s"] == pytest.approx(single["ttft_s"], rel=0.02)
