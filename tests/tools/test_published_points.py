"""Rows that are not what they say they ran are told apart without asking any model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tools.measured_table import possible
from tools.published_points import (
    ML_ENERGY,
    SERVING_SOURCES,
    not_superseded,
    overdrawn_servers,
    stalling_servers,
)
from tools.published_runs import limits_of_run

from headway.hardware.catalogue import find_cluster
from headway.model.catalogue import find_model
from headway.serving.closed_loop import ClosedLoop
from headway.serving.serving_point import ServingPoint, stack_points
from headway.steptime.deployment import Deployment, EngineLimits

LATEST, *EARLIER = SERVING_SOURCES


@pytest.fixture
def point() -> ServingPoint:
    deployment = Deployment(
        find_model("llama-3.1-8b"), find_cluster("h200"), precision="fp8", engine="vllm"
    )
    load = ClosedLoop(1000, 500, 16)
    return ServingPoint(source=LATEST, deployment=deployment, load=load, tpot_s=9e-3)


def test_what_scripts_told_engines_is_told_apart() -> None:
    few, many = (limits_of_run("sglang", "deepseek-r1", "b200", users) for users in (8, 16))
    assert (few.poll_steps, many.poll_steps) == (10, 30)
    assert limits_of_run("sglang", "deepseek-r1", "h200", 64) == EngineLimits()
    assert limits_of_run("tensorrt-llm", "deepseek-r1", "h200", 64).balance_steps == 60
    assert limits_of_run("vllm", "gpt-oss-120b", "b200", 64) == EngineLimits()


def test_a_later_measurement_replaces_another_time_and_keeps_a_copy(point: ServingPoint) -> None:
    copies = [replace(point, source=source, tpot_s=9.4e-3) for source in EARLIER]
    slow = [replace(point, source=source, tpot_s=18e-3) for source in EARLIER]
    elsewhere = replace(slow[0], load=ClosedLoop(1000, 500, 64))
    assert not_superseded([*slow, point, *copies, elsewhere]) == [point, *copies, elsewhere]


@pytest.mark.parametrize(("p90_ms", "stalls"), [(11, False), (16, True)])
def test_servers_stall_where_decode_steps_are_uneven(p90_ms: float, stalls: bool) -> None:
    row = {
        "source": ML_ENERGY,
        "model": "Qwen/Qwen3-8B",
        "weight_precision": "bfloat16",
        "hardware": "B200-SXM",
        "engine": "vLLM",
        "n_gpus": "1.0",
        "tp": "1.0",
        "ep": "1.0",
        "batch": "8",
        "output_len_actual": "7000",
        "itl_ms": "10",
        "notes": f"task=gpqa; p90_itl={p90_ms};p95_itl=99",
    }
    # Where prompts come between steps, uneven gaps say nothing.
    busy = {**row, "batch": "512", "output_len_actual": "500", "notes": "task=gpqa; p90_itl=99;"}
    assert bool(stalling_servers([row, busy])) == stalls


@pytest.mark.parametrize(("joules", "is_over"), [((1.0, 1.0), False), ((1.0, 9.0), True)])
def test_joules_of_a_deployment_are_doubtful_together(
    joules: tuple[float, float], is_over: bool
) -> None:
    rows = [
        {
            "source": LATEST,
            "model": "openai/gpt-oss-120b",
            "weight_precision": "fp4",
            "hardware": "MI325X",
            "engine": "vLLM",
            "input_len": "1000",
            "input_len_actual": "",
            "output_len": "1000",
            "output_len_actual": "",
            "tput_total_tok_s_gpu": "400",
            "energy_j_per_out_tok": str(value),
        }
        for value in joules
    ]
    assert bool(overdrawn_servers(rows)) == is_over


def test_what_beats_the_data_sheet_takes_its_sweep_along(point: ServingPoint) -> None:
    sweep = [replace(point, load=ClosedLoop(1000, 500, users)) for users in (1, 4, 16)]
    sweep[0] = replace(sweep[0], tpot_s=1e-4)
    other = replace(point, source=EARLIER[0])
    points = [*sweep, other]
    assert np.array_equal(possible(points, stack_points(points)), [3])
