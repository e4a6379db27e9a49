"""The command line as a person meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from headway.cli.main import COMMANDS, main
from headway.errors import InputError, MissingExtraError, MissingServerError, UnknownNameError
from headway.report.report import Report

ESTIMATE = ["estimate", "llama-3.1-70b", "--on", "h100"]
FRONTIER = ["frontier", "llama-3.1-70b", "--on", "h100"]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(capsys)


class Run:
    """Runs the command line in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main(list(arguments))
        streams = self.capsys.readouterr()
        return int(stop.value.code or 0), streams.out, streams.err

    def answer(self, *arguments: str) -> Report[Any]:
        code, out, _ = self(*arguments, "--json", "-")
        assert code == 0
        return Report.from_json(out)


def test_frontier_prints_a_table_with_the_three_marks(run: Run) -> None:
    code, out, err = run("frontier", "llama-3.1-70b", "--on", "h100,h200,mi300x")
    assert (code, err) == (0, "")
    for word in (
        "tok/s/user",
        "$/Mtok out",
        "TTFT",
        "vllm",
        "binds",
        "preferred",
        "cheapest",
        "fastest",
    ):
        assert word in out
    assert max(map(len, out.splitlines())) < 200


def test_frontier_writes_what_it_prints(run: Run, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("out.json", "out.html", "out.png")]
    code, _, err = run(
        *FRONTIER, "--precision", "fp8", "--demand", "1e6",
        "--json", str(files[0]), "--html", str(files[1]), "--png", str(files[2]),
    )  # fmt: skip
    assert code == 0, err
    report = Report.from_json(files[0].read_text())
    assert report.kind == "frontier"
    assert report.question["demand_tok_per_s"] == 1e6
    assert report.question["precision"] == "fp8/fp8/bf16"
    assert "llama-3.1-70b" in files[1].read_text()
    assert files[2].read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_a_path_to_a_config_is_a_model(run: Run, tmp_path: Path) -> None:
    config = {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 4096,
        "intermediate_size": 14336, "num_attention_heads": 32, "num_key_value_heads": 8,
        "num_hidden_layers": 32, "vocab_size": 128256, "max_position_embeddings": 131072,
        "torch_dtype": "bfloat16", "tie_word_embeddings": False,
    }  # fmt: skip
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    question = ["--on", "h100", "--concurrency", "8", "--engine", "none"]
    mine = run.answer("estimate", str(path), *question)
    same = run.answer("estimate", "llama-3.1-8b", *question)
    assert mine.rows[0].tpot_s == same.rows[0].tpot_s


def test_estimate_shows_four_components_and_what_binds(run: Run) -> None:
    code, out, _ = run(*ESTIMATE, "--tp", "8", "--concurrency", "64")
    assert code == 0
    for word in ("arithmetic", "memory", "network", "latency", "binds", "$", "basis"):
        assert word in out


def test_estimate_finds_the_fastest_layout_of_eight(run: Run) -> None:
    best = run.answer(*ESTIMATE, "--accelerators", "8").rows[0]
    assert best.num_accelerators == 8
    other = run.answer(*ESTIMATE, "--tp", "4", "--pp", "2").rows[0]
    assert best.e2e_s.expected <= other.e2e_s.expected


def test_estimate_alone_takes_the_fewest_accelerators_that_fit(run: Run) -> None:
    assert run.answer(*ESTIMATE).rows[0].num_accelerators == 2
    assert run.answer("estimate", "llama-3.1-8b", "--on", "h100").rows[0].num_accelerators == 1


def test_a_file_of_ones_own_is_an_accelerator(run: Run) -> None:
    path = Path(__file__).parents[2] / "examples" / "my_chip.toml"
    report = run.answer("estimate", "llama-3.1-8b", "--on", str(path))
    assert report.rows[0].num_accelerators == 1
    assert report.rows[0].engine is None


