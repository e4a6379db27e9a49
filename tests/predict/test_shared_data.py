"""Loose bounds on real lengths; the exact figures are for `benchmarks/predict_accuracy.py`."""

from pathlib import Path

import pytest
from tools.length_baselines import rules_ridge

from headway.predict import Observation
from headway.predict.evaluate import held_out, scores_by_source
from headway.predict.storage import DEFAULT, default_predictor, read_card
from headway.predict.training import train


@pytest.fixture(scope="module")
def alpaca(shared_data: Path) -> list[Observation]:
    parquet = pytest.importorskip("pyarrow.parquet", reason="reading ../shared needs pyarrow")
    table = parquet.read_table(shared_data / "lengths" / "dev_alpaca_davinci003.parquet")
    return [
        Observation(r["prompt"], r["out_tokens"], r["model"])
        for r in table.to_pylist()
        if r["subset"] == "random_9k"
    ]


def test_the_default_ranks_a_source_it_never_saw(alpaca: list[Observation]) -> None:
    unknown = [Observation(o.prompt, o.output_tokens, "?") for o in alpaca[:1000]]
    tau = scores_by_source(default_predictor(), unknown)["all"].tau
    assert tau is not None
    assert tau > 0.4


@pytest.mark.slow  # 13 s; the made-up world proves the same of 400 rows
def test_two_thousand_rows_beat_the_rules(alpaca: list[Observation]) -> None:
    rest, test = held_out(alpaca[:3000], 1 / 3, seed=0)
    ours = scores_by_source(train(rest, num_trees=120), test)["all"]
    rules = scores_by_source(rules_ridge().fit(rest), test)["all"]
    assert ours.tau is not None
    assert rules.tau is not None
    assert ours.tau > rules.tau + 0.1
    assert ours.pinball_tokens < 0.85 * rules.pinball_tokens
    for level, share in ours.coverage.items():
        assert share == pytest.approx(level, abs=0.06)


def test_the_default_was_not_trained_on_what_it_must_not() -> None:
    card = read_card(DEFAULT)["card"]
    assert not {"alpaca", "code_alpaca_2k", "dialogue"} & set(card["sources"])
    assert "weak" in card["weakness"].lower()
