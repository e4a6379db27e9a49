from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.errors import InputError
from headway.ideal.tradeoff import Score, dominates, layers, notes, ranks, standings

# Few distinct values, so that ties are common.
points = st.lists(st.tuples(st.integers(0, 6), st.integers(1, 6)), min_size=1, max_size=14)


def arrays(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    score, cost = np.asarray(pairs, dtype=np.float64).T
    return score, cost


@given(points)
def test_nothing_on_the_front_is_beaten_and_all_else_is_by_the_front(
    pairs: list[tuple[int, int]],
) -> None:
    score, cost = arrays(pairs)
    beats, front = dominates(score, cost), layers(score, cost) == 0
    assert front.any()
    assert not beats[:, front].any()
    assert beats[np.ix_(front, ~front)].any(axis=0).all()


@given(points)
def test_only_order_matters_and_equals_stand_or_fall_together(pairs: list[tuple[int, int]]) -> None:
    score, cost = arrays(pairs)
    layer = layers(score, cost)
    assert np.array_equal(layer, layers(np.exp(score), np.log(cost)))
    assert np.array_equal(layer[::-1], layers(score[::-1], cost[::-1]))
    for i, point in enumerate(pairs):
        assert layer[i] == layer[pairs.index(point)]


@given(points)
def test_each_layer_is_beaten_by_the_one_before(pairs: list[tuple[int, int]]) -> None:
    score, cost = arrays(pairs)
    layer, beats = layers(score, cost), dominates(score, cost)
    for number in range(1, int(layer.max()) + 1):
        above, here = layer == number - 1, layer == number
        assert beats[np.ix_(above, here)].any(axis=0).all()


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_ranks_add_up_and_ties_share(values: list[int]) -> None:
    places = ranks(np.asarray(values, dtype=np.float64))
    assert places.sum() == pytest.approx(len(values) * (len(values) - 1) / 2)
    assert places[int(np.argmax(values))] == places.min()


def test_the_papers_front_of_boolq() -> None:
    # Accuracy and mean idealized runtime on A100s, from the published comparison figures.
    rows = [("j1-large", "boolq", 0.683, 0.036), ("j1-grande", "boolq", 0.722, 0.075),
            ("anthropic", "boolq", 0.815, 0.232), ("davinci", "boolq", 0.722, 0.402)]  # fmt: skip
    by_model = {s.model: s for s in standings([Score(*row) for row in rows])}
    assert [m for m, s in by_model.items() if s.on_front] == ["j1-large", "j1-grande", "anthropic"]
    assert by_model["davinci"].beaten_by == "anthropic"


def test_rows_are_averaged_and_unequal_numbers_are_said() -> None:
    scores = [
        Score("a", "x", 0.4, 1.0),
        Score("a", "x", 0.6, 3.0),
        Score("b", "x", 0.5, 1.0),
        Score("b", "y", 1.0, 1.0),
    ]
    rows = standings(scores)
    a = next(s for s in rows if s.model == "a")
    assert (a.score, a.metric, a.num_rows) == (0.5, 2.0, 2)
    assert a.beaten_by == "b"
    text = " ".join(notes(rows))
    assert "unequal numbers of rows in x" in text
    assert "1 of 2 models are not in every scenario" in text
    assert {s.model: s.mean_rank for s in rows} == {"b": 0.0, "a": 1.0}


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(InputError, match="at least one row"):
        standings([])
    for cost in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="above 0"):
            standings([Score("a", "x", 0.5, cost)])
