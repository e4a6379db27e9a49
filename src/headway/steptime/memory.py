"""What must fit into the memory of one accelerator: weights, and the cache of all sequences."""

from __future__ import annotations

import numpy as np

from headway.model.architecture import LayerGroup, ModelArchitecture
from headway.model.attention import (
    Attention,
    GroupedQueryAttention,
    LatentAttention,
    LinearAttention,
    StateSpace,
)
from headway.model.ffn import DenseFfn, MoeFfn
from headway.model.precision import Precision
from headway.steptime.operators import STATE_BYTES, hidden_bytes
from headway.steptime.parallelism import Parallelism
from headway.steptime.work import Array, Number


def weight_bytes(
    model: ModelArchitecture,
    precision: Precision,
    parallelism: Parallelism,
    with_tables: bool = True,
) -> Array:
    """Bytes of weights on the fullest accelerator.

    Layers are dealt out evenly, rounded up; embedding and head stand on the first and the last
    stage, unquantized (left out without ``with_tables``). Query and expert weights are split,
    key-value heads replicated where there are more ranks than heads, routers and shared latents
    replicated.
    """
    per_layer = sum(
        group.count * _layer_bytes(model, group, precision, parallelism) for group in model.layers
    )
    stage = np.ceil(model.num_layers / parallelism.pp) * per_layer / model.num_layers
    if not with_tables:
        return np.asarray(stage)
    tables = [model.embedding_params, 0 if model.tied_embeddings else model.head_params]
    edge = np.where(parallelism.pp == 1, sum(tables), max(tables)) / parallelism.tp
    return np.asarray(stage + edge * hidden_bytes(precision))


def kv_bytes(
    model: ModelArchitecture,
    precision: Precision,
    parallelism: Parallelism,
    sequences: Number,
    context_tokens: Number,
) -> Array:
    """Bytes of KV cache and recurrent state on the fullest accelerator.

    All ``sequences`` of the engine count, those of every micro-batch in flight included; each
    holds ``context_tokens``, or what its windows still see.
    """
    share = np.ceil(np.asarray(sequences) / parallelism.dp)
    per_layer = sum(
        group.count * _cache_bytes(group.attention, precision, parallelism, share, context_tokens)
        for group in model.layers
    )
    return np.asarray(np.ceil(model.num_layers / parallelism.pp) * per_layer / model.num_layers)


def _layer_bytes(
    model: ModelArchitecture, group: LayerGroup, precision: Precision, parallelism: Parallelism
) -> Number:
    d, stored = model.hidden_size, precision.weights.bytes
    per_param = precision.stored_attention.bytes
    attention = _attention_params(group.attention, d, parallelism) * per_param
    match group.ffn:
        case None:
            return attention
        case DenseFfn():
            return attention + group.ffn.params(d) / parallelism.tp * stored
        case MoeFfn():
            routed = group.ffn.num_experts * group.ffn.expert_params(d)
            split = routed / (parallelism.tp * parallelism.dp)
            shared = group.ffn.shared_params(d) / parallelism.tp
            router = group.ffn.num_experts * d * hidden_bytes(precision)
            return attention + (split + shared) * stored + router


def _attention_params(attention: Attention, hidden_size: int, parallelism: Parallelism) -> Number:
    whole = attention.params(hidden_size)
    match attention:
        case GroupedQueryAttention():
            kv = hidden_size * attention.kv_elements_per_token
            copies = np.maximum(parallelism.columns / attention.num_kv_heads, 1.0)
            return (whole + kv * (copies - 1)) / parallelism.tp
        case LatentAttention():
            shared = hidden_size * (
                (attention.q_lora_rank or 0) + attention.kv_lora_rank + attention.qk_rope_head_dim
            ) + attention.index_params(hidden_size)
            return (whole - shared) / parallelism.tp + shared / parallelism.rows
        case LinearAttention() | StateSpace():
            return whole / parallelism.tp


def _cache_bytes(
    attention: Attention,
    precision: Precision,
    parallelism: Parallelism,
    sequences: Number,
    context_tokens: Number,
) -> Number:
    """Bytes of one layer's cache for the sequences of a data-parallel group, per accelerator."""
    share = np.ceil(np.asarray(sequences) / parallelism.rows)
    match attention:
        case GroupedQueryAttention():
            tokens = context_tokens
            if attention.window_tokens is not None:
                tokens = np.minimum(context_tokens, attention.window_tokens)
            heads = np.ceil(attention.num_kv_heads / parallelism.columns)
            width = attention.kv_elements_per_token // attention.num_kv_heads
            return share * tokens * heads * width * precision.kv_cache.bytes
        case LatentAttention():  # one latent for all heads: every tensor-parallel rank holds it
            width = attention.kv_elements_per_token
            return share * context_tokens * width * precision.kv_cache.bytes
        case LinearAttention() | StateSpace():
            return share * attention.state_elements / parallelism.columns * STATE_BYTES
