from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.errors import InputError
from headway.predict import LengthPrediction, Observation, TextPredictor
from headway.predict.evaluate import (
    BASELINES,
    Baseline,
    baseline_scores,
    evaluate,
    held_out,
    kendall_tau,
    predicted,
    score,
    scores_by_source,
)

MadeUp = Callable[..., list[Observation]]
numbers = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=25)


@given(numbers)
def test_tau_is_what_counting_all_pairs_gives(pairs: list[tuple[int, int]]) -> None:
    signs = [(np.sign(a[0] - b[0]), np.sign(a[1] - b[1])) for a, b in combinations(pairs, 2)]
    by_x = sum(x != 0 for x, _ in signs)
    by_y = sum(y != 0 for _, y in signs)
    found = kendall_tau([x for x, _ in pairs], [y for _, y in pairs])
    if by_x == 0 or by_y == 0:
        assert found is None
    else:
        assert found == pytest.approx(sum(x * y for x, y in signs) / (by_x * by_y) ** 0.5)


def test_scores_of_a_perfect_and_of_a_blind_prediction() -> None:
    lengths = list(range(1, 101))
    sharp = [LengthPrediction(((0.1, n - 0.01), (0.9, n + 0.01))) for n in lengths]
    perfect = score(sharp, lengths)
    assert perfect.tau == pytest.approx(1)
    assert perfect.r2 == pytest.approx(1, abs=1e-3)
    assert perfect.mae_tokens < 0.1
    blind = score([LengthPrediction(((0.1, 10.5), (0.5, 50.5), (0.9, 90.5)))] * 100, lengths)
    assert blind.tau is None
    assert blind.coverage == pytest.approx({0.1: 0.1, 0.5: 0.5, 0.9: 0.9})


def test_scores_need_predictions() -> None:
    with pytest.raises(InputError, match="at least one"):
        score([], [])


def test_no_prompt_is_on_both_sides(made_up: MadeUp) -> None:
    log = made_up(100) + made_up(100, model="other")
    train, test = held_out(log, 0.3, seed=0)
    assert len(train) + len(test) == len(log)
    assert not {o.prompt for o in train} & {o.prompt for o in test}


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_predicts_distributions(name: str, made_up: MadeUp) -> None:
    log = made_up(300)
    found = predicted(
        Baseline.fit(log, reads_size=BASELINES[name]), [*log[:50], Observation("", 1)]
    )
    scores = score(found[:50], [o.output_tokens for o in log[:50]])
    assert 0.6 < scores.coverage[0.9] <= 1


def test_the_constant_ranks_nothing(made_up: MadeUp) -> None:
    log = made_up(200)
    assert (
        score(
            predicted(Baseline.fit(log, reads_size=False), log), [o.output_tokens for o in log]
        ).tau
        is None
    )


def test_ours_beats_what_does_not_read(trained: TextPredictor, made_up: MadeUp) -> None:
    test = made_up(400, seed=13)
    ours = scores_by_source(trained, test)["all"]
    beside = {row.name: row for row in baseline_scores(test)}
    for name in ("constant", "input length"):
        assert ours.pinball_tokens < beside[name].pinball_tokens


def test_sources_and_models_are_told_apart(trained: TextPredictor) -> None:
    log = [Observation(f"Name {i}", i + 1, "m", source="ab"[i % 2]) for i in range(20)]
    scores = scores_by_source(trained, log)
    assert {name: s.count for name, s in scores.items()} == {
        "all": 20,
        "model m": 20,
        "a": 10,
        "b": 10,
    }


def test_an_evaluation_stands_beside_baselines(trained: TextPredictor, made_up: MadeUp) -> None:
    report = evaluate(trained, made_up(60))
    assert [row.name for row in report.rows] == [
        "predictor, all",
        "predictor, model m",
        "constant",
        "input length",
    ]
    assert "pinball (tokens)" in report.text()
