"""Our way of walking trees gives what scikit-learn's own does; what is missing is named."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor  # type: ignore[import-untyped] # no types

from headway import errors
from headway.errors import InputError, MissingExtraError
from headway.predict import Observation
from headway.predict.fitting import _float32_below, flat_trees
from headway.predict.training import train, training_scores

MadeUp = Callable[..., list[Observation]]


@pytest.mark.parametrize("depth", [1, 3, 6])
def test_flat_trees_predict_what_the_library_does(depth: int) -> None:
    random = np.random.default_rng(depth)
    rows = np.round(random.normal(size=(800, 7)), 1).astype(np.float32)
    goal = rows[:, 0] + np.sin(3 * rows[:, 1]) + random.normal(0, 0.1, 800)
    ensemble = HistGradientBoostingRegressor(max_iter=30, max_depth=depth, max_leaf_nodes=None)
    ensemble.fit(rows, goal)
    trees = flat_trees([predictors[0].nodes for predictors in ensemble._predictors])
    trees = replace(trees, start=float(ensemble._baseline_prediction[0, 0]))
    fresh = np.concatenate([rows, random.normal(size=(500, 7)).astype(np.float32)])
    np.testing.assert_allclose(trees.predict(fresh), ensemble.predict(fresh), atol=2e-5)


def test_a_cut_never_moves_a_32_bit_number_across_it() -> None:
    random = np.random.default_rng(0)
    for low in random.normal(size=200).astype(np.float32):
        high = np.nextafter(low, np.float32(np.inf))
        cut = _float32_below((float(low) + float(high)) / 2)
        assert low <= cut < high


def test_training_without_its_library_says_how_to_get_it(
    made_up: MadeUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errors, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"headway\[train\]"):
        train(made_up(60))


def test_a_hold_out_needs_enough_left(made_up: MadeUp) -> None:
    assert training_scores(made_up(60), hold_out=0) == []
    with pytest.raises(InputError, match="leaves 48 of 60"):
        training_scores(made_up(60), hold_out=0.2)
    with pytest.raises(InputError, match=r"from 0 to 0\.5"):
        training_scores(made_up(60), hold_out=0.7)
