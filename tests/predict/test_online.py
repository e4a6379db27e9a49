import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.predict.conformal import WINDOW, LevelWindow
from headway.predict.length_model import LogLengths
from headway.predict.online import (
    MAX_MODELS,
    MAX_TENANTS,
    LinearCorrection,
    OnlineState,
    bound_of,
)
from headway.predict.prediction import LEVELS

NOMINAL = np.array(LEVELS)
inside = st.floats(0.001, 0.999)


@given(st.lists(inside, max_size=60))
def test_recalibrated_levels_keep_their_order(seen: list[float]) -> None:
    levels = LevelWindow(seen).recalibrated(NOMINAL, NOMINAL)
    assert (np.diff(levels) >= -1e-12).all()
    assert ((levels > 0) & (levels < 1)).all()


def test_a_window_forgets_the_oldest() -> None:
    window = LevelWindow()
    for _ in range(WINDOW):
        window.observe(0.9)
    for _ in range(WINDOW):
        window.observe(0.2)
    assert window.ordered == [0.2] * WINDOW


def test_uniform_levels_change_little() -> None:
    window = LevelWindow(np.random.default_rng(0).uniform(size=WINDOW).tolist())
    np.testing.assert_allclose(window.recalibrated(NOMINAL, NOMINAL), NOMINAL, atol=0.04)


def test_stated_coverage_holds_on_exchangeable_lengths() -> None:
    # Predicted far too narrow and too low; the levels alone must mend it.
    rng = np.random.default_rng(1)
    state = OnlineState(np.full(2, 1e-12))
    base = LogLengths(np.zeros(1), np.ones(1), np.log(NOMINAL / (1 - NOMINAL))[None] * 0.3)
    features = np.ones(2)
    covered = np.zeros(len(LEVELS))
    for i in range(1500):
        length = rng.normal(0.8, 1.5)
        if i >= 300:
            row = state.quantiles("m", "", features[None], base)[0]
            covered += length <= row
        state.observe("m", "", features=features, base=base, log_tokens=length, cut=False)
    np.testing.assert_allclose(covered / 1200, NOMINAL, atol=0.04)


def test_a_correction_learns_weights_and_loses_doubt() -> None:
    rng = np.random.default_rng(2)
    correction = LinearCorrection(np.array([1.0, 1.0]))
    rows = rng.normal(size=(400, 2))
    for row in rows:
        correction.observe(row, float(row @ [0.5, -0.3] + rng.normal(0, 0.1)), 0.01)
    np.testing.assert_allclose(correction.mean, [0.5, -0.3], atol=0.03)
    _, variance = correction.correction(np.eye(2))
    assert (variance < 0.01).all()


def test_doubt_never_exceeds_the_prior() -> None:
    correction = LinearCorrection(np.array([0.5, 0.1]))
    for _ in range(5000):
        correction.observe(np.array([1.0, 0.0]), 0.0, 1.0)
    assert (np.diag(correction.covariance) <= correction.prior + 1e-12).all()
    assert (np.linalg.eigvalsh(correction.covariance) > 0).all()


@pytest.mark.parametrize("tenants", [False, True])
def test_names_from_outside_do_not_fill_the_memory(tenants: bool) -> None:
    state = OnlineState(np.full(2, 0.1))
    base = LogLengths(np.zeros(1), np.ones(1), NOMINAL[None])
    for i in range(MAX_TENANTS + 100):
        model, tenant = ("m", str(i)) if tenants else (str(i), "")
        state.observe(model, tenant, features=np.ones(2), base=base, log_tokens=1.0, cut=False)
    assert len(state.models) <= MAX_MODELS
    assert len(state.tenants) <= MAX_TENANTS


def test_a_tenant_starts_from_its_model_and_leaves_it() -> None:
    state = OnlineState(np.full(2, 0.1))
    base = LogLengths(np.zeros(1), np.full(1, 0.3), np.linspace(-1, 1, len(LEVELS))[None])
    row = np.ones(2)
    for _ in range(200):
        state.observe("m", "calm", features=row, base=base, log_tokens=0.0, cut=False)
        state.observe("m", "wordy", features=row, base=base, log_tokens=2.0, cut=False)
    middle = len(LEVELS) // 2
    at = {t: state.quantiles("m", t, row[None], base)[0][middle] for t in ("calm", "wordy", "new")}
    assert at["calm"] < at["new"] < at["wordy"]
    assert at["calm"] == pytest.approx(0.0, abs=0.3)
    assert at["wordy"] == pytest.approx(2.0, abs=0.3)


@given(st.floats(-50, 50), st.floats(-5, 5), st.floats(0.05, 3))
def test_a_lower_bound_never_pulls_down_and_weighs_at_most_an_answer(
    error: float, mean: float, spread: float
) -> None:
    stands_for, weight = bound_of(error, mean, spread)
    assert stands_for >= mean
    assert 0 <= weight <= 1
    if mean + 5 * spread < error < mean + 30 * spread:
        assert stands_for > error - spread


def _state_and_base() -> tuple[OnlineState, LogLengths, np.ndarray]:
    logits = np.log(NOMINAL / (1 - NOMINAL)) * 0.5
    return (
        OnlineState(np.full(2, 0.3)),
        LogLengths(np.zeros(1), np.ones(1), logits[None]),
        np.ones(2),
    )


def test_lengths_are_learned_from_answers_of_which_half_are_cut() -> None:
    state, base, row = _state_and_base()
    rng = np.random.default_rng(3)
    for _ in range(3000):
        length, limit = rng.normal(0.7, 0.8), rng.normal(0.7, 1.0)
        is_cut = length > limit
        state.observe("m", "", features=row, base=base, log_tokens=min(length, limit), cut=is_cut)
    quantiles = state.quantiles("m", "", row[None], base)[0]
    assert quantiles[LEVELS.index(0.5)] == pytest.approx(0.7, abs=0.12)
    assert quantiles[LEVELS.index(0.9)] == pytest.approx(0.7 + 1.28 * 0.8, abs=0.3)


@pytest.mark.parametrize("limit", [-4.0, -1.0, 0.0, 1.0])
@pytest.mark.parametrize("num_before", [0, 50])
def test_a_tenant_whose_answers_are_all_cut_moves_nobody_else(
    limit: float, num_before: int
) -> None:
    state, base, row = _state_and_base()
    rng = np.random.default_rng(4)
    for _ in range(num_before):
        length = rng.normal(0.0, 0.8)
        state.observe("m", "calm", features=row, base=base, log_tokens=length, cut=False)
    before = np.expm1(state.quantiles("m", "calm", row[None], base)[0] + 5)
    for _ in range(1000):
        state.observe("m", "rude", features=row, base=base, log_tokens=limit, cut=True)
    after = np.expm1(state.quantiles("m", "calm", row[None], base)[0] + 5)
    np.testing.assert_allclose(after, before, rtol=0.05)
