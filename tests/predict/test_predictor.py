import copy
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.errors import InputError
from headway.predict import LengthPredictor, Observation, TextPredictor
from headway.predict.evaluate import kendall_tau
from headway.predict.training import train
from headway.workload.request import Request

MadeUp = Callable[..., list[Observation]]
anything = st.text(alphabet=st.characters(exclude_categories=()), max_size=400)


def ask(prompt: str, model: str = "m", limit: int | None = None, tenant: str = "") -> Request:
    return Request(prompt, 0.0, prompt, 1, limit, model, tenant)


def test_it_orders_what_it_has_learned(trained: TextPredictor, made_up: MadeUp) -> None:
    test = made_up(200, seed=9)
    found = trained.predict([o.request(i) for i, o in enumerate(test)])
    tau = kendall_tau([p.at(0.5) for p in found], [o.output_tokens for o in test])
    assert tau is not None
    assert tau > 0.6


def test_its_quantiles_cover_what_they_say(trained: TextPredictor, made_up: MadeUp) -> None:
    test = made_up(600, seed=10)
    found = trained.predict([o.request(i) for i, o in enumerate(test)])
    lengths = [o.output_tokens for o in test]
    for level in (0.1, 0.5, 0.9):
        share = np.mean([n <= p.at(level) for n, p in zip(lengths, found, strict=True)])
        assert share == pytest.approx(level, abs=0.07)


@given(prompt=anything, limit=st.integers(1, 4000) | st.none())
@settings(max_examples=60)
def test_any_prompt_gets_an_answer(prompt: str, limit: int | None, trained: TextPredictor) -> None:
    (found,) = trained.predict([ask(prompt, limit=limit)])
    tokens = [t for _, t in found.quantiles]
    assert tokens == sorted(tokens)
    assert limit is None or tokens[-1] <= limit


def test_a_batch_is_its_requests_one_by_one(trained: TextPredictor, made_up: MadeUp) -> None:
    requests = [o.request(i) for i, o in enumerate(made_up(20, seed=3))]
    together = trained.predict(requests)
    for request, found in zip(requests, together, strict=True):
        (alone,) = trained.predict([request])
        np.testing.assert_allclose(alone.quantiles, found.quantiles, rtol=1e-5)


def test_nothing_asked_nothing_said(trained: TextPredictor) -> None:
    assert trained.predict([]) == []


def test_constant_lengths_are_learned(trained: TextPredictor, made_up: MadeUp) -> None:
    predictor = copy.deepcopy(trained)
    requests = [o.request(i) for i, o in enumerate(made_up(600, seed=4))]
    for request in requests:
        predictor.predict([request])
        predictor.observe(request, 77)
    found = predictor.predict([o.request(i) for i, o in enumerate(made_up(40, seed=5))])
    medians = np.array([p.at(0.5) for p in found])
    assert np.median(medians) == pytest.approx(77, rel=0.2)
    before = trained.predict([o.request(i) for i, o in enumerate(made_up(40, seed=5))])
    assert np.std(np.log(medians)) < 0.4 * np.std(np.log([p.at(0.5) for p in before]))


def test_a_new_model_is_doubted_until_it_was_seen(trained: TextPredictor, made_up: MadeUp) -> None:
    predictor = copy.deepcopy(trained)
    spread = {}
    asked = [ask(o.prompt, "wordy") for o in made_up(20, seed=6)]

    def width() -> float:
        return float(
            np.mean([np.log1p(p.at(0.9)) - np.log1p(p.at(0.1)) for p in predictor.predict(asked)])
        )

    spread["known"] = float(
        np.mean(
            [
                np.log1p(p.at(0.9)) - np.log1p(p.at(0.1))
                for p in predictor.predict([ask(r.prompt) for r in asked])
            ]
        )
    )
    spread["new"] = width()
    for i, o in enumerate(made_up(200, seed=7, model="wordy", factor=5.0)):
        predictor.observe(o.request(i), o.output_tokens)
    spread["seen"] = width()
    assert spread["new"] > spread["known"]
    assert spread["seen"] < spread["new"]
    ratio = np.median(
        [
            wordy.at(0.5) / plain.at(0.5)
            for wordy, plain in zip(
                predictor.predict(asked),
                trained.predict([ask(r.prompt) for r in asked]),
                strict=True,
            )
        ]
    )
    assert ratio == pytest.approx(5.0, rel=0.3)


def test_observing_unseen_and_predicted_requests_is_the_same(trained: TextPredictor) -> None:
    one, other = copy.deepcopy(trained), copy.deepcopy(trained)
    request = ask("Write an essay about rain.")
    one.predict([request])
    one.observe(request, 900)
    other.observe(request, 900)
    assert one.predict([request]) == other.predict([request])


def test_training_is_deterministic(made_up: MadeUp) -> None:
    log = made_up(120, seed=8)
    one, other = (train(log, num_trees=10) for _ in range(2))
    asked = [o.request(i) for i, o in enumerate(log[:10])]
    assert one.predict(asked) == other.predict(asked)


def test_answers_cut_by_the_limit_do_not_pull_it_down(trained: TextPredictor) -> None:
    free, cut = copy.deepcopy(trained), copy.deepcopy(trained)
    for i in range(60):
        prompt = f"Write an essay about chalk. ({i})"
        cut.observe(ask(prompt, limit=20), 20)
        free.observe(ask(prompt), 20)
    asked = [ask("Write an essay about chalk.")]
    assert cut.predict(asked)[0].at(0.5) > 2 * free.predict(asked)[0].at(0.5)


@pytest.mark.parametrize("count", [0, 10, 49])
def test_too_little_to_learn_from_is_refused(count: int, made_up: MadeUp) -> None:
    with pytest.raises(InputError, match="at least 50"):
        train(made_up(count))


def test_one_prompt_repeated_can_be_learned() -> None:
    log = [Observation("Hello", 5 + i % 3) for i in range(60)]
    found = train(log, num_trees=5).predict([Request("a", 0.0, "Hello", 1)])
    assert found[0].at(0.5) == pytest.approx(6, abs=1.5)


@pytest.mark.parametrize("tokens", [-1, 10**9])
def test_an_impossible_length_is_refused(tokens: int, trained: TextPredictor) -> None:
    with pytest.raises(InputError, match="output_tokens"):
        copy.deepcopy(trained).observe(ask("Hello"), tokens)


def test_it_is_a_length_predictor(trained: TextPredictor) -> None:
    seam: LengthPredictor = trained
    assert seam.predict([ask("Hello")])[0].at(0.5) >= 0
