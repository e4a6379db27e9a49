import numpy as np

from headway.predict.length_model import LogLengths
from headway.predict.online import OnlineState
from headway.predict.prediction import LEVELS
from headway.predict.repeats import MAX_PROMPTS, PromptMemory

LOGITS = np.log(LEVELS) - np.log1p(-np.array(LEVELS))


def test_a_prompt_that_is_new_is_not_moved() -> None:
    memory = PromptMemory()
    memory.observe(1, 0.8)
    assert memory.shift(2) == (0.0, 1.0)


def test_more_answers_move_a_prompt_further_and_leave_less_doubt() -> None:
    memory = PromptMemory()
    shifts = []
    for _ in range(4):
        memory.observe(1, 0.5)
        shifts.append(memory.shift(1))
    moves, spreads = zip(*shifts, strict=True)
    assert list(moves) == sorted(moves)
    assert list(spreads) == sorted(spreads, reverse=True)
    assert 0.2 < moves[0] < moves[-1] < 0.65


def test_prompts_that_tell_nothing_are_found_out() -> None:
    random = np.random.default_rng(0)
    memory = PromptMemory()
    for i in range(4000):
        memory.observe(i % 500, float(random.normal()))
    assert memory.slope < 0.15


def test_prompts_that_tell_all_are_trusted() -> None:
    random = np.random.default_rng(0)
    own = random.normal(size=500)
    memory = PromptMemory()
    for i in range(2000):
        memory.observe(i % 500, float(own[i % 500] + 0.1 * random.normal()))
    assert memory.slope > 1.1


def test_the_oldest_prompts_are_forgotten() -> None:
    memory = PromptMemory()
    for i in range(MAX_PROMPTS + 10):
        memory.observe(i, 1.0)
    assert memory.shift(5) == (0.0, 1.0)
    assert memory.shift(MAX_PROMPTS)[0] > 0


def test_what_one_model_wrote_tells_of_another() -> None:
    """Two models with lengths of their own, prompts that either answers at its own length."""
    random = np.random.default_rng(3)
    state = OnlineState(np.array([0.5, 1e-9]))
    base = LogLengths(np.zeros(1), np.ones(1), 0.5 * LOGITS[None])
    features = np.ones(2)
    covered, near, far = np.zeros(len(LEVELS)), [], []
    for prompt in range(900):
        own = random.normal()
        for model, usual in (("terse", -1.0), ("wordy", 1.0)):
            length = usual + own + 0.5 * random.normal()
            if prompt >= 300 and model == "wordy":
                row = state.quantiles(model, "", features[None], base, [prompt])[0]
                covered += length <= row
                near.append(abs(length - row[7]))
                far.append(abs(length - state.quantiles(model, "", features[None], base)[0][7]))
            state.observe(
                model, "", features=features, base=base, log_tokens=length, cut=False, prompt=prompt
            )
    assert np.mean(near) < 0.75 * np.mean(far)
    np.testing.assert_allclose(covered / 600, LEVELS, atol=0.09)