def test_a_price_and_an_empty_hour_do_what_they_say(run: Run) -> None:
    base = run.answer(*ESTIMATE, "--tp", "8", "--price", "2").rows[0]
    dear = run.answer(*ESTIMATE, "--tp", "8", "--price", "4").rows[0]
    usd = base.usd_per_mtok_output.expected
    assert dear.usd_per_mtok_output.expected == pytest.approx(2 * usd)
    empty = run.answer(*ESTIMATE, "--tp", "8", "--price", "2", "--duty-cycle", "25%").rows[0]
    assert empty.usd_per_mtok_output.expected == pytest.approx(4 * usd)


def test_users_who_think_ask_less(run: Run) -> None:
    busy = run.answer(*ESTIMATE, "--tp", "8", "--users", "64").rows[0]
    thinking = run.answer(*ESTIMATE, "--tp", "8", "--users", "64", "--think", "30s").rows[0]
    assert thinking.concurrency < busy.concurrency == 64
    rate = 64 / (30 + thinking.e2e_s.expected)  # Little's law
    assert thinking.requests_per_s == pytest.approx(rate, rel=1e-6)


def test_a_rate_is_served_at_that_rate(run: Run) -> None:
    row = run.answer(*ESTIMATE, "--tp", "8", "--rate", "90/min").rows[0]
    assert row.requests_per_s == pytest.approx(1.5, rel=1e-6)


def test_catalogue_lists_and_shows(run: Run) -> None:
    code, out, _ = run("catalogue", "models")
    assert code == 0
    assert "deepseek-v3" in out
    code, out, _ = run("catalogue", "accelerators")
    assert code == 0
    assert "gb200-nvl72" in out
    for name in ("mi300x", "llama-3.1-70b"):
        code, out, _ = run("catalogue", "show", name)
        assert code == 0
        assert "http" in out


def test_possible_answers_with_the_bound_and_the_exit_code(run: Run) -> None:
    claim = ["possible", "llama-3.1-70b", "--on", "h100", "--prompt", "1", "--output", "1"]
    code, out, _ = run(*claim, "--tok-s", "20", "--usd-per-mtok-output", "0.001")
    assert code == 1
    assert "impossible" in out
    assert "arithmetic of the data sheet" in out
    code, out, _ = run(*claim, "--tok-s", "20", "--usd-per-mtok-output", "5", "--json")
    assert code == 0
    assert json.loads(out)["rows"][0]["verdict"] == "plausible"


