"""Parameter counts of the catalogue against what publishers count.

The published numbers, their sources and what they count stand in each catalogue file. Here stands
what a published total holds beyond `total_params`, so that the two can be compared to the last
digit: stored totals are Hugging Face's `safetensors.total`, read from copies of its API answers of
2026-09-25 and 2026-10-01.
"""

from collections.abc import Callable

import pytest

from headway.model.architecture import ModelArchitecture
from headway.model.catalogue import find_entry, find_model, names
from headway.model.ffn import MoeFfn
from headway.model.huggingface.config import architecture_from_config

Count = Callable[[ModelArchitecture], int]


def nothing(model: ModelArchitecture) -> int:
    return 0


def mtp(model: ModelArchitecture) -> int:
    return model.mtp_params


def mtp_with_tables(model: ModelArchitecture) -> int:
    """The drafting block is stored with its own copies of the input table and the head."""
    return model.mtp_params + model.embedding_params + model.head_params


def table_again(model: ModelArchitecture) -> int:
    return model.head_params


def rotary_frequencies(model: ModelArchitecture) -> int:
    """Half a head of frequencies per layer, stored by old versions of transformers."""
    return model.num_layers * 64


def causal_masks(model: ModelArchitecture) -> int:
    """One mask per layer, stored by old versions of transformers."""
    assert model.max_context_tokens is not None
    return model.num_layers * model.max_context_tokens**2


def also(more: int, beyond: Count = nothing) -> Count:
    return lambda model: beyond(model) + more


# What is stored beyond the language model. Every other model that is not in CLOSE has a published
# total equal to ours. The vision towers with their projectors were counted with transformers 5.23
# and 5.24, from vision_config.
BEYOND: dict[str, Count] = {
    **dict.fromkeys(
        ("llama-7b", "llama-13b", "llama-2-7b", "llama-2-13b", "llama-2-70b"), rotary_frequencies
    ),
    "chatglm3-6b": also(32),
    **dict.fromkeys(("gpt2-124m", "gpt2-medium", "gpt2-large"), causal_masks),
    **dict.fromkeys(("llama-4-scout", "llama-4-maverick"), also(871_932_416)),
    "gemma-3-4b": also(419_816_304),
    "gemma-3-12b": also(421_290_864),
    "gemma-3-27b": also(423_060_336),
    "gemma-4-26b-a4b": also(572_792_112, table_again),
    "gemma-4-31b": also(575_741_232, table_again),
    **dict.fromkeys(("falcon-40b", "falcon-180b", "qwen3-0.6b", "qwen3-1.7b"), table_again),
    # Its blocks without attention are counted with the block before them; each has a norm.
    "llama-3.3-nemotron-super-49b": also(31 * 8192),
    "nemotron-3-super-120b-a12b": mtp,
    "glm-4.6": mtp,
    "glm-4.7-flash": mtp_with_tables,
    "glm-5": mtp,
    "glm-5.2": mtp,
    "glm-4.5": mtp_with_tables,
    "glm-4.5-air": mtp_with_tables,
    "deepseek-r1": mtp_with_tables,
    "deepseek-v3.2": mtp_with_tables,
    # One 32-bit scale per 128 x 128 weights, stored beside 8-bit weights.
    "deepseek-v3": also(41_540_496, mtp_with_tables),
    "minimax-m2.5": also(13_880_064),
    "qwen3.5-4b": also(333_514_240, mtp),
    "qwen3.5-9b": also(456_010_480, mtp),
    "qwen3.5-27b": also(460_730_096, mtp),
    "qwen3.5-35b-a3b": also(446_571_248, mtp),
    "qwen3.5-122b-a10b": also(451_290_864, mtp),
    "qwen3.5-397b-a17b": also(456_010_480, mtp),
    # Its drafting block is stored although config.json does not mention it; see the test below.
    "qwen3-next-80b-a3b": also(1_650_471_424),
    # Of these numbers we know no tensor; they are 3 in 10^9 of the model.
    "kimi-k2": also(3_416),
}

# Rounded in print, or counted by the publisher in a way that is not told.
ROUNDED = [name for name in names() if isinstance(find_entry(name).published.total, str)]
CLOSE = [*ROUNDED, "gpt-j-6b", "granite-4.0-h-small", "jamba-large-1.7"]
EXACT = [name for name in names() if name not in CLOSE]


def with_input_table(model: ModelArchitecture) -> int:
    return model.active_params + model.vocab_size * model.hidden_size


def with_head(model: ModelArchitecture) -> int:
    return model.active_params


def layers_only(model: ModelArchitecture) -> int:
    return model.active_params - model.head_params


CONVENTIONS = {
    "with the input table": with_input_table,
    "with the output head, without the input table": with_head,
    "neither input table nor output head": layers_only,
    "neither input table nor output head, one digit": layers_only,
}

ACTIVE = tuple(name for name in names() if find_entry(name).published.active is not None)
# Printed with three digits or more, so that 0.5% can be told.
PRECISE = ("deepseek-v3", "gpt-oss-20b", "gpt-oss-120b", "mixtral-8x7b")


