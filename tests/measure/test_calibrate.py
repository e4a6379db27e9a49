"""A user's own benchmark results are read, and the calibration meets them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headway.dtypes import DType
from headway.errors import InputError
from headway.hardware.catalogue import find_cluster
from headway.hardware.cluster import Cluster
from headway.measure.benchmark_files import Bench, read_bench
from headway.measure.calibrate import calibration_report, fit_own, read_serving_points, tpot_by
from headway.model.architecture import ModelArchitecture
from headway.model.catalogue import find_model
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
    assert after < 0.04
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
GUIDELLM_METRICS = {
    "prompt_token_count": {"successful": {"mean": 1024.0}},
    "output_token_count": {"successful": {"mean": 512.0}},
    "inter_token_latency_ms": {"successful": {"mean": 12.5}},
    "time_to_first_token_ms": {"successful": {"mean": 120.0, "median": 80.0}},
}
GUIDELLM = {
    "benchmarks": [
        {
            "config": {"strategy": {"type_": "concurrent", "streams": 8}},
            "metrics": GUIDELLM_METRICS,
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


@pytest.mark.parametrize(
    ("tree", "users"),
    [
        # Little's law: 2 requests/s of 0.1 + 511 x 0.01 = 5.21 s each.
        ({**VLLM, "max_concurrency": None, "request_rate": 2.0, "duration": 5.0,
          "mean_ttft_ms": 100.0, "mean_tpot_ms": 10.0}, 10.42),
        # As the tool says it, capped, and never below the one that is served.
        ({**VLLM, "max_concurrency": None, "request_rate": 2.0, "duration": 5.0,
          "mean_e2el_ms": 3000.0}, 6),
        ({**VLLM, "max_concurrency": 4, "request_rate": 2.0, "duration": 5.0,
          "mean_e2el_ms": 3000.0}, 4),
        ({**VLLM, "max_concurrency": None, "request_rate": 0.1, "duration": 100.0,
          "mean_e2el_ms": 3000.0}, 1),
        ({**AIPERF, "input_config": {"loadgen": {"request_rate": 2.0}},
          "request_throughput": {"avg": 2.0}, "request_latency": {"avg": 3000.0}}, 6),
    ],
)  # fmt: skip
def test_requests_at_a_rate_are_as_many_as_littles_law_says(
    tmp_path: Path, tree: object, users: float
) -> None:
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(tree))
    assert read_bench(path)[0].concurrency == pytest.approx(users, abs=1e-9)


def test_a_rate_of_guidellm_is_what_it_saw_in_flight(tmp_path: Path) -> None:
    metrics = {**GUIDELLM_METRICS, "request_concurrency": {"successful": {"mean": 5.5}}}
    config = {"strategy": {"type_": "constant", "rate": 2.0, "max_concurrency": 512}}
    path = tmp_path / "bench.json"
    path.write_text(json.dumps({"benchmarks": [{"config": config, "metrics": metrics}]}))
    assert read_bench(path)[0].concurrency == 5.5


MEASURED_ELSEWHERE = [
    ({"model_id": "meta-llama/Llama-3.3-70B-Instruct"}, "--model llama-3.3-70b"),
    ({"backend": "sglang-oai"}, "--engine sglang"),
    ({"hw": "mi300x-amd"}, "--on mi300x"),
    ({"tp": 8}, "--tp 8"),
]


@pytest.mark.parametrize(("names", "advice"), MEASURED_ELSEWHERE)
def test_a_file_of_another_deployment_is_refused(
    tmp_path: Path, names: dict[str, object], advice: str
) -> None:
    own = Deployment(find_model("llama-3.1-8b"), find_cluster("h100"), precision=BF16,
                     engine="vllm@0.19")  # fmt: skip
    path = tmp_path / "bench.json"
    tree = INFERENCEX if {"hw", "tp"} & set(names) else VLLM
    path.write_text(json.dumps({**tree, "hw": "h100", **names}))
    with pytest.raises(InputError, match=f"give {advice}"):
        read_serving_points(path, deployment=own)

    # Names that are in no catalogue, and clients that are of no engine, cannot be compared.
    same = {"model_id": "served", "backend": "openai-chat", "hw": "h100-nv", "tp": 1}
    path.write_text(json.dumps({**tree, **same}))
    assert len(read_serving_points(path, deployment=own)) == 1


def test_the_report_says_how_far_off_each_file_is_without_it() -> None:
    deployment = Deployment(find_model("llama-3.1-8b"), find_cluster("h100"), precision=BF16,
                            engine="vllm")  # fmt: skip
    points = [
        ServingPoint(f"{users}.json", deployment, ClosedLoop(1000, 500, users))
        for users in (1, 4, 16, 64, 128)
    ]
    slow = np.exp(shipped().logs(subject(points[0])) + np.log(1.5))
    measured = _measured(points, np.tile(slow, (len(points), 1)))
    report = calibration_report(measured, shipped(), fit_own(measured, shipped()))
    errors = [(r.error_before, r.error_after, r.error_left_out) for r in report.rows]
    before, after, left_out = (np.mean(np.abs(column)) for column in zip(*errors, strict=True))
    assert after < left_out < before
    assert report.title.startswith("your 5 points")

    # One alone has no others; points of one file are left out one by one.
    alone = calibration_report(measured[:1], shipped(), fit_own(measured[:1], shipped()))
    assert alone.rows[0].error_left_out is None
    one_file = [replace(point, source="all.json") for point in measured]
    by_point = calibration_report(one_file, shipped(), fit_own(one_file, shipped()))
    assert [row.error_left_out for row in by_point.rows] == [
        row.error_left_out for row in report.rows
    ]