def test_what_if_answers_backwards(run: Run) -> None:
    question = ["what-if", "llama-3.1-70b", "--on", "h100", "--engine", "none", "--prefilled"]
    code, out, _ = run(*question, "--tok-s", "60", "--usd-per-mtok-output", "1", "--json")
    assert code == 0
    rows = {row["what"]: row for row in json.loads(out)["rows"]}
    assert rows["memory bandwidth"]["factor"] > 1 > rows["price"]["factor"]
    assert 10 < rows["model"]["needed"] < 100

    code, out, _ = run(*question, "--tok-s", "1", "--usd-per-mtok-output", "100", "--json")
    factors = [row["factor"] for row in json.loads(out)["rows"] if row["what"] != "model"]
    assert (code, set(factors)) == (0, {1.0})
    code, _, _ = run(*question, "--tok-s", "1e5", "--usd-per-mtok-output", "1e-4")
    assert code == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["frontier", "llama-3.1-70", "--on", "h100"], "did you mean llama-3.1-70b"),
        (["frontier", "llama-3.1-70b", "--on", "h1oo"], "h100"),
        (["frontier", "llama-3.1-70b"], "--on"),
        (["frontier", "llama-3.1-70b", "--on", ","], "at least one accelerator"),
        (["fronteer"], "did you mean frontier"),
        (["frontier", "kimi-k2", "--on", "l4", "--max-accelerators", "8"], "GB in all"),
        ([*ESTIMATE, "--concurrency", "0"], "whole number from 1"),
        ([*ESTIMATE, "--concurrency", "-3"], "whole number from 1"),
        ([*ESTIMATE, "--concurrency", "nan"], "must be a number"),
        ([*ESTIMATE, "--concurrency", "1.5"], "whole number"),
        ([*ESTIMATE, "--concurrency", "1e300"], "whole number"),
        ([*ESTIMATE, "--prompt", "1e14"], "at most"),
        ([*ESTIMATE, "--tp", "3"], "tp must divide"),
        ([*ESTIMATE, "--tp", "1"], "lacks"),
        ([*ESTIMATE, "--tp", "8", "--accelerators", "8"], "or a layout"),
        ([*ESTIMATE, "--precision", "fp9"], "unknown number format"),
        ([*ESTIMATE, "--price", "-1"], "price"),
        ([*ESTIMATE, "--duty-cycle", "2"], "fraction"),
        ([*ESTIMATE, "--tp", "8", "--speculate", "mtp"], "no multi-token-prediction head"),
        (
            [*ESTIMATE, "--tp", "8", "--speculate", "llama-3.1-8b", "--acceptance", "1.2"],
            "acceptance",
        ),
        (["estimate", "gpt-3", "--on", "groq-lpu", "--tp", "8", "--prompt", "1k"], "lacks"),
        (["estimate", "gpt-3", "--on", "h100,h200"], "takes one accelerator"),
        (["catalogue", "show", "h1000"], "did you mean h100"),
        ([*FRONTIER, "--json", "/nonexistent/out.json"], "cannot write"),
    ],
)
def test_bad_input_gets_one_sentence_and_code_2(run: Run, arguments: list[str], said: str) -> None:
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    assert said in err
    assert err.startswith("headway: ")
    assert err.count("\n") == 1


def test_bad_files_get_one_sentence(run: Run, tmp_path: Path) -> None:
    not_json = tmp_path / "config.json"
    not_json.write_text("{ hello")
    huge = tmp_path / "huge.json"
    with huge.open("wb") as stream:
        stream.truncate(100_000_000)
    lacking = tmp_path / "lacking.json"
    lacking.write_text('{"model_type": "llama", "hidden_size": 64}')
    for path in (not_json, huge, lacking, tmp_path / "missing.json", tmp_path):
        code, out, err = run("frontier", str(path), "--on", "h100")
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        assert len(err) < 400


def test_nothing_is_half_written(run: Run, tmp_path: Path) -> None:
    good, bad = tmp_path / "out.json", tmp_path / "nowhere" / "out.html"
    code, _, err = run(*FRONTIER, "--json", str(bad), "--html", str(good))
    assert code == 2
    assert "cannot write" in err
    assert not good.exists()


def test_every_command_explains_itself(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    for name in COMMANDS:
        assert name in out
        code, text, _ = run(name, "--help")
        assert code == 0
        assert "Usage" in text


def test_importing_the_core_brings_no_heavy_library() -> None:
    heavy = ["torch", "sklearn", "scipy", "fastapi", "starlette", "matplotlib", "pandas", "rich"]
    check = (
        "import sys, headway, headway.steptime.step_time, headway.frontier.answer;"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("a"), 2),
        (UnknownNameError("model", "a", ["b"]), 2),
        (MissingExtraError("a PNG", "plot"), 3),
        (MissingServerError("a load", "http://localhost:1", "refused"), 3),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(), 0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_exit_code_says_what_happened(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr("headway.cli.main.headway.main", fail)
    monkeypatch.setattr("headway.cli.main._drop_stdout", lambda: None)
    assert run("catalogue")[0] == code


def test_a_closed_pipe_leaves_no_traceback() -> None:
    command = f"{sys.executable} -m headway.cli.main catalogue models | head -n 1"
    ran = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert ran.stderr == ""
    assert ran.stdout.endswith("models\n")
