"""A made-up world of prompts and lengths that a predictor can learn in a second."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from headway.predict import Observation, TextPredictor
from headway.predict.training import train

KINDS = {
    "Write an essay about {}.": 400,
    "Name a synonym of {}.": 5,
    "List ten facts about {}.": 150,
    "Is {} heavy? Answer yes or no.": 3,
    "Explain step by step how {} works.": 250,
}
THINGS = [
    "trains",
    "iron",
    "the moon",
    "bread",
    "a violin",
    "glass",
    "tea",
    "snow",
    "a clock",
    "salt",
]


def _made_up(count: int, seed: int = 0, model: str = "m", factor: float = 1.0) -> list[Observation]:
    """Return ``count`` requests whose lengths are log-normal around their kind's."""
    rng = np.random.default_rng(seed)
    kinds = list(KINDS)
    found = []
    for i in range(count):
        kind = kinds[rng.integers(len(kinds))]
        thing = THINGS[rng.integers(len(THINGS))]
        tokens = int(KINDS[kind] * factor * np.exp(rng.normal(0, 0.4)))
        found.append(Observation(f"{kind.format(thing)} ({i})", max(tokens, 1), model))
    return found


@pytest.fixture(scope="session")
def made_up() -> Callable[..., list[Observation]]:
    """Make requests of the made-up world."""
    return _made_up


@pytest.fixture(scope="session")
def trained() -> TextPredictor:
    """Return one predictor for all tests; whoever changes it copies it first."""
    return train(_made_up(400), num_trees=40)
