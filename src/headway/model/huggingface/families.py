"""What each `model_type` of Hugging Face's transformers means, field by field.

Read from the modeling code of transformers 4.57, 5.23 and 5.24. A family that is not here is read
as a plain llama-like model, and refused as soon as it has a field of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from headway.model.huggingface.attention import (
    full_in_every_nth_layer,
    grouped,
    last_of_the_pattern,
    window_after_max_window_layers,
    window_everywhere,
)
from headway.model.huggingface.early_families import EARLY
from headway.model.huggingface.expert_families import WITH_EXPERTS
from headway.model.huggingface.family import (
    ALL_BIASES,
    ATTENTION_BIAS,
    GEMMA,
    GEMMA2,
    GEMMA3,
    LLAMA,
    MISTRAL,
    OLMO2,
    ONE_BIAS,
    QWEN2,
    QWEN3,
    Family,
)
from headway.model.huggingface.ffn import dense
from headway.model.huggingface.hybrid_families import HYBRIDS
from headway.model.huggingface.vectors import Vectors

_DENSE: Mapping[str, Family] = {
    "llama": LLAMA,
    "mistral": MISTRAL,
    "ministral3": replace(MISTRAL, defaults={"sliding_window": None}),
    "phi3": Family(attentions=grouped(window_everywhere), defaults={"sliding_window": None}),
    **dict.fromkeys(("qwen2", "qwen2_vl", "qwen2_5_vl", "qwen2_vl_text", "qwen2_5_vl_text"), QWEN2),
    "qwen3": QWEN3,
    "qwen3_vl_text": QWEN3,
    "mimo": replace(QWEN2, vectors=Vectors(qkv_bias="attention_bias")),
    "gemma": GEMMA,
    "gemma2": GEMMA2,
    "gemma3_text": GEMMA3,
    "glm4": Family(vectors=Vectors(norms=4, qkv_bias="attention_bias")),
    # Its norms have no weights.
    "olmo": replace(LLAMA, vectors=Vectors(norms=0, final_norm=False)),
    "olmo2": OLMO2,
    "olmo3": replace(OLMO2, attentions=grouped(full_in_every_nth_layer(4))),
    "granite": LLAMA,
    "smollm3": replace(
        LLAMA,
        attentions=grouped(window_after_max_window_layers, needs_kv_heads=True),
        tied=True,
        ignored=frozenset({"no_rope_layers", "no_rope_layer_interval"}),
    ),
    "seed_oss": Family(
        vectors=Vectors(
            qkv_bias="attention_bias", output_bias="attention_out_bias", mlp_bias="mlp_bias"
        ),
        defaults={"attention_bias": True},
    ),
    "arcee": replace(LLAMA, ffns=dense(gated=False)),
    "nemotron": replace(
        LLAMA, ffns=dense(gated=False), vectors=replace(LLAMA.vectors, norm_bias=True)
    ),
    "cohere": Family(
        vectors=replace(ATTENTION_BIAS, norms=1, qk_norm_wide="use_qk_norm"),
        tied=True,
        parallel=True,
    ),
    "cohere2": Family(
        attentions=grouped(full_in_every_nth_layer(4)),
        vectors=replace(ATTENTION_BIAS, norms=1),
        tied=True,
        parallel=True,
        ignored=frozenset({"order_of_interleaved_layers", "use_parallel_block"}),
    ),
    "glm": Family(vectors=Vectors(qkv_bias="attention_bias")),
    "internlm2": Family(vectors=ONE_BIAS),
    "internlm3": Family(vectors=replace(ONE_BIAS, qkv_bias="qkv_bias", mlp_bias="bias")),
    "minicpm": Family(tied=True, ignored=frozenset({"scale_depth", "dim_model_base"})),
    "exaone": Family(common_names={"num_layers": "num_hidden_layers"}),
    "exaone4": Family(attentions=grouped(last_of_the_pattern), vectors=Vectors(qk_norm_heads=True)),
    "ernie4_5": Family(vectors=ALL_BIASES, tied=True),
}

FAMILIES: Mapping[str, Family] = {**_DENSE, **EARLY, **WITH_EXPERTS, **HYBRIDS}
