"""State-space mixers: what they weigh, what they keep, and what a step over them takes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from headway.errors import InputError, UnsupportedError
from headway.hardware.catalogue import find_cluster
from headway.model.attention import StateSpace
from headway.model.catalogue import find_entry, find_model, find_precision
from headway.model.ffn import MoeFfn
from headway.model.huggingface.config import architecture_from_config
from headway.steptime.deployment import Deployment

NEMOTRON = find_model("nemotron-nano-9b-v2")


def test_mamba_2_weighs_what_its_matrices_hold() -> None:
    mixer = StateSpace(num_heads=128, inner_size=10240, state_size=128, num_groups=8)
    # Input and gate, B and C, one step size per head; the convolution; the output.
    inputs = 4480 * (2 * 10240 + 2 * 8 * 128 + 128)
    assert mixer.params(4480) == inputs + (10240 + 2048) * 4 + 10240 * 4480
    assert mixer.kv_elements_per_token == 0
    assert mixer.state_elements == 10240 * 128


def test_a_hybrid_keeps_a_state_and_a_short_cache() -> None:
    # Of 31 mixers 4 are attention: 8 heads of 128, keys and values.
    assert NEMOTRON.num_layers == 31
    assert NEMOTRON.kv_elements_per_token == 4 * 2 * 8 * 128
    assert NEMOTRON.state_elements == 27 * 10240 * 128
    assert sum(group.ffn is None for group in NEMOTRON.layers for _ in range(group.count)) == 6


def test_a_longer_context_costs_a_hybrid_only_its_attention() -> None:
    deployment = Deployment(NEMOTRON, find_cluster("h100"), engine=None)
    times = deployment.step_time(8, [1_000, 100_000]).bound
    assert times is not None
    more_bytes = 4 * 2 * 8 * 128 * 2 * 8 * 99_000
    rate = deployment.cluster.accelerator.memory_bandwidth_bytes_per_s
    assert float(np.diff(times.memory_s)[0]) == pytest.approx(more_bytes / rate, rel=1e-6)


def test_tensor_parallelism_shares_out_the_state() -> None:
    alone = Deployment(NEMOTRON, find_cluster("h100"), engine=None)
    shared = Deployment(NEMOTRON, find_cluster("h100"), tp=8, engine=None)
    assert float(shared.kv_bytes(4, 1000)) == pytest.approx(float(alone.kv_bytes(4, 1000)) / 8)
    assert float(shared.step_time(4, 1000).expected_s) < float(alone.step_time(4, 1000).expected_s)


def test_heads_divide_the_inner_width() -> None:
    with pytest.raises(InputError, match="multiple of num_heads"):
        StateSpace(num_heads=7, inner_size=100, state_size=16)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hybrid_override_pattern": "M-X"}, "must be made of M"),
        ({"hybrid_override_pattern": "M-"}, "one letter per layer"),
        ({"hybrid_override_pattern": "M--", "num_hidden_layers": 3}, "more blocks than mixers"),
        ({"mamba_proj_bias": True}, "mamba_proj_bias"),
    ],
)
def test_patterns_that_are_not_understood_are_refused(
    change: dict[str, object], message: str
) -> None:
    config = {**find_entry("nemotron-nano-9b-v2").config, **change}
    with pytest.raises((InputError, UnsupportedError), match=message):
        architecture_from_config(config, "changed")


def test_mamba_2_alone_has_no_feed_forward_block() -> None:
    """Mamba-2 2.7B: 2,702,599,680 weights, all in 64 mixers and one shared table."""
    config = {
        "model_type": "mamba2",
        "hidden_size": 2560,
        "num_hidden_layers": 64,
        "num_heads": 80,
        "head_dim": 64,
        "state_size": 128,
        "n_groups": 1,
        "conv_kernel": 4,
        "expand": 2,
        "vocab_size": 50288,
        "tie_word_embeddings": True,
        "use_bias": False,
        "use_conv_bias": True,
    }
    model = architecture_from_config(config, "mamba2-2.7b")
    assert all(group.ffn is None for group in model.layers)
    assert model.total_params == pytest.approx(2.70e9, rel=0.003)
    assert model.kv_elements_per_token == 0


@pytest.mark.parametrize(
    ("name", "base", "precision", "context"),
    [
        ("moonshotai/Kimi-K2.5", "kimi-k2", "int4+bf16/bf16/bf16", 262_144),
        ("nvidia/Kimi-K2.5-NVFP4", "kimi-k2", "nvfp4/nvfp4/bf16", 262_144),
        ("moonshotai/Kimi-K2-Instruct", "kimi-k2", "fp8/fp8/bf16", 131_072),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", "qwen2.5-32b", "bf16/bf16/bf16", 131_072),
        ("Qwen/QwQ-32B-AWQ", "qwen2.5-32b", "int4/bf16/bf16", 131_072),
        ("nvidia/DeepSeek-R1-0528-NVFP4-v2", "deepseek-r1", "nvfp4/nvfp4/bf16", 163_840),
        ("google/gemma-3-27b-it-qat-q4_0-gguf", "gemma-3-27b", "int4/bf16/bf16", 131_072),
        ("Qwen/Qwen3-VL-30B-A3B-Instruct-FP8", "qwen3-30b-a3b", "fp8/fp8/bf16", 262_144),
    ],
)
def test_a_tuned_model_has_the_layers_of_its_base_and_its_own_terms(
    name: str, base: str, precision: str, context: int
) -> None:
    model = find_model(name)
    assert model.name == base
    assert str(find_precision(name)) == precision
    assert model.max_context_tokens == context
    assert replace(model, max_context_tokens=None) == replace(
        find_model(base), max_context_tokens=None
    )


def test_experts_in_a_latent_count_as_narrower_ones_of_full_width() -> None:
    """Nemotron 3 Super: 2 x 1024 x 2688 per expert, and 4096 x 1024 into the latent and out."""
    blocks = [group.ffn for group in find_model("nemotron-3-super-120b-a12b").layers]
    experts = next(ffn for ffn in blocks if isinstance(ffn, MoeFfn))
    assert experts.expert_params(4096) == 2 * 1024 * 2688
    assert experts.shared_params(4096) == 2 * 4096 * (5376 + 1024)

    config = {**find_entry("nemotron-3-nano-30b-a3b").config, "moe_latent_size": 1000}
    with pytest.raises(UnsupportedError, match="must be a multiple of hidden_size"):
        architecture_from_config(config, "changed")


def test_a_pattern_may_be_spelled_out_in_words() -> None:
    entry = find_entry("nemotron-nano-9b-v2")
    words = {"M": "mamba", "*": "attention", "-": "mlp"}
    pattern = str(entry.config["hybrid_override_pattern"])
    spelled = {
        k: v for k, v in entry.config.items() if "pattern" not in k and k != "num_hidden_layers"
    }
    config = {**spelled, "layers_block_type": [words[letter] for letter in pattern]}
    assert architecture_from_config(config, entry.name) == architecture_from_config(
        entry.config, entry.name
    )
