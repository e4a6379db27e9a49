"""Our catalogue in the paper's quantities equals the paper's own constants where they are true."""

from __future__ import annotations

import pytest

from headway.errors import UnsupportedError
from headway.hardware.catalogue import find_cluster
from headway.model.catalogue import find_model
from headway.model.precision import Precision
from headway.papers.erdil_2025.convert import published_accelerator, published_model, weight_bits
from headway.papers.erdil_2025.forward import token_latency
from headway.papers.erdil_2025.models import MODELS

BF16 = Precision.parse("bf16")


@pytest.mark.parametrize(
    "name", ["llama-3-8b", "llama-3-70b", "mixtral-8x7b", "mixtral-8x22b", "mistral-large-2"]
)
def test_dense_and_sparse_models_convert_to_the_papers_constants(name: str) -> None:
    converted, own = published_model(find_model(name), BF16), MODELS[name]
    assert converted.total_params == own.total_params
    assert converted.active_params == own.active_params
    assert converted.kv_bytes_per_token == own.kv_bytes_per_token


def test_deepseek_converts_with_the_papers_quirks() -> None:
    converted = published_model(find_model("deepseek-v3"), Precision.parse("fp8"))
    own = MODELS["deepseek-v3"]
    assert (converted.num_layers, converted.num_experts, converted.num_active_experts) == (
        own.num_layers,
        own.num_experts,
        own.num_active_experts,
    )
    assert converted.kv_bytes_per_token == own.kv_bytes_per_token
    assert converted.total_params == own.total_params


def test_what_the_paper_does_not_know_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="recurrent"):
        published_model(find_model("qwen3-next-80b-a3b"), BF16)


@pytest.mark.parametrize("name", ["b200", "mi300x", "tpu-v5p", "l4", "gb200-nvl72"])
def test_any_priced_accelerator_converts(name: str) -> None:
    chip = published_accelerator(find_cluster(name))
    model = published_model(find_model("llama-3-8b"), BF16)
    latency = token_latency(8.0, 4.0, model, chip)
    assert 0 < float(latency.total_s) < 1


def test_weights_come_in_three_sizes() -> None:
    sizes = {name: weight_bits(Precision.parse(name)) for name in ("bf16", "fp8", "int4", "nvfp4")}
    assert sizes == {"bf16": 16, "fp8": 8, "int4": 4, "nvfp4": 4}