def billions(text: str) -> tuple[float, float]:
    """The number printed as, say, ``12.9B``, and the value of its last digit."""
    digits = text.removesuffix("B")
    assert digits != text
    return float(digits) * 1e9, 1e9 / 10 ** len(digits.partition(".")[2])


def test_what_is_listed_here_is_in_the_catalogue() -> None:
    assert {*BEYOND, *CLOSE} <= set(names())
    assert not set(BEYOND) & set(CLOSE)
    assert len(EXACT) > 4 * len(CLOSE)


@pytest.mark.parametrize("name", EXACT)
def test_total_equals_the_published_one_to_the_last_digit(name: str) -> None:
    model = find_model(name)
    beyond = BEYOND.get(name, nothing)(model)
    assert model.total_params + beyond == find_entry(name).published.total


@pytest.mark.parametrize("name", CLOSE)
def test_total_is_within_half_a_percent_or_the_printed_digits(name: str) -> None:
    total, published = find_model(name).total_params, find_entry(name).published.total
    if isinstance(published, int):
        assert abs(total - published) <= 0.005 * published
    else:
        number, last_digit = billions(published)
        assert abs(total - number) < last_digit


@pytest.mark.parametrize("name", PRECISE)
def test_active_is_within_half_a_percent(name: str) -> None:
    published = find_entry(name).published
    assert published.active is not None
    assert published.active_counts is not None
    number, _ = billions(published.active)
    ours = CONVENTIONS[published.active_counts](find_model(name))
    assert abs(ours - number) <= 0.005 * number


@pytest.mark.parametrize("name", ACTIVE)
def test_active_agrees_in_the_printed_digits(name: str) -> None:
    """Within the last printed digit, because some publishers round and some cut."""
    published = find_entry(name).published
    assert published.active is not None
    assert published.active_counts is not None
    number, last_digit = billions(published.active)
    assert abs(CONVENTIONS[published.active_counts](find_model(name)) - number) < last_digit


def test_the_unmentioned_drafting_block_of_qwen3_next() -> None:
    entry = find_entry("qwen3-next-80b-a3b")
    drafting = architecture_from_config({**entry.config, "num_nextn_predict_layers": 1}, "drafting")
    assert drafting.mtp_params == 1_650_471_424


def test_borrowed_indexers_of_glm_5_2() -> None:
    """GLM-5.2 is GLM-5 with one indexer for four layers; 753,329,940,480 tensors are stored."""
    entry = find_entry("glm-5")
    kinds = ["full"] * 3 + (["shared"] * 3 + ["full"]) * 18 + ["shared"] * 3
    model = architecture_from_config({**entry.config, "indexer_types": kinds}, "glm-5.2")
    assert model.total_params + model.mtp_params == 753_329_940_480


def test_stored_numbers_of_gpt_oss() -> None:
    """Hugging Face lists 1,804,459,584 numbers in bf16 and 19,110,297,600 in mxfp4."""
    model = find_model("gpt-oss-20b")
    experts = sum(
        group.count * group.ffn.num_experts * group.ffn.expert_params(model.hidden_size)
        for group in model.layers
        if isinstance(group.ffn, MoeFfn)
    )
    assert experts == 19_110_297_600
    assert model.total_params - experts == 1_804_459_584


@pytest.mark.parametrize(
    ("config", "total", "cache_elements"),
    [
        # tiiuae/falcon-7b, allenai/OLMo-7B-hf and THUDM/GLM-4-9B-0414: their safetensors.total.
        (
            {"model_type": "falcon", "hidden_size": 4544, "num_attention_heads": 71,
             "num_hidden_layers": 32, "vocab_size": 65024, "multi_query": True,
             "new_decoder_architecture": False, "parallel_attn": True, "bias": False,
             "alibi": False, "apply_residual_connection_post_layernorm": False},
            6_921_720_704, 32 * 2 * 64,
        ),
        (
            {"model_type": "olmo", "hidden_size": 4096, "intermediate_size": 11008,
             "num_attention_heads": 32, "num_key_value_heads": 32, "num_hidden_layers": 32,
             "vocab_size": 50304, "attention_bias": False, "clip_qkv": None,
             "tie_word_embeddings": False},
            6_888_095_744, 32 * 2 * 4096,
        ),
        (
            {"model_type": "glm4", "hidden_size": 4096, "intermediate_size": 13696,
             "head_dim": 128, "num_attention_heads": 32, "num_key_value_heads": 2,
             "num_hidden_layers": 40, "vocab_size": 151552, "attention_bias": True,
             "partial_rotary_factor": 0.5, "tie_word_embeddings": False},
            9_400_279_040, 40 * 2 * 256,
        ),
    ],
)  # fmt: skip
def test_models_outside_the_catalogue(
    config: dict[str, object], total: int, cache_elements: int
) -> None:
    model = architecture_from_config(config, "stranger")
    assert (model.total_params, model.kv_elements_per_token) == (total, cache_elements)
