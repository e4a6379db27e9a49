"""The shipped calibration, and a user's own on top of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headway.dtypes import DType
from headway.errors import DoesNotFitError, InputError, UnknownNameError
from headway.hardware.catalogue import find_cluster
from headway.model.catalogue import find_model
from headway.money.tariff import Tariff
from headway.serving.closed_loop import ClosedLoop
from headway.serving.estimate import ServingEstimate, serve
from headway.steptime.calibration import (
    QUANTITIES,
    Own,
    Subject,
    from_json,
    kernel_format,
    own_to_json,
    read_calibration,
    shipped,
    to_json,
)
from headway.steptime.deployment import Deployment
from headway.steptime.error_model import FEATURES
from headway.steptime.kernel_coefficients import AT
from headway.steptime.power import PowerModel
from headway.steptime.time_estimate import Basis

KNOWN = Subject(
    vendor="nvidia",
    hardware="h200",
    engine="vllm",
    model="llama-3.3-70b",
    weights="fp8",
    family="hopper",
)


def _serve(
    model: str, chip: str, tp: int, load: ClosedLoop, engine: str = "vllm"
) -> ServingEstimate:
    deployment = Deployment(
        find_model(model), find_cluster(chip), tp=tp, precision="fp8", engine=engine
    )
    return serve(deployment, load)


def test_it_reads_what_it_writes() -> None:
    once = to_json(shipped())
    assert to_json(from_json(once, "again")) == once


def test_it_says_where_it_comes_from() -> None:
    kept = shipped().provenance
    assert kept["points"] > 4000
    assert kept["fitted_by"] == "tools/fit_serving.py"
    licences = ("Apache-2.0", "BSD-3-Clause", "MIT")
    assert all(any(name in text for name in licences) for text in kept["sources"].values())


def test_what_was_never_measured_falls_back_and_says_so() -> None:
    calibration = shipped()
    assert calibration.has_measured_of(KNOWN) == (True, True)
    assert calibration.has_measured_of(replace(KNOWN, hardware="my-chip")) == (False, True)
    assert calibration.has_measured_of(replace(KNOWN, model="mine")) == (True, False)
    for subject in (KNOWN, replace(KNOWN, hardware="my-chip"), replace(KNOWN, vendor="google")):
        assert np.all(np.isfinite(calibration.logs(subject)))
        assert np.all(np.abs(calibration.weights(subject).mean) < 1)
    assert calibration.basis(KNOWN, 0.0) is Basis.FITTED
    assert calibration.basis(KNOWN, 4.0) is Basis.ANALYTIC
    assert calibration.basis(replace(KNOWN, vendor="google"), 0.0) is Basis.ANALYTIC


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_intervals_straddle_and_widen_with_novelty(quantity: str) -> None:
    def width(subject: Subject) -> float:
        low, high = shipped().error_factors(subject, quantity)
        assert low < 1 < high
        return high / low

    new_chip, new_model = replace(KNOWN, hardware="my-chip"), replace(KNOWN, model="mine")
    both = replace(new_chip, model="mine")
    foreign = replace(both, vendor="google", family="tpu", kind="another kind")
    assert width(KNOWN) < width(new_chip) <= width(both) <= width(foreign)
    assert width(KNOWN) <= width(new_model) <= width(both)


def test_an_interval_widens_outside_the_measured_range() -> None:
    inside = _serve("llama-3.3-70b", "h200", 8, ClosedLoop(1000, 1000, 16))
    outside = _serve("llama-3.3-70b", "h200", 8, ClosedLoop(64_000, 1000, 16))
    assert float(inside.doubt.octaves) == 0
    assert float(outside.doubt.octaves) > 2

    def width(served: ServingEstimate) -> float:
        return float(served.tpot_s.upper / served.tpot_s.lower)

    assert width(outside) > width(inside)


def test_formats_that_a_chip_must_widen_are_groups_of_their_own() -> None:
    h200, b200 = (find_cluster(name).accelerator for name in ("h200", "b200"))
    assert kernel_format(DType.MXFP4, b200) == "mxfp4"
    assert kernel_format(DType.MXFP4, h200) == "mxfp4 (dequantized)"
    for chip in (h200, b200):
        assert kernel_format(DType.FP8, chip) == "fp8"
        assert kernel_format(DType.FP16, chip) == "fp16"
        assert kernel_format(DType.INT4, chip) == "int4 (dequantized)"


def test_an_unknown_engine_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="vllm"):
        _serve("llama-3.3-70b", "h200", 8, ClosedLoop(1000, 1000, 16), engine="vlm")


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(DoesNotFitError, match="lacks"):
        _serve("llama-3.1-405b", "h100", 2, ClosedLoop(1000, 1000, 1))


def test_published_points_are_met() -> None:
    """Llama 3.3 70B in fp8 with vLLM on 8 H100, 922/922, 64 users: 15.2 to 15.5 ms, 185 ms mean."""
    found = _serve("llama-3.3-70b", "h100", 8, ClosedLoop(922, 922, 64))
    assert float(found.tpot_s.lower) < 15.3e-3 < float(found.tpot_s.upper)
    assert float(found.times.tpot_s) == pytest.approx(15.3e-3, rel=0.15)


def test_power_lies_between_idle_and_tdp() -> None:
    chip = find_cluster("b200").accelerator
    model = PowerModel(0.05, 1.0, 0.5, 0.2)
    watts = model.power_w(chip, np.array([0.0, 0.1, 1.0]), np.array([0.0, 0.2, 1.0]))
    assert chip.idle_w is not None
    assert chip.tdp_w is not None
    assert chip.idle_w < watts[0] < watts[1] < watts[2] == chip.tdp_w


def test_money_counts_empty_hours_and_the_building() -> None:
    assert float(Tariff(3.6).usd_per_loaded_s(0)) == pytest.approx(1e-3)
    assert float(Tariff(3.6, 0.5).usd_per_loaded_s(0)) == pytest.approx(2e-3)
    priced = Tariff(3.6, 1.0, 0.36, 2.0).usd_per_loaded_s(1000)
    assert float(priced) == pytest.approx(1e-3 + 2000 * 0.36 / 3.6e6)
    with pytest.raises(InputError, match="duty cycle"):
        Tariff(3.6, 0.0)


def test_an_own_file_is_read_back(tmp_path: Path) -> None:
    rows = {"tpot": np.array([[*np.eye(len(FEATURES))[0], -0.2]] * 6)}
    own = Own(subject=KNOWN, rows=rows, first_token=(0.1, 0.0, 0.0), points=6)
    path = tmp_path / "own.json"
    path.write_text(own_to_json(own))
    read = read_calibration(path)
    own_read = read.own_of(KNOWN)
    assert own_read is not None
    assert (own_read.subject, own_read.first_token, own_read.points) == (KNOWN, (0.1, 0, 0), 6)
    assert np.array_equal(own_read.rows["tpot"], rows["tpot"])
    assert read.weights(KNOWN).mean[0] < shipped().weights(KNOWN).mean[0]
    assert read.logs(KNOWN)[AT["request_s"]] == shipped().logs(KNOWN)[AT["request_s"]] + 0.1


def test_files_of_several_deployments_count_together(tmp_path: Path) -> None:
    other, third = (replace(KNOWN, model=name) for name in ("qwen3-32b", "qwen3-8b"))
    paths = []
    for subject, error in ((KNOWN, -0.2), (other, 0.3)):
        rows = {"tpot": np.array([[*np.eye(len(FEATURES))[0], error]] * 5)}
        paths.append(tmp_path / f"{subject.model}.json")
        paths[-1].write_text(own_to_json(Own(subject, rows, (0.0, 0.0, 0.0), 5)))

    both = read_calibration(*paths)
    for path, subject in zip(paths, (KNOWN, other), strict=True):
        assert both.own_words(subject) == "your 5 points count"
        alone = read_calibration(path).weights(subject)
        assert both.weights(subject).covariance[0, 0] <= alone.covariance[0, 0]
        assert both.weights(subject).near is not None
    words = both.own_words(third)
    assert words is not None
    assert words.count("your 5 points are of") == 2
    assert both.origin.endswith("10 points of your own")
    with pytest.raises(InputError, match=f"two calibrations are of {KNOWN.model}"):
        read_calibration(paths[0], *paths)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"headway_own_calibration": 1}',
        "\x00",
        '{"headway_own_calibration": 3, "subject": {"vendor": "nvidia"}, "points": 3}',
        '{"headway_own_calibration": 3, "subject": {"vendor": "a", "hardware": "b", "engine": "c", '
        '"model": "d", "weights": "e"}, "log_first_token": {"request_s": 1e9, "prompt_token_s": 0, '
        '"held_steps": 0}, "rows": {}, "points": 3}',
    ],
)
def test_a_damaged_own_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "own.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"own\.json"):
        read_calibration(path)
