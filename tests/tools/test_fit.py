"""The fit finds what made the points, and shares it with groups it has not seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tools.kernel_factors import FRACTIONS, kernel_factors
from tools.pooled_fit import Level, PooledFit
from tools.serving_coefficients import fit_power

from headway.dtypes import DType
from headway.hardware.cluster import Cluster
from headway.measure.coefficient_fit import Observed
from headway.model.architecture import ModelArchitecture
from headway.model.precision import Precision
from headway.serving.closed_loop import ClosedLoop
from headway.serving.serving_point import ServingPoint, stack_points
from headway.serving.tabulated import serving_times
from headway.steptime.deployment import Deployment
from headway.steptime.kernel_coefficients import AT, Coefficients
from headway.steptime.power import PowerModel

BF16 = Precision(DType.BF16, DType.BF16, DType.BF16)


@pytest.fixture
def points(h100: Cluster, llama_8b: ModelArchitecture) -> list[ServingPoint]:
    return [
        ServingPoint(
            source="made",
            deployment=Deployment(llama_8b, h100, tp=tp, precision=BF16, engine="vllm"),
            load=ClosedLoop(isl, 500, users),
        )
        for tp in (1, 2, 8)
        for isl in (500, 4000)
        for users in (1, 4, 16, 64)
    ]


def test_the_fit_predicts_what_it_was_made_of(points: list[ServingPoint]) -> None:
    truth = Coefficients(bandwidth_16=0.6, kernel_s=6e-6, flops_16=0.5, request_s=0.05).vector()
    table = stack_points(points)
    times = serving_times(table, truth)
    nothing = np.full(len(points), np.nan)
    observed = Observed(
        np.log(times.tpot_s), np.log(times.ttft_s), nothing, np.ones(len(points)) * 10
    )
    groups = {"engine": ["vllm"] * len(points), "hardware": ["test"] * len(points)}
    fit = PooledFit([Level("engine", 0.3)], [Level("hardware", 0.05)], max_steps=20)
    _, stretch = fit.fit(table, groups, observed).theta(groups, len(points))
    nothing_more = np.zeros(len(points))
    fit.fit_first_token(
        table, groups, observed, stretch=np.log(stretch), prompt_stretch=nothing_more
    )
    theta, _ = fit.theta(groups, len(points))
    found = serving_times(table, theta, stretch)
    assert np.max(np.abs(found.tpot_s / times.tpot_s - 1)) < 0.05
    assert np.max(np.abs(found.ttft_s / times.ttft_s - 1)) < 0.15
    unseen, _ = fit.theta({"engine": ["other"], "hardware": ["new"]}, 1)
    assert np.all(np.isfinite(unseen))


def test_points_that_are_predicted_already_move_nothing(points: list[ServingPoint]) -> None:
    table = stack_points(points)
    prior = Coefficients()
    times = serving_times(table, prior.vector())
    nothing = np.full(len(points), np.nan)
    observed = Observed(np.log(times.tpot_s), nothing, nothing, np.ones(len(points)))
    fit = PooledFit([], [], prior).fit(table, {}, observed)
    assert np.max(np.abs(fit.coefficients_["global", ""])) < 1e-9


def test_power_is_found_again(points: list[ServingPoint]) -> None:
    table = stack_points(points)
    times = serving_times(table, Coefficients().vector())
    truth = PowerModel(0.2, 0.5, 0.3, 0.0)
    chip = points[0].deployment.cluster.accelerator
    watts = truth.power_w(chip, *table.peak_use(times))
    measured = [replace(p, power_w=float(w)) for p, w in zip(points, watts, strict=True)]
    found = fit_power(measured, table, times)
    assert found.running == pytest.approx(0.2, abs=0.01)
    assert found.arithmetic == pytest.approx(0.5, abs=0.05)
    assert found.memory == pytest.approx(0.3, abs=0.05)
    assert found.spread < 0.02


def test_kernels_of_the_reference_chips_average_to_none() -> None:
    factors = kernel_factors()
    assert set(factors) == set(FRACTIONS)
    mean = np.mean([factors[name] for name in ("h100", "h200", "b200")], axis=0)
    assert mean[AT["bandwidth_16"]] == pytest.approx(0, abs=1e-12)
    assert factors["a100"][AT["flops_4"]] == 0  # not native: nothing was measured
