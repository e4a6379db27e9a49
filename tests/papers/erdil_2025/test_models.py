"""Laws of the published model's counts, then the counts that its program printed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.errors import InputError, UnsupportedError
from headway.papers.erdil_2025.accelerators import ACCELERATORS, PublishedAccelerator
from headway.papers.erdil_2025.forward import Choices
from headway.papers.erdil_2025.frontier import frontier
from headway.papers.erdil_2025.models import MODELS, LatentAttention, PublishedModel, scale_model

POINTS = Path(__file__).parents[3] / ".." / "shared" / "data" / "economics" / "points.json"

NAMES = {
    "Llama_3_8B": "llama-3-8b",
    "Llama_3_70B": "llama-3-70b",
    "Llama_3_405B": "llama-3.1-405b",
    "GPT_4": "gpt-4",
    "GPT_3": "gpt-3",
    "Mixtral_8x22B": "mixtral-8x22b",
    "Mixtral_8x7B": "mixtral-8x7b",
    "DeepSeek_V3": "deepseek-v3",
    "Mistral_Large_2": "mistral-large-2",
    "PaLM_540B": "palm-540b",
    "Falcon": "falcon-180b",
}

models = st.sampled_from(sorted(MODELS)).map(MODELS.__getitem__)


@given(models)
def test_active_parameters_never_exceed_all(model: PublishedModel) -> None:
    assert 0 < model.active_params <= model.total_params
    if model.num_experts == model.num_active_experts:
        assert model.active_params == model.total_params


@given(models, st.sampled_from([4, 8, 16]))
def test_narrower_weights_change_the_weights_alone(model: PublishedModel, bits: int) -> None:
    narrow = model.with_weights(bits)
    assert narrow.weight_bits == bits
    assert narrow.weights_total_bytes == narrow.total_params * bits / 8
    assert narrow.total_params == model.total_params
    assert narrow.kv_bytes_per_token == model.kv_bytes_per_token


@given(models, st.floats(0.0, 1e6), st.floats(1.0, 1e4), st.integers(1, 8))
def test_arithmetic_is_at_least_twice_the_active_parameters(
    model: PublishedModel, context: float, batch: float, query: int
) -> None:
    flops = model.flops(context, batch, query)
    assert flops >= 2 * model.active_params * batch * query * (1 - 1e-12)


@given(models, st.floats(1.0, 30.0))
def test_a_larger_scale_never_makes_a_smaller_model(model: PublishedModel, factor: float) -> None:
    scaled = scale_model(model, factor)
    assert scaled.total_params >= model.total_params * (1 - 1e-12)
    assert scaled.sparsity == model.sparsity


def test_scaling_follows_the_published_exponents() -> None:
    scaled = scale_model(MODELS["llama-3-70b"], 8.0)
    assert scaled.num_layers == 160  # 80 x 8^(1/3)
    assert scaled.hidden_size == pytest.approx(8192 * 2)  # 8^(1/3)
    assert scaled.num_query_heads == 91  # 64 x 8^(1/6), rounded up
    assert scaled.head_size == pytest.approx(128 * 8 ** (1 / 6))
    # Layers are rounded down and heads up.
    assert scale_model(MODELS["llama-3-8b"], 1.5).num_layers == int(32 * 1.5 ** (1 / 3))


@given(models, st.floats(0.1, 30.0))
def test_scaling_keeps_the_key_value_heads(model: PublishedModel, factor: float) -> None:
    scaled = scale_model(model, factor)
    if model.latent is None:
        assert scaled.num_kv_heads == pytest.approx(model.num_kv_heads, rel=1e-12)
        cache = model.num_kv_heads * scaled.head_size * scaled.num_layers * model.activation_bytes
        assert scaled.kv_bytes_per_token == pytest.approx(cache, rel=1e-12)
    else:
        assert scaled.group_size == 1
        assert scaled.kv_bytes_per_token == 512 * scaled.num_layers * 2


@pytest.mark.parametrize("factor", [0.01, 0.1, 0.25, 0.5])
def test_smaller_models_of_gpt_4s_shape_share_one_key_value_head(factor: float) -> None:
    scaled = scale_model(MODELS["gpt-4"], factor)
    assert scaled.num_query_heads < 96
    assert scaled.num_kv_heads == 2
    assert scaled.kv_bytes_per_token == pytest.approx(2 * scaled.head_size * scaled.num_layers * 2)
    curve = frontier(scaled, ACCELERATORS["h100"], choices=Choices(pipeline=False), grid_size=17)
    assert curve.tok_per_s[0] > 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hidden_size": 0}, "hidden_size"),
        ({"num_layers": -1}, "num_layers"),
        ({"num_active_experts": 2}, "experts"),
        ({"group_size": 65}, "group"),
        ({"latent": LatentAttention(512, 1536)}, "group_size=1"),
        ({"weight_bytes": float("nan")}, "weight_bytes"),
    ],
)
def test_impossible_models_are_refused(change: dict[str, float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        replace(MODELS["llama-3-70b"], **change)  # type: ignore[arg-type]


def test_impossible_scales_and_ranks_are_refused() -> None:
    with pytest.raises(InputError, match="positive factor"):
        scale_model(MODELS["gpt-3"], 0.0)
    with pytest.raises(InputError, match="ranks"):
        LatentAttention(0, 1)


def test_accelerators_reach_a_share_of_their_peak() -> None:
    h100 = ACCELERATORS["h100"]
    assert h100.reached_flops_per_s(16) == pytest.approx(0.7e15)
    assert h100.reached_memory_bytes_per_s == pytest.approx(2.475e12)
    # Weights of 4 bits are multiplied at the rate of 8.
    assert h100.peak_for(4) == h100.peak_for(8) == 2e15
    with pytest.raises(UnsupportedError, match="3-bit"):
        h100.peak_for(3)


def test_published_prices() -> None:
    dollars = {name: ACCELERATORS[name].usd_per_hour for name in ("h100", "h200", "h20", "v100")}
    assert dollars == pytest.approx({"h100": 2.1, "h200": 2.94, "h20": 1.18125, "v100": 0.42})
    assert ACCELERATORS["a100"].usd_per_hour == pytest.approx(1.5067, rel=1e-4)


@pytest.mark.parametrize(
    "change", [{"memory_bytes": 0.0}, {"arithmetic_efficiency": 1.5}, {"kernel_launch_s": -1.0}]
)
def test_impossible_accelerators_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(InputError):
        replace(ACCELERATORS["h100"], **change)  # type: ignore[arg-type]


def test_aliases_are_the_same_hardware_and_models() -> None:
    assert ACCELERATORS["h100-sxm"] is ACCELERATORS["h100"]
    assert ACCELERATORS["a100-80g-sxm"] is ACCELERATORS["a100"]
    assert MODELS["llama-3.1-8b"] is MODELS["llama-3-8b"]
    assert MODELS["llama-3.3-70b"] is MODELS["llama-3.1-70b"] is MODELS["llama-3-70b"]
    assert isinstance(ACCELERATORS["tpu-v4"], PublishedAccelerator)


@pytest.mark.parametrize(
    ("name", "total", "active", "kv_bytes"),
    [
        ("llama-3-8b", 8_029_995_008, 8_029_995_008, 131072),
        ("llama-3-70b", 70_552_387_584, 70_552_387_584, 327680),
        ("llama-3.1-405b", 410_077_102_080, 410_077_102_080, 1032192),
        ("gpt-4", 1_796_850_057_216, 274_821_021_696, 92160),
        ("mixtral-8x22b", 140_617_187_328, 39_148_584_960, 229376),
        ("deepseek-v3", 666_070_679_552, 35_515_793_408, 59392),
        ("mistral-large-2", 122_607_894_528, 122_607_894_528, 360448),
    ],
)
def test_published_counts(name: str, total: float, active: float, kv_bytes: float) -> None:
    model = MODELS[name]
    assert (model.total_params, model.active_params) == (total, active)
    assert model.kv_bytes_per_token == kv_bytes


def test_counts_that_fix_the_small_models() -> None:
    assert MODELS["palm-8b"].total_params == 9_680_453_632
    assert MODELS["gpt-j-6b"].total_params == 6_048_849_920


def test_published_arithmetic_at_a_long_context() -> None:
    # Per million tokens at 100,000 tokens of context, at 1e15 FLOP/s.
    seconds = MODELS["deepseek-v3"].flops(1e5, 1) * 1e6 / 1e15
    assert seconds == pytest.approx(1591.4668, rel=1e-6)


@pytest.mark.skipif(not POINTS.exists(), reason="the published points are not beside this checkout")
def test_every_published_count() -> None:
    entries = [p for p in json.loads(POINTS.read_text()) if p["name"].startswith("model:")]
    assert {p["name"].removeprefix("model:") for p in entries} == set(NAMES)
    for point in entries:
        model = MODELS[NAMES[point["name"].removeprefix("model:")]]
        assert model.total_params == point["total"], model.name
        assert model.active_params == point["active"], model.name
        assert model.kv_bytes_per_token == point["kv_bytes"], model.name
        assert model.sparsity == point["sparsity"], model.name
