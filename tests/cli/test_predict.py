import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from headway.cli.predict import predict
from headway.errors import InputError
from headway.report.report import Report


def run(*args: str, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(predict, list(args), input=stdin)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("logs") / "log.jsonl"
    with path.open("w") as lines:
        for i in range(120):
            long = i % 2
            prompt = f"{'Write an essay about' if long else 'Name the colour of'} thing {i}"
            entry = {
                "prompt": prompt,
                "output_tokens": 300 + i if long else 4 + i % 3,
                "model": "m",
            }
            lines.write(json.dumps(entry) + "\n")
    return path


@pytest.fixture(scope="module")
def folder(log: Path) -> Path:
    path = log.parent / "predictor"
    result = run("train", str(log), "-o", str(path), "--json")
    assert result.exit_code == 0, result.output
    held_out, in_sample = Report.from_json(result.stdout).rows
    assert (held_out.name, held_out.count, in_sample.count) == ("held out", 24, 96)
    return path


def test_a_text_is_predicted_without_any_training() -> None:
    result = run("What are the causes and consequences of poverty?", "--json")
    report = Report.from_json(result.stdout)
    (row,) = report.rows
    quantiles = [row.p5_tokens, row.p10_tokens, row.p50_tokens, row.p90_tokens, row.p95_tokens]
    assert quantiles == sorted(quantiles)
    assert row.open_ended > 0
    assert report.question["predictor"] == "default"


def test_the_table_says_how_weak_the_default_is() -> None:
    result = run("Tell me about the history of art")
    assert result.exit_code == 0
    assert "50%" in result.stdout
    assert "weak" in result.stdout


def test_options_may_stand_before_the_text(folder: Path) -> None:
    before = run("--predictor", str(folder), "--json", "-", "Name the colour of rust")
    after = run("Name the colour of rust", "--predictor", str(folder), "--json")
    assert json.loads(before.stdout) == json.loads(after.stdout)


def test_training_is_learned(folder: Path) -> None:
    def median(text: str) -> float:
        result = run(text, "--predictor", str(folder), "--model", "m", "--json")
        return float(Report.from_json(result.stdout).rows[0].p50_tokens)

    assert median("Name the colour of rust") < 20
    assert median("Write an essay about rust") > 200


def test_tokens_so_far_are_a_floor(folder: Path) -> None:
    result = run("Name the colour", "--predictor", str(folder), "--so-far", "50", "--json")
    assert Report.from_json(result.stdout).rows[0].p5_tokens >= 50


@pytest.mark.parametrize("more", [(), ("--online",), ("--no-baselines",)])
def test_evaluation_says_how_good_it_is(folder: Path, log: Path, more: tuple[str, ...]) -> None:
    result = run("evaluate", str(folder), str(log), *more, "--json")
    rows = {row.name: row for row in Report.from_json(result.stdout).rows}
    assert rows["predictor, all"].tau > 0.5
    assert ("constant" in rows) == ("--no-baselines" not in more)
    assert run("evaluate", str(folder), str(log), *more).exit_code == 0


def test_the_card_names_the_data(folder: Path) -> None:
    own = Report.from_json(run("card", str(folder), "--json").stdout).rows[0]
    assert (own.requests, own.models) == (120, "m (120)")
    default = Report.from_json(run("card", "--json").stdout).rows[0]
    assert "Apache-2.0" in default.licence_of_the_data


@pytest.mark.parametrize("text", [b"\xff\xfe\x00", b"", "語".encode() * 400_000])
def test_any_bytes_on_standard_input_get_an_answer(text: bytes) -> None:
    assert run("-", "--json", stdin=text).exit_code == 0


def test_an_empty_text_gets_an_answer() -> None:
    assert run("", "--json").exit_code == 0


@pytest.mark.parametrize(
    "args",
    [
        ("Hi", "--predictor", "nowhere"),
        ("Hi", "--max-tokens", "0"),
        ("Hi", "--so-far", "-3"),
        ("train", "nowhere.jsonl", "-o", "x"),
        ("evaluate", "nowhere", "nowhere.jsonl"),
        ("card", "nowhere"),
    ],
)
def test_a_mistake_is_said_in_one_sentence(args: tuple[str, ...]) -> None:
    result = run(*args)
    assert isinstance(result.exception, InputError)
    assert "\n" not in str(result.exception)


def test_training_writes_nothing_on_a_malformed_log(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"prompt": "a", "output_tokens": 1}\nnonsense\n')
    result = run("train", str(log), "-o", str(tmp_path / "predictor"))
    assert "line 2" in str(result.exception)
    assert [p.name for p in tmp_path.iterdir()] == ["log.jsonl"]


def test_what_cannot_be_trained_is_refused_before_training(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    lines = (f'{{"prompt": "number {i}", "output_tokens": {i + 1}}}\n' for i in range(55))
    log.write_text("".join(lines))
    result = run("train", str(log), "-o", str(tmp_path))
    assert "is no predictor; choose another name" in str(result.exception)
    result = run("train", str(log), "-o", str(tmp_path / "predictor"))
    assert "a hold-out of 0.2 leaves" in str(result.exception)
