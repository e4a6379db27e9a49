"""Which engine runs where: laws of the table, and refusals by name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from headway.dtypes import DType
from headway.errors import InputError, UnknownNameError, UnsupportedError
from headway.hardware.catalogue import find_clusters
from headway.hardware.stacks import (
    Engine,
    check_stack,
    engine_names,
    engine_runs,
    stacks,
    version_number,
)
from headway.steptime.calibration import shipped

PLAIN = "plain attention"
CHIPS = {cluster.name: cluster.accelerator for cluster in find_clusters("all")}


def test_every_row_has_a_source_and_a_number_for_a_version() -> None:
    for stack in stacks():
        assert stack.source.url.startswith("https://")
        assert version_number(stack.since)
        if stack.until is not None:
            assert version_number(stack.since) < version_number(stack.until)


def test_every_family_of_a_row_is_in_the_catalogue() -> None:
    families = {(chip.vendor, chip.family) for chip in CHIPS.values()}
    for stack in stacks():
        assert {(stack.vendor, family) for family in stack.families} <= families


def test_every_chip_has_a_row_or_is_said_to_have_none() -> None:
    families = {(stack.vendor, family) for stack in stacks() for family in stack.families}
    without = {name for name, chip in CHIPS.items() if (chip.vendor, chip.family) not in families}
    assert without == {"groq-lpu", "sn40l", "tpu-v2", "tpu-v3"}
    assert not any(
        engine_runs(engine, CHIPS[name]) for name in without for engine in engine_names()
    )


def test_every_measured_engine_is_in_the_table_and_runs_where_it_was_measured() -> None:
    calibration = shipped()
    assert calibration.engines <= set(engine_names())
    for level, group in calibration.factors:
        if level == "hardware, engine":
            name, engine = group.split(", ")
            assert engine_runs(engine, CHIPS[name])


@pytest.mark.parametrize(
    ("engine", "chip", "weights", "sentence"),
    [
        ("tensorrt-llm", "mi300x", DType.BF16, "tensorrt-llm does not run on mi300x"),
        ("tensorrt-llm", "tpu-v6e", DType.BF16, "tensorrt-llm does not run on tpu-v6e"),
        ("tensorrt-llm", "a100", DType.FP8, "does not run fp8 weights on a100; it runs bf16"),
        ("vllm", "a100", DType.FP8, None),
        ("vllm@0.4", "a100", DType.FP8, "vllm@0.4 does not run fp8 weights on a100"),
        ("atom", "h100", DType.FP8, "atom does not run on h100"),
        ("atom", "mi355x", DType.MXFP4, None),
        ("atom", "mi300x", DType.MXFP4, "does not run mxfp4 weights"),
        ("vllm@0.6", "b200", DType.FP8, "vllm does from 0.8.5 on"),
        ("vllm", "groq-lpu", DType.INT8, "does not run on groq-lpu"),
        ("vllm", "tpu-v2", DType.BF16, "does not run on tpu-v2"),
        ("vllm", "p40", DType.INT4, "vllm does not run on p40; llama.cpp would"),
        ("vllm", "rx-6900-xt", DType.FP16, "llama.cpp, mlc would"),
        ("vllm", "rx-7900-xtx", DType.FP8, "does not run fp8 weights on rx-7900-xtx"),
        ("vllm", "rx-9070-xt", DType.FP8, None),
        ("vllm", "apple-m4-max", DType.INT4, None),
        ("vllm", "arc-pro-b60", DType.INT4, None),
        ("llama.cpp", "p40", DType.INT4, None),
        ("llama.cpp", "apple-m1", DType.INT4, None),
        ("llama.cpp", "xeon-8480", DType.INT8, None),
        ("llama.cpp", "tpu-v5e", DType.INT8, "llama.cpp does not run on tpu-v5e"),
        ("mlc", "apple-m3-max", DType.INT4, None),
        ("mlc", "rx-7900-xtx", DType.FP16, None),
        ("mlc", "mi300x", DType.FP16, "mlc does not run on mi300x"),
        ("vllm@0.30", "v100", DType.FP16, "does from 0.1 on and before 0.23"),
        ("vllm@0.10", "v100", DType.FP16, None),
    ],
)
def test_what_does_not_run_is_refused_by_name(
    engine: str, chip: str, weights: DType, sentence: str | None
) -> None:
    if sentence is None:
        check_stack(engine, CHIPS[chip], weights, PLAIN)
    else:
        with pytest.raises(UnsupportedError, match=sentence):
            check_stack(engine, CHIPS[chip], weights, PLAIN)


def test_a_newer_version_never_runs_less_until_support_ends() -> None:
    for stack in stacks():
        assert stack.runs_version(stack.since)
        assert stack.runs_version(None) == (stack.until is None)
        if stack.until is not None:
            assert not stack.runs_version(stack.until)


def test_a_kind_of_model_may_be_left_out() -> None:
    check_stack("vllm", CHIPS["t4"], DType.FP16, PLAIN)
    with pytest.raises(UnsupportedError, match="latent attention"):
        check_stack("vllm", CHIPS["t4"], DType.FP16, "latent attention with experts")


def test_nobody_judges_a_vendor_that_the_table_does_not_name() -> None:
    chip = replace(CHIPS["h100"], vendor="new vendor")
    check_stack("tensorrt-llm", chip, DType.FP8, PLAIN)


def test_a_chip_of_ones_own_runs_what_its_vendor_s_chips_run() -> None:
    chip = replace(CHIPS["h100"], name="mine", family="new family")
    check_stack("tensorrt-llm", chip, DType.FP8, PLAIN)
    with pytest.raises(UnsupportedError, match="atom does not run on mine"):
        check_stack("atom", chip, DType.FP8, PLAIN)


def test_an_engine_is_a_name_and_perhaps_a_version() -> None:
    assert Engine.parse("vllm@0.19") == Engine("vllm", "0.19")
    assert str(Engine.parse("SGLang")) == "sglang"
    with pytest.raises(UnknownNameError, match="did you mean sglang"):
        Engine.parse("sglan")
    with pytest.raises(InputError, match="version is a number"):
        Engine.parse("vllm@new")
