"""How one family of models is read, and what several families share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from headway.model.huggingface.attention import (
    Attentions,
    full_in_every_nth_layer,
    grouped,
    no_window,
    window_after_max_window_layers,
    window_everywhere,
    window_in_even_layers,
)
from headway.model.huggingface.ffn import Ffns, dense
from headway.model.huggingface.vectors import Switch, Vectors

_FULL_ATTENTION = grouped(no_window)
_GATED = dense()
_TWO_NORMS = Vectors()


@dataclass(frozen=True, slots=True)
class Family:
    """How to read one family; the fields of the class are those of a plain llama-like model.

    Attributes:
        attentions, ffns: readers of the attention and the feed-forward block of every layer.
        vectors: norms and biases.
        common_names: the common name of a field by the family's own.
        defaults: values of fields that the family leaves out.
        tied: what a missing ``tie_word_embeddings`` means; ``None`` if it must be stated.
        parallel: whether attention and feed-forward read the same input.
        position_offset: learned positions beyond ``max_position_embeddings``; ``None`` if there are
            no learned positions.
        must_be: fields of which only one value is understood.
        ignored: fields of the family that change neither work nor memory.

    """

    attentions: Attentions = _FULL_ATTENTION
    ffns: Ffns = _GATED
    vectors: Vectors = _TWO_NORMS
    common_names: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, object] = field(default_factory=dict)
    tied: bool | None = False
    parallel: Switch = False
    position_offset: int | None = None
    must_be: Mapping[str, object] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()


ATTENTION_BIAS = Vectors(qkv_bias="attention_bias", output_bias="attention_bias")
BIASED = Vectors(norm_bias=True, qkv_bias=True, output_bias=True, mlp_bias=True)
ALL_BIASES = Vectors(qkv_bias="use_bias", output_bias="use_bias", mlp_bias="use_bias")
ONE_BIAS = Vectors(qkv_bias="bias", output_bias="bias")
EXPERTS = {"num_local_experts": "num_experts", "n_routed_experts": "num_experts"}
MPT_NAMES = {
    "d_model": "hidden_size",
    "n_heads": "num_attention_heads",
    "n_layers": "num_hidden_layers",
    "max_seq_len": "max_position_embeddings",
}

LLAMA = Family(vectors=replace(ATTENTION_BIAS, mlp_bias="mlp_bias"))
GENERIC = replace(LLAMA, tied=None)
MISTRAL = Family(attentions=grouped(window_everywhere, needs_kv_heads=True))
QWEN2 = Family(
    attentions=grouped(window_after_max_window_layers, needs_kv_heads=True),
    vectors=Vectors(qkv_bias=True),
)
QWEN3 = replace(QWEN2, vectors=replace(ATTENTION_BIAS, qk_norm_heads=True))
GEMMA = Family(vectors=ATTENTION_BIAS, tied=True)
GEMMA2 = replace(
    GEMMA,
    attentions=grouped(window_in_even_layers, needs_kv_heads=True),
    vectors=replace(GEMMA.vectors, norms=4),
)
GEMMA3 = replace(
    GEMMA2,
    attentions=grouped(full_in_every_nth_layer(6), needs_kv_heads=True),
    vectors=replace(GEMMA2.vectors, qk_norm_heads=True),
    # Files of Gemma 3 leave out what equals the defaults of transformers' Gemma3TextConfig.
    defaults={
        "vocab_size": 262208,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "max_position_embeddings": 131072,
    },
    ignored=frozenset({"use_bidirectional_attention"}),
)
OLMO2 = replace(LLAMA, vectors=replace(LLAMA.vectors, mlp_bias=False, qk_norm_wide=True))
