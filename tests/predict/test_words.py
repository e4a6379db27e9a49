import copy

import numpy as np

from headway.predict import Observation, TextPredictor
from headway.predict.words import DRIFT, PRIOR, PromptGrams, WordCorrection


def grams(*columns: int) -> PromptGrams:
    return PromptGrams(np.array(columns, np.int32), np.ones(len(columns), np.float32))


def test_one_word_is_learned_as_a_bayesian_mean() -> None:
    words, rng = WordCorrection(4), np.random.default_rng(0)
    errors = 0.7 + 0.3 * rng.standard_normal(20)
    for error in errors:
        mean, _ = words.correction(grams(2))
        words.observe(grams(2), float(error) - mean, noise=0.3**2)

    precision = 1 / PRIOR + 20 / 0.3**2
    mean, variance = words.correction(grams(2))
    assert np.isclose(mean, errors.sum() / 0.3**2 / precision, rtol=0.01)
    assert np.isclose(variance, 1 / precision, rtol=20 * DRIFT * PRIOR * precision)


def test_a_word_that_was_not_seen_is_not_moved() -> None:
    words = WordCorrection(4)
    words.observe(grams(0, 1), 2.0, noise=1.0)
    assert words.correction(grams(0, 1))[0] > words.correction(grams(0))[0] > 0
    np.testing.assert_allclose(words.correction(grams(2, 3)), (0.0, 2 * PRIOR), rtol=1e-6)


def test_a_surprise_never_moves_further_than_itself() -> None:
    words = WordCorrection(8)
    for _ in range(50):
        before, _ = words.correction(grams(0, 3, 5))
        words.observe(grams(0, 3, 5), 1.0 - before, noise=0.01)
        after, variance = words.correction(grams(0, 3, 5))
        assert before <= after <= 1.0 + 1e-5
        assert 0 < variance < 3 * PRIOR + 1e-5


def told_apart(trained: TextPredictor, lengths: np.ndarray, model: str) -> float:
    """Return the ratio of medians for two words that training never saw, after 120 answers."""
    predictor = copy.deepcopy(trained)
    words = ("zebra", "yak")
    for i, tokens in enumerate(lengths):
        o = Observation(f"What of {words[i % 2]} number {i // 2}?", 0, "one")
        predictor.observe(o.request(i), int(tokens))
    asked = [Observation(f"What of {word}, then?", 0, model).request(0) for word in words]
    first, second = (one.at(0.5) for one in predictor.predict(asked))
    return first / second


def test_words_that_training_never_saw_are_learned_and_told_to_other_models(
    trained: TextPredictor,
) -> None:
    lengths = np.tile([400, 40], 60)
    shuffled = np.random.default_rng(0).permutation(lengths)
    for model in ("one", "another"):
        assert told_apart(trained, lengths, model) > 3
        assert 1 / 1.5 < told_apart(trained, shuffled, model) < 1.5
