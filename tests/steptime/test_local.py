"""Laws and published figures of engines on one's own machine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from headway.errors import UnsupportedError
from headway.hardware.catalogue import find_cluster, names
from headway.hardware.stacks import Engine
from headway.model.catalogue import find_model
from headway.steptime.deployment import Deployment
from headway.steptime.local import local_fits
from headway.steptime.time_estimate import Basis
from headway.workload.step import Step

FORMATS = {"int4": "int4/fp16/fp16", "int8": "int8/fp16/fp16", "fp16": "fp16"}


def local(chip: str, weights: str = "int4", model: str = "llama-2-7b", tp: int = 1) -> Deployment:
    precision = FORMATS[weights]
    return Deployment(
        find_model(model), find_cluster(chip), tp=tp, precision=precision, engine="llama.cpp"
    )


# llama.cpp's scoreboards (discussions 15013, 15021, 10879, 4167): tokens/s of generating 128.
PUBLISHED = {
    ("rtx-4090", "int4"): 188.96,
    ("rtx-3060", "int4"): 76.92,
    ("a100", "int4"): 200.90,
    ("t4", "int4"): 44.03,
    ("apple-m2-ultra", "int4"): 94.27,
    ("apple-m4-max", "fp16"): 31.64,
    ("rx-7900-xt", "int4"): 112.30,
    ("arc-a770", "int4"): 52.56,
}


def test_published_scores_are_told() -> None:
    times = {question: local(*question).step_time(1, 64) for question in PUBLISHED}
    for question, published in PUBLISHED.items():
        assert float(times[question].expected_s) * published == pytest.approx(1, abs=0.3)

    # The interval is of four in five.
    inside = [
        float(times[question].lower_s) <= 1 / published <= float(times[question].upper_s)
        for question, published in PUBLISHED.items()
    ]
    assert sum(inside) >= 6


# LM Studio on an M4 Max of 40 cores, Qwen2.5, by engine (NexVeridian/llm-inference-benchmarks).
@pytest.mark.parametrize(
    ("engine", "model", "published"),
    [
        ("mlx", "qwen2.5-1.5b", 282.0),
        ("mlx", "qwen2.5-7b", 91.0),
        ("mlx", "qwen2.5-14b", 52.0),
        ("mlx", "qwen2.5-32b", 23.0),
        ("llama.cpp", "qwen2.5-7b", 70.0),
        ("llama.cpp", "qwen2.5-14b", 36.0),
        ("llama.cpp", "qwen2.5-32b", 18.0),
    ],
)
def test_a_mac_that_is_in_no_fit_is_told(engine: str, model: str, published: float) -> None:
    cluster = find_cluster("apple-m4-max")
    own = Deployment(find_model(model), cluster, precision="int4", engine=engine)
    time = own.step_time(1, 300)
    assert float(time.expected_s) * published == pytest.approx(1, abs=0.12)
    assert float(time.lower_s) <= 1 / published <= float(time.upper_s)


def test_no_chip_beats_its_data_sheet() -> None:
    asked = 0
    for chip in names():
        try:
            time = local(chip).step_time(1, 500)
        except UnsupportedError:
            continue
        assert time.bound is not None
        assert float(time.bound.total_s) <= float(time.lower_s) <= float(time.expected_s)
        asked += 1
    assert asked > 150


@pytest.mark.parametrize(
    ("written", "meant"), [("q4_k_m", "int4"), ("Q4_0", "int4"), ("q8_0", "int8"), ("F16", "fp16")]
)
@pytest.mark.parametrize("chip", ["rtx-4090", "gtx-1070", "apple-m2-max"])
def test_names_of_gguf_files_are_formats(chip: str, written: str, meant: str) -> None:
    model, cluster = find_model("llama-2-7b"), find_cluster(chip)
    own = Deployment(model, cluster, precision=written, engine="ollama")
    assert float(own.step_time(1, 64).expected_s) == float(
        local(chip, meant).step_time(1, 64).expected_s
    )


def test_more_bytes_take_longer() -> None:
    by_format = [float(local("rtx-4090", w).step_time(1, 500).expected_s) for w in FORMATS]
    assert by_format == sorted(by_format)
    contexts = local("rtx-4090").step_time(1, np.array([0.0, 1e3, 1e4])).expected_s
    assert np.all(np.diff(contexts) > 0)


def test_more_memory_bandwidth_never_slows() -> None:
    deployment = local("rtx-3090")
    accelerator = deployment.cluster.accelerator
    fast = replace(accelerator, memory_bandwidth_bytes_per_s=2e12)
    faster = Deployment(
        deployment.model,
        replace(deployment.cluster, accelerator=fast),
        precision=deployment.precision,
        engine="llama.cpp",
    )
    assert float(faster.step_time(1, 64).expected_s) < float(deployment.step_time(1, 64).expected_s)


def test_layers_are_taken_one_after_another() -> None:
    one, two = (local("rtx-3090", tp=tp).step_time(1, 64) for tp in (1, 2))
    assert float(two.expected_s) == pytest.approx(float(one.expected_s), rel=0.02)


def test_many_tokens_of_a_prompt_share_the_weights() -> None:
    model = local("rtx-4090").step_time_model
    one, many = (
        float(model.step_time(Step.prefill(np.asarray(1.0), tokens)).expected_s)
        for tokens in (1.0, 512.0)
    )
    assert many < 512 * one / 20


def test_families_that_nobody_scored_are_wider_and_analytic() -> None:
    fit = local_fits()["llama.cpp"]
    radeon, instinct = local("rx-7900-xtx"), local("mi50")
    assert fit.has_scored(radeon.cluster.accelerator)
    assert not fit.has_scored(instinct.cluster.accelerator)

    scored, other = radeon.step_time(1, 64), instinct.step_time(1, 64)
    assert (scored.basis, other.basis) == (Basis.FITTED, Basis.ANALYTIC)
    assert float(scored.upper_s / scored.expected_s) < float(other.upper_s / other.expected_s)


@pytest.mark.parametrize("program", ["ollama", "llamafile", "LM-Studio", "koboldcpp"])
def test_programs_around_llama_cpp_are_it(program: str) -> None:
    assert Engine.parse(program) == Engine("llama.cpp")
