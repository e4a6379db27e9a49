"""Formats: as written by a person, and as published in a checkpoint."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.dtypes import DType
from headway.errors import InputError, UnknownNameError, UnsupportedError
from headway.model.catalogue import find_precision
from headway.model.huggingface.quantization import native_precision, read_precision
from headway.model.precision import Precision

formats = st.sampled_from(DType)


@given(st.builds(Precision, formats, formats, formats, st.none() | formats))
def test_what_is_written_can_be_read(precision: Precision) -> None:
    assert Precision.parse(str(precision)) == precision


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("bf16", "bf16/bf16/bf16"),
        ("fp16", "fp16/fp16/fp16"),
        ("fp8", "fp8/fp8/bf16"),
        ("int4", "int4/bf16/bf16"),
        ("FP8/bf16", "fp8/bf16/bf16"),
        ("int4/bf16/fp8", "int4/bf16/fp8"),
        ("mxfp4+bf16/bf16", "mxfp4+bf16/bf16/bf16"),
    ],
)
def test_one_name_quantizes_what_an_engine_would(text: str, written: str) -> None:
    assert str(Precision.parse(text)) == written


@pytest.mark.parametrize("text", ["", "fp7", "fp8/", "/fp8", "fp8/fp8/fp8/fp8", "fp8+", "fp8//fp8"])
def test_what_is_no_precision(text: str) -> None:
    with pytest.raises(InputError):
        Precision.parse(text)


def test_attention_is_stored_like_the_rest_unless_said() -> None:
    assert Precision.parse("fp8").stored_attention is DType.FP8
    assert Precision.parse("mxfp4+bf16").stored_attention is DType.BF16


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("gpt-oss-120b", "mxfp4+bf16/bf16/bf16"),
        ("deepseek-v3", "fp8/fp8/bf16"),
        ("kimi-k2", "fp8/fp8/bf16"),
        ("minimax-m2.5", "fp8/fp8/bf16"),
        ("llama-3.1-70b", "bf16/bf16/bf16"),
        ("llama-2-70b", "fp16/fp16/fp16"),
        ("gpt-3", "fp16/fp16/fp16"),
        ("bloom-176b", "bf16/bf16/bf16"),
        ("gemma-3-27b", "bf16/bf16/bf16"),
    ],
)
def test_published_precisions(name: str, written: str) -> None:
    assert str(find_precision(name)) == written


FLOAT4 = {"num_bits": 4, "type": "float", "group_size": 16}
INT4 = {"num_bits": 4, "type": "int", "group_size": 32}
ATTENTION = [f"model.layers.{layer}.self_attn.q_proj" for layer in range(4)]


@pytest.mark.parametrize(
    ("quantization", "written"),
    [
        ({"quant_method": "awq", "bits": 4}, "int4/fp16/fp16"),
        ({"quant_method": "gptq", "bits": 8}, "int8/fp16/fp16"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "int4/fp16/fp16"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4/nvfp4/fp16"),
        ({"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}, "fp8/fp8/fp8"),
        (
            {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": INT4}}},
            "int4/fp16/fp16",
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"g": {"weights": FLOAT4, "input_activations": FLOAT4}},
                "kv_cache_scheme": {"num_bits": 8, "type": "float"},
                "ignore": ["lm_head", *ATTENTION],
            },
            "nvfp4+fp16/nvfp4/fp8",
        ),
        ({"quant_method": "fp8", "ignored_layers": ATTENTION[:1]}, "fp8/fp8/fp16"),
        ({"quant_method": "fp8", "ignore": ["model.layers.0.self_attn.q_norm"]}, "fp8/fp8/fp16"),
        ({"quant_method": "fp8", "ignore": ["re:.*self_attn.*"]}, "fp8+fp16/fp8/fp16"),
    ],
)
def test_quantizations(quantization: object, written: str) -> None:
    config = {
        "torch_dtype": "float16",
        "num_hidden_layers": 4,
        "quantization_config": quantization,
    }
    assert str(native_precision(config)) == written


@pytest.mark.parametrize(
    "config",
    [
        {"torch_dtype": "float8"},
        {"torch_dtype": 16},
        {"quantization_config": {"quant_method": "exl3"}},
        {"quantization_config": {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}},
        {"quantization_config": {"quant_method": "awq", "bits": 3}},
        {"quantization_config": {"quant_method": "compressed-tensors"}},
        {"quantization_config": {"quant_method": "fp8", "kv_cache_scheme": "Q4"}},
        {"quantization_config": {"quant_method": "fp8"}, "expert_dtype": "fp4"},
    ],
)
def test_formats_that_are_not_understood(config: dict[str, object]) -> None:
    with pytest.raises(UnsupportedError):
        native_precision(config)


def test_no_format_is_not_guessed() -> None:
    with pytest.raises(InputError, match="neither 'torch_dtype' nor 'dtype'"):
        native_precision({})
    with pytest.raises(InputError, match="must be an object"):
        native_precision({"quantization_config": "fp8"})


def test_wrappers_and_new_names() -> None:
    assert str(native_precision({"text_config": {}, "dtype": "bfloat16"})) == "bf16/bf16/bf16"
    assert native_precision({"text_config": {"dtype": "torch.float32"}}).weights is DType.FP32


def test_modelopt_states_the_quantization_in_a_file_beside(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"torch_dtype": "bfloat16"}))
    assert str(read_precision(tmp_path)) == "bf16/bf16/bf16"
    beside = {"quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8"}}
    (tmp_path / "hf_quant_config.json").write_text(json.dumps(beside))
    assert str(find_precision(str(tmp_path))) == "nvfp4/nvfp4/fp8"


def test_unknown_format_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="fp8"):
        Precision.parse("fp-8")
