"""What is scored chooses nothing: neither a form, nor a coefficient, nor an interval."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tools.fit_form import FitForm
from tools.held_out import MODEL, folds, score_fold
from tools.nested_choice import INNER_FOLDS, InnerErrors, choose, inner_folds, strays

from headway.hardware.catalogue import find_cluster
from headway.model.catalogue import find_model
from headway.model.precision import Precision
from headway.serving.closed_loop import ClosedLoop
from headway.serving.serving_point import ServingPoint, logs, stack_points, subject
from headway.serving.tabulated import serving_times
from headway.steptime.deployment import Deployment
from headway.steptime.kernel_coefficients import Coefficients

LEFT_OUT = "qwen3-8b"


@pytest.fixture(scope="module")
def points() -> list[ServingPoint]:
    """Loads of three models on two accelerators, as an engine of made-up efficiency serves them."""
    asked = [
        ServingPoint(
            source="made",
            deployment=Deployment(
                find_model(model),
                find_cluster(hardware),
                precision=Precision.parse("bf16"),
                engine="vllm",
            ),
            load=ClosedLoop(1000, 500, users),
        )
        for model in (LEFT_OUT, "llama-3.1-8b", "mistral-7b")
        for hardware in ("h100", "h200")
        for users in (1, 8, 64)
    ]
    table = stack_points(asked)
    times = serving_times(table, Coefficients(bandwidth_16=0.6, kernel_s=5e-6).vector())
    noise = np.exp(np.random.default_rng(0).normal(0, 0.1, len(asked)))
    return [
        replace(
            point,
            tpot_s=float(times.tpot_s[i] * noise[i]),
            ttft_s=float(times.ttft_s[i]),
            total_tok_per_s=float(times.requests_per_s[i] * 1500),
            power_w=400.0 + 10 * i,
            energy_j=1.0 + 0.1 * i,
        )
        for i, point in enumerate(asked)
    ]


def test_targets_of_the_group_that_is_scored_choose_nothing(points: list[ServingPoint]) -> None:
    own = [i for i, point in enumerate(points) if point.model == LEFT_OUT]
    times = iter(np.random.default_rng(1).permutation([p.tpot_s for p in points if p.tpot_s]))
    others = [
        replace(point, tpot_s=3 * float(next(times)), ttft_s=1.0, power_w=90.0)
        if i in own
        else point
        for i, point in enumerate(points)
    ]

    table, fold = stack_points(points), folds(MODEL, points)
    scores, scores_after = (
        score_fold(MODEL, measured, table, fold, LEFT_OUT) for measured in (points, others)
    )
    for name, (_, lower, upper) in scores.items():
        assert np.array_equal(lower, scores_after[name][1]), name
        assert np.array_equal(upper, scores_after[name][2]), name

    # The answers stay, so that the errors move by what the measurements do.
    moved = logs([others[i].tpot_s for i in own]) - logs([points[i].tpot_s for i in own])
    assert np.allclose(scores_after["tpot"][0] - scores["tpot"][0], moved, rtol=0, atol=1e-12)


def test_groups_stay_whole_inside_a_fold(points: list[ServingPoint]) -> None:
    many = [points[i % len(points)] for i in range(100)]
    labels = [f"group {i % 7}" for i in range(100)]
    inner = inner_folds(many, labels)
    assert len(inner) == INNER_FOLDS
    assert sorted(i for fold in inner for i in fold.left_out) == list(range(100))
    for fold in inner:
        assert not {labels[i] for i in fold.train} & set(fold.labels)


def test_a_fold_chooses_one_of_the_forms(points: list[ServingPoint]) -> None:
    choice = choose(points, stack_points(points), [point.model for point in points])
    assert isinstance(choice.form, FitForm)
    assert all(0.2 < factor < 5 for factor in choice.strays.values())


def test_intervals_become_as_wide_as_errors_were(points: list[ServingPoint]) -> None:
    groups = tuple(subject(points[i % len(points)]).groups for i in range(2000))
    labels = tuple(f"group {i % 400}" for i in range(2000))
    harness = np.full(2000, 0.2)  # whoever measured adds a fifth, which is expected
    error = harness + np.random.default_rng(2).normal(0, 0.3, 2000)
    stated = np.full(2000, 0.1**2)
    factors = strays(InnerErrors(groups, labels, error, harness, stated), ("all",))
    assert np.prod(list(factors.values())) == pytest.approx(3.0, rel=0.1)
