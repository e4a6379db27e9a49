"""An error model is a normal distribution, conditioned: the plain formula says the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.steptime.error_model import FEATURES, HIGHEST, LOWEST, ErrorModel, Evidence

LEVELS = ("all", "engine", "model")
SUBJECT = {"all": "all", "engine": "engine 1", "model": "model 2"}


def _model(seed: int, count: int) -> ErrorModel:
    random = np.random.default_rng(seed)
    groups = [
        ("all", f"engine {random.integers(3)}", ("", "model 1", "model 2")[random.integers(3)])
        for _ in range(count)
    ]
    return ErrorModel(
        levels=LEVELS,
        variances=random.uniform(0.0, 0.1, (len(LEVELS), len(FEATURES))),
        rest=0.01,
        evidence=Evidence(
            groups=np.array(groups),
            features=random.normal(0, 1, (count, len(FEATURES))),
            error=random.normal(0, 0.3, count),
            noise=random.uniform(0.005, 0.02, count),
        ),
    )


def _by_formula(model: ErrorModel) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the weights of `SUBJECT`, as one normal given the others."""
    evidence = model.evidence
    groups, features, names = evidence.groups, evidence.features, list(SUBJECT.values())
    covariance = np.diag(evidence.noise)
    shared = np.zeros((len(groups), len(FEATURES)))
    for i, one in enumerate(groups):
        for level, variances in enumerate(model.variances):
            if one[level] and one[level] == names[level]:
                shared[i] += variances * features[i]
            for j, other in enumerate(groups):
                if one[level] and one[level] == other[level]:
                    covariance[i, j] += features[i] @ (variances * features[j])

    told = np.linalg.solve(covariance, shared)
    prior = np.diag(model.variances.sum(axis=0))
    return told.T @ evidence.error, prior - shared.T @ told


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 7, 60]))
def test_weights_are_those_of_the_plain_formula(seed: int, count: int) -> None:
    model = _model(seed, count)
    mean, covariance = _by_formula(model)
    weights = model.weights(SUBJECT)
    assert np.allclose(weights.mean, mean, rtol=0, atol=1e-11)
    assert np.allclose(weights.covariance, covariance, rtol=0, atol=1e-11)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 9))
def test_own_loads_tell_of_loads_near_them_as_the_plain_formula_says(seed: int, num: int) -> None:
    """One normal law of the evidence, a subject's own loads and two questions about it."""
    random, model = np.random.default_rng(seed), _model(seed, 20)
    loads = random.normal(0, 1, (num, len(FEATURES)))
    error = random.normal(0, 0.3, num)
    own = Evidence(
        np.tile(list(SUBJECT.values()), (num, 1)), loads, error, np.full(num, model.noise)
    )
    after = model.given(own)

    # Groups are shared as ever; of the subject's own rest, half is smooth.
    questions = random.uniform(-0.5, 0.5, (2, len(FEATURES)))
    _, covariance = model.joint([SUBJECT] * (num + 2), np.vstack([loads, questions]))
    place = np.vstack([loads, questions])[:, 1:3]
    alike = np.exp(-((place[:, None] - place) ** 2).sum(axis=-1) / 2)
    covariance += model.rest * (alike - np.eye(num + 2)) / 2
    told = np.linalg.solve(covariance[:num, :num], covariance[:num, num:])
    before = model.weights(SUBJECT).mean
    expected = questions @ before + told.T @ (error - loads @ before)
    variance = covariance[num:, num:] - covariance[num:, :num] @ told

    weights = after.weights(SUBJECT)
    clipped = np.clip(questions, LOWEST, HIGHEST)
    inside = np.all(clipped == questions, axis=1)
    assert np.allclose(weights.expected(questions)[inside], expected[inside], rtol=0, atol=1e-9)
    assert np.allclose(weights.variance(questions), np.diag(variance), rtol=0, atol=1e-9)
    assert np.allclose(after.joint([SUBJECT] * 2, questions)[1], variance, rtol=0, atol=1e-9)

    # Others hear of them through shared groups alone, and nobody becomes less sure.
    other = {**SUBJECT, "model": "model 1"}
    assert after.weights(other).near is None
    for groups in (SUBJECT, other):
        old, new = (one.weights(groups).variance(questions) for one in (model, after))
        assert np.all(new <= old + 1e-9)


@given(st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_errors_stray_by_the_factor_of_their_groups(seed: int) -> None:
    plain = _model(seed, 20)
    model = ErrorModel(
        plain.levels,
        plain.variances,
        plain.rest,
        plain.evidence,
        {("engine", "engine 1"): 1.5, ("model", "model 1"): 3.0},
    )
    features = np.array([[1.0, 0.5, -0.2, 0.3], [1.0, 0.0, 0.0, 0.0]])
    other = {**SUBJECT, "engine": "engine 2"}
    for row in features:
        wider, narrower = model.weights(SUBJECT).variance(row), plain.weights(SUBJECT).variance(row)
        assert wider == pytest.approx(1.5**2 * narrower)
        assert model.weights(other).variance(row) == pytest.approx(
            plain.weights(other).variance(row)
        )

    # Jointly, too: the diagonal is what each has alone, and correlations stay.
    mean, covariance = model.joint([SUBJECT, other], features)
    mean_before, before = plain.joint([SUBJECT, other], features)
    assert np.allclose(mean, mean_before)
    assert np.diag(covariance) == pytest.approx(
        [model.weights(SUBJECT).variance(features[0]), model.weights(other).variance(features[1])]
    )
    correlation = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
    assert correlation == pytest.approx(before[0, 1] / np.sqrt(before[0, 0] * before[1, 1]))
