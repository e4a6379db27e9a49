from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.errors import InputError
from headway.ideal.estimator import fit_measured_passes, fit_requests
from headway.ideal.idealized import IdealizedRuntime
from headway.measure.measurement import (
    Clock,
    JoinLoad,
    Load,
    Measurement,
    RequestLoad,
    Setup,
    StepLoad,
)
from headway.steptime.fitted import fit_step_log, non_negative
from headway.workload.step import Step

SETUP = Setup("m", "e", "cpu")
LEARN: list[Load] = [
    *(RequestLoad(1, p, o) for p, o in ((1, 32), (16, 1), (64, 1), (512, 1), (512, 32))),
    *(StepLoad(b, 1, c) for b in (1, 2, 8) for c in (16, 512)),
    RequestLoad(4, 64, 4),
]


def truth(load: Load) -> float:
    """Floor, 0.5 ms per new token, and what attention adds."""

    def one(batch: int, new: int, cached: int) -> float:
        scored = batch * (new * (new - 1) / 2 + (new - 1) * cached)
        return 0.01 + 5e-4 * (batch * new - 1) + 2e-6 * batch * cached + 1e-7 * scored

    if isinstance(load, StepLoad):
        return one(load.batch, load.scheduled_tokens, load.computed_tokens)
    b, p = load.batch, load.prompt_tokens
    return one(b, p, 0) + sum(one(b, 1, p + i) for i in range(load.output_tokens - 1))


def measured(loads: list[Load], noise: float = 0.0) -> list[Measurement]:
    source = np.random.default_rng(0)
    return [
        Measurement(
            SETUP,
            load,
            tuple(truth(load) * (1 + noise * source.exponential(size=5))),
            Clock.WALL,
            "",
        )
        for load in loads
    ]


def test_it_is_exact_on_its_own_kind_of_data_and_tells_unseen_batches() -> None:
    fit = fit_measured_passes(measured(LEARN))
    for load in (RequestLoad(3, 100, 20), RequestLoad(6, 400, 3), RequestLoad(1, 7, 7)):
        predicted_s = fit.passes_s(load.passes)
        assert predicted_s == pytest.approx(truth(load), rel=0.01)
    step = fit.step_time(StepLoad(5, 1, 300).passes[0])
    assert float(step.expected_s) == pytest.approx(truth(StepLoad(5, 1, 300)), rel=0.01)
    assert step.lower_s < step.expected_s < step.upper_s


@settings(max_examples=20)
@given(st.integers(1, 30), st.integers(1, 3000), st.integers(1, 3000), st.floats(0, 0.3))
def test_more_work_never_takes_less_time(batch: int, new: int, cached: int, noise: float) -> None:
    fit = fit_measured_passes(measured(LEARN, noise))

    def seconds(*load: int) -> float:
        return float(fit.step_time(StepLoad(*load).passes[0]).expected_s)

    here = seconds(batch, new, cached)
    assert here <= seconds(batch + 1, new, cached)
    assert here <= seconds(batch, new + 1, cached)
    assert here <= seconds(batch, new, cached + 1)


def test_it_serves_as_a_model_of_step_time() -> None:
    fit = fit_measured_passes(measured(LEARN))
    runtime = IdealizedRuntime(fit)
    assert float(runtime.predict(200, 20)) == pytest.approx(
        fit.passes_s(RequestLoad(1, 200, 20).passes), rel=1e-3
    )
    mixed = Step.prefill(1, 64).with_group(Step.decode(4, 300))
    assert fit.step_time(mixed).expected_s > fit.step_time(Step.prefill(1, 64)).expected_s


def test_single_requests_by_the_default_estimator() -> None:
    fit = fit_requests(measured(LEARN))
    assert float(fit.predict(512, 16)) == pytest.approx(truth(RequestLoad(1, 512, 16)), rel=0.03)


def test_too_little_is_refused() -> None:
    with pytest.raises(InputError, match="four measurements"):
        fit_measured_passes(measured(LEARN[:3]))
    with pytest.raises(InputError, match="no request-level"):
        fit_requests(measured([StepLoad(1, 1, 1)]))


@given(st.integers(0, 1000))
@settings(max_examples=25)
def test_non_negative_least_squares_meets_its_conditions(seed: int) -> None:
    source = np.random.default_rng(seed)
    matrix, target = source.normal(size=(12, 5)), source.normal(size=12)
    x = non_negative(matrix, target)
    gradient = matrix.T @ (target - matrix @ x)
    # Karush, Kuhn and Tucker: nothing to gain where x is free, nothing allowed where it is not.
    assert (x >= 0).all()
    assert np.abs(gradient[x > 0]).max(initial=0.0) < 1e-8
    assert gradient[x == 0].max(initial=-1.0) < 1e-8


def test_a_request_that_joins_others_is_the_sum_of_its_passes() -> None:
    def one(batch: int, context: int, prompt: int) -> float:
        """One token for each of ``batch``, and ``prompt`` new ones."""
        new = batch + prompt
        scored = prompt * (prompt - 1) / 2
        return 0.01 + 5e-4 * (new - 1) + 2e-6 * batch * context + 1e-7 * scored

    fit = fit_measured_passes(measured(LEARN))
    load = JoinLoad(4, 100, 60, 1)
    predicted_s = fit.passes_s(load.passes)
    assert predicted_s == pytest.approx(one(4, 100, 60) + one(4, 101, 0), rel=0.02)


def test_a_log_of_passes_gives_their_mean_time() -> None:
    random = np.random.default_rng(2)
    sequences = np.stack([random.integers(0, 9, 2000), random.integers(0, 2, 2000)], axis=1)
    sequences[:, 0] += sequences.sum(axis=1) == 0
    new = np.stack([np.ones(2000), random.integers(2, 300, 2000)], axis=1)
    cached = np.stack([random.integers(1, 500, 2000), np.zeros(2000)], axis=1)
    steps = Step(sequences.astype(np.float64), new, cached, np.ones((2000, 2)))
    tokens = (sequences * new).sum(axis=1)
    true = 0.01 + 5e-4 * tokens + 2e-6 * (sequences * cached).sum(axis=1)
    # What holds a pass up only adds: the mean is what a run of many passes takes.
    fit = fit_step_log(steps, true * (1 + 0.2 * random.exponential(size=2000)))
    predicted_s = fit.step_time(steps).expected_s
    assert predicted_s.sum() == pytest.approx(1.2 * true.sum(), rel=0.02)
    assert np.median(np.abs(predicted_s / (1.2 * true) - 1)) < 0.03
    with pytest.raises(InputError, match="thirty or more"):
        fit_step_log(Step.decode(np.ones(5), np.ones(5)), np.ones(5))
