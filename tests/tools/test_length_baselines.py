"""What others' predictors see of a prompt still predicts."""

import numpy as np
import pytest
from tools.length_baselines import PEERS, lexical_row

from headway.predict import Observation
from headway.predict.evaluate import predicted, score

WORDS = ("Explain", "List", "Name")


def _log(count: int) -> list[Observation]:
    random = np.random.default_rng(0)
    return [
        Observation(f"{WORDS[i % 3]} thing {i}.", int(10 ** (i % 3 + 1) * random.uniform(1, 2)))
        for i in range(count)
    ]


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_predicts_distributions(name: str) -> None:
    log = _log(300)
    predictions = predicted(PEERS[name]().fit(log), [*log[:50], Observation("", 1)])
    scores = score(predictions[:50], [o.output_tokens for o in log[:50]])
    assert 0.6 < scores.coverage[0.9] <= 1


def test_lexical_rows_have_19_numbers() -> None:
    row = lexical_row("Explain why a list is short?")
    assert len(row) == 19
    assert row[2:5] == [1, 1, 1]
    assert sum(row[6:]) == 1
    assert lexical_row("")[-1] == 1
