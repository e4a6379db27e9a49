"""A user's own benchmark results are read, and the calibration meets them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headway.dtypes import DType
from headway.errors import InputError
from headway.hardware.cluster import Cluster
from headway.measure.benchmark_files import Bench, read_bench
from headway.measure.calibrate import fit_own, tpot_by
from headway.model.architecture import ModelArchitecture
from headway.model.precision import Precision
from headway.serving.closed_loop import ClosedLoop
from headway.serving.serving_point import ServingPoint, stack_points, subject
from headway.serving.tabulated import serving_times
from headway.steptime.calibration import Subject, shipped
from headway.steptime.deployment import Deployment
from headway.steptime.kernel_coefficients import AT
from headway.steptime.work import Array

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


def _measured(points: list[ServingPoint], theta: Array) -> list[ServingPoint]:
    times = serving_times(stack_points(points), theta)
    return [
        replace(point, tpot_s=float(tpot), ttft_s=float(ttft))
        for point, tpot, ttft in zip(points, times.tpot_s, times.ttft_s, strict=True)
    ]


def test_a_users_own_points_are_met_afterwards(points: list[ServingPoint]) -> None:
    calibration = shipped()
    one_layout = points[:8]
    asked = subject(one_layout[0])  # a chip that is in no catalogue
    theta = np.exp(calibration.logs(asked))
    theta[AT["bandwidth_16"]] *= 0.7
    theta[AT["kernel_s"]] *= 2
    measured = _measured(one_layout, np.tile(theta, (8, 1)))

    own = fit_own(measured, calibration)
    assert own.points == 8
    adapted = calibration.with_own(own)
    wanted = np.array([point.tpot_s for point in measured])
    before, after = (
        np.mean(np.abs(np.array(tpot_by(one, measured)) / wanted - 1))
        for one in (calibration, adapted)
    )
    assert after < 0.06
    assert after < before


def test_points_narrow_what_they_measured_and_less_what_is_like_it(
    points: list[ServingPoint],
) -> None:
    calibration, asked = shipped(), subject(points[0])
    theta = np.exp(calibration.logs(asked))
    adapted = calibration.with_own(
        fit_own(_measured(points[:5], np.tile(theta, (5, 1))), calibration)
    )

    def width(of: Subject) -> float:
        low, high = adapted.error_factors(of, "tpot")
        before = calibration.error_factors(of, "tpot")
        return float(np.log(high / low) / np.log(before[1] / before[0]))

    other_model = replace(asked, model="another")
    elsewhere = Subject("intel", "another-chip", "sglang", "another", "int4", "latent attention")
    assert width(asked) < width(other_model) < width(elsewhere) <= 1


def test_points_of_two_subjects_are_refused(points: list[ServingPoint]) -> None:
    other = replace(points[1], deployment=replace(points[1].deployment, engine="sglang"))
    with pytest.raises(InputError, match="one model on one accelerator"):
        fit_own([replace(points[0], tpot_s=0.01), replace(other, tpot_s=0.01)], shipped())
    with pytest.raises(InputError, match="time per output token"):
        fit_own(points[:2], shipped())


VLLM = {
    "max_concurrency": 8,
    "completed": 10,
    "total_input_tokens": 10240,
    "total_output_tokens": 5120,
    "mean_tpot_ms": 12.5,
    "median_ttft_ms": 80.0,
    "mean_ttft_ms": 120.0,
}
INFERENCEX = {"hw": "h200", "conc": 8, "isl": 1024, "osl": 1024, "median_tpot": 0.0125,
              "median_ttft": 0.08}  # fmt: skip
GUIDELLM = {
    "benchmarks": [
        {
            "config": {"strategy": {"type_": "concurrent", "streams": 8}},
            "metrics": {
                "prompt_token_count": {"successful": {"mean": 1024.0}},
                "output_token_count": {"successful": {"mean": 512.0}},
                "inter_token_latency_ms": {"successful": {"mean": 12.5}},
                "time_to_first_token_ms": {"successful": {"mean": 120.0, "median": 80.0}},
            },
        }
    ]
}
AIPERF = {
    "input_config": {"loadgen": {"concurrency": 8}},
    "input_sequence_length": {"avg": 1024.0},
    "output_sequence_length": {"avg": 512.0},
    "inter_token_latency": {"avg": 12.5},
    "time_to_first_token": {"avg": 120.0, "p50": 80.0},
}


@pytest.mark.parametrize("tree", [VLLM, GUIDELLM, AIPERF])
def test_every_tools_results_are_read_alike(tmp_path: Path, tree: object) -> None:
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(tree))
    assert read_bench(path) == [Bench(8, 1024, 512, 12.5e-3, 80e-3, 120e-3)]


def test_lists_and_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    path.write_text(json.dumps([VLLM, INFERENCEX]))
    assert len(read_bench(path)) == 2
    path.write_text("\n".join(json.dumps(tree) for tree in (VLLM, VLLM, VLLM)))
    assert len(read_bench(path)) == 3
    assert read_bench(path)[0].tpot_s == pytest.approx(12.5e-3)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"conc": 4, "isl": "x"}', json.dumps({**VLLM, "completed": 0}),
     json.dumps({**VLLM, "mean_tpot_ms": -3}), "[" * 100_000],
)  # fmt: skip
def test_what_is_no_result_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bench.json"
    path.write_text(text)
    with pytest.raises(InputError):
        read_bench(path)
