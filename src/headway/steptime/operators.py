"""The work of one layer's blocks on one accelerator.

Each function returns the computations of a block for the tokens of one micro-batch: weights
are read once, activations are read and written once per matrix product, and the KV cache is read
once for every sequence. Formulas are derived here unless a source is named.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headway.dtypes import DType
from headway.model.attention import (
    Attention,
    GroupedQueryAttention,
    LatentAttention,
    LinearAttention,
    StateSpace,
)
from headway.model.ffn import DenseFfn, MoeFfn
from headway.model.precision import Precision
from headway.steptime.work import Array, Kind, Number, Op, Work
from headway.workload.step import Step

# Two projections and the weights', a norm, rotary positions, two rotations and two quantizations,
# the cache's write, the scores, the choice (DeepSeek-V3.2's published indexer).
INDEXER_KERNELS = 12
STATE_BYTES = 4.0  # recurrent states are kept in 32 bits


@dataclass(frozen=True, slots=True, eq=False)
class Shard:
    """What one rank holds of a layer, and the tokens that it sees.

    ``tokens`` are those of one micro-batch of a data-parallel group, ``rank_step`` the sequences
    of it whose attention this rank computes (fewer where ``rows`` ranks share them out).
    """

    hidden_size: int
    precision: Precision
    rows: Number
    columns: Number
    rank_step: Step
    tokens: Array

    @property
    def hidden_bytes(self) -> float:
        """Bytes of one activation between products: 16 bits, or 32 in full precision."""
        return hidden_bytes(self.precision)

    @property
    def attention_dtype(self) -> DType:
        """Scores are computed in 16 bits, or 32 in full precision, whatever the weights are."""
        return wide_dtype(self.precision)

    def product(
        self, name: str, weights: Number, activations: Number, kernels: int, stored: DType
    ) -> Op:
        """A product of every token with ``weights``, moving ``activations`` elements per token.

        Weights that are ``stored`` in 16 bits or more are not computed in less.
        """
        wide = stored.bits >= self.attention_dtype.bits
        return Op(
            name,
            self.attention_dtype if wide else self.precision.activations,
            Work(
                flops=2 * self.tokens * weights,
                weight_bytes=weights * stored.bytes,
                activation_bytes=self.tokens * activations * self.hidden_bytes,
                kernels=kernels,
            ),
            stored=stored,
        )


def hidden_bytes(precision: Precision) -> float:
    """Bytes of one activation, embedding or output-head element: these are not quantized."""
    return wide_dtype(precision).bytes


def wide_dtype(precision: Precision) -> DType:
    """The unquantized format that goes with a precision."""
    if precision.activations in (DType.FP32, DType.FP16):
        return precision.activations
    return DType.FP16 if precision.kv_cache is DType.FP16 else DType.BF16


def attention_ops(attention: Attention, shard: Shard) -> list[Op]:
    """Return projections and scores of one attention block."""
    match attention:
        case GroupedQueryAttention():
            return _grouped_query(attention, shard)
        case LatentAttention():
            return _latent(attention, shard)
        case LinearAttention():
            return _linear(attention, shard)
        case StateSpace():
            return _state_space(attention, shard)


def qkv_width(attention: Attention, columns: Number) -> Number:
    """Return the width of the input projection on one rank, which two dimensions must reduce."""
    match attention:
        case GroupedQueryAttention(head_dim=head_dim):
            q = _share(attention.num_heads, columns) * head_dim
            kv = _share(attention.num_kv_heads, columns) * head_dim
            return q * (2 if attention.gated else 1) + kv * (1 if attention.shared_kv else 2)
        case LatentAttention():
            qk = attention.qk_nope_head_dim + attention.qk_rope_head_dim
            return _share(attention.num_heads, columns) * qk + attention.kv_elements_per_token
        case LinearAttention():
            keys = _share(attention.num_key_heads, columns) * attention.key_head_dim
            values = _share(attention.num_value_heads, columns) * attention.value_head_dim
            return 2 * keys + 2 * values
        case StateSpace():
            share = _share(attention.num_heads, columns) / attention.num_heads
            return 2 * attention.inner_size * share + attention.selection_size


def _grouped_query(attention: GroupedQueryAttention, shard: Shard) -> list[Op]:
    stored = shard.precision.stored_attention
    heads = _share(attention.num_heads, shard.columns)
    q = heads * attention.head_dim
    kv_width = attention.kv_elements_per_token // attention.num_kv_heads
    kv = _share(attention.num_kv_heads, shard.columns) * kv_width
    qkv = qkv_width(attention, shard.columns)
    d = shard.hidden_size / shard.rows

    # Scores: every query meets the keys of its window, and the cache of it is read once.
    step, window = shard.rank_step, attention.window_tokens
    pairs = (step.num_sequences * step.attended_pairs(window)).sum(axis=-1)
    touched = step.num_sequences * (step.cached_tokens(window) + step.scheduled_tokens)
    scores = Work(
        flops=4 * q * pairs,
        kv_bytes=kv * shard.precision.kv_cache.bytes * touched.sum(axis=-1),
        activation_bytes=2 * q * step.total_tokens * shard.hidden_bytes,
        kernels=2,
    )

    return [
        shard.product("qkv projection", d * qkv, d + qkv, 2, stored),
        Op("attention scores", shard.attention_dtype, scores, Kind.SCORES),
        shard.product("output projection", d * q, d + q, 1, stored),
    ]


def _latent(attention: LatentAttention, shard: Shard) -> list[Op]:
    """Multi-head latent attention (DeepSeek-V2, section 2.1.2).

    The up-projection of the cache is either absorbed into queries and outputs, so that scores
    run on latents (cheaper in decode), or applied to the cache (cheaper in prefill); an engine
    takes the cheaper, group by group.
    """
    d = shard.hidden_size / shard.rows
    heads = _share(attention.num_heads, shard.columns)
    nope, rope = attention.qk_nope_head_dim, attention.qk_rope_head_dim
    latent, v = attention.kv_lora_rank, attention.v_head_dim

    # Projections to the latents, and up from them.
    q_in = d if attention.q_lora_rank is None else attention.q_lora_rank
    down = d * (latent + rope + (attention.q_lora_rank or 0))
    index = attention.index_params(shard.hidden_size) / shard.rows
    inputs = down + q_in * heads * (nope + rope) + index
    up = latent * heads * (nope + v)

    # Scores: on latents, or on the cache that is projected up; the cheaper by group.
    stored = shard.precision.stored_attention
    step = shard.rank_step
    topk = attention.index_topk or None
    pairs = step.attended_pairs(topk)
    context = step.computed_tokens + step.scheduled_tokens
    by_group = heads[..., None]  # against the group axis of the step
    up_flops = 2 * latent * by_group * (nope + v)
    absorbed = up_flops * step.scheduled_tokens + 2 * by_group * (2 * latent + rope) * pairs
    expanded = up_flops * context + 2 * by_group * (nope + rope + v) * pairs
    scoring = np.minimum(absorbed, expanded)

    # Sparse attention reads the tokens that its indexer has chosen, and scores all for it.
    read = step.computed_tokens
    if topk is not None:
        read = np.minimum(read, topk * step.scheduled_tokens)
        scoring = scoring + (
            2 * attention.index_num_heads * attention.index_head_dim * step.attended_pairs()
        )

    cache = (read + step.scheduled_tokens) * (latent + rope) + context * attention.index_head_dim
    scores = Work(
        flops=(step.num_sequences * scoring).sum(axis=-1),
        weight_bytes=up * stored.bytes,
        kv_bytes=shard.precision.kv_cache.bytes * (step.num_sequences * cache).sum(axis=-1),
        activation_bytes=heads * (nope + rope + v) * step.total_tokens * shard.hidden_bytes,
        kernels=4 if topk is None else 4 + INDEXER_KERNELS,
    )

    return [
        shard.product(
            "qkv projection", inputs, d + heads * (nope + rope) + latent + rope, 4, stored
        ),
        Op("attention scores", shard.attention_dtype, scores, Kind.LATENT, stored),
        shard.product("output projection", d * heads * v, d + heads * v, 1, stored),
    ]


def _linear(attention: LinearAttention, shard: Shard) -> list[Op]:
    """Gated DeltaNet (Yang et al. 2024, eq. 10): decay, two products and one update per token.

    That is 7 operations per state element and token; the state is read and written once.
    """
    d = shard.hidden_size / shard.rows
    stored = shard.precision.stored_attention
    value_heads = _share(attention.num_value_heads, shard.columns)
    values = value_heads * attention.value_head_dim
    qkvz = qkv_width(attention, shard.columns)

    state = values * attention.key_head_dim
    step = shard.rank_step
    recurrence = Work(
        flops=7 * state * step.total_tokens,
        kv_bytes=2 * state * STATE_BYTES * step.total_sequences,
        activation_bytes=(qkvz + values) * step.total_tokens * shard.hidden_bytes,
        kernels=4,
    )
    return [
        shard.product("qkv projection", d * (qkvz + 2 * value_heads), d + qkvz, 2, stored),
        Op("attention scores", shard.attention_dtype, recurrence, Kind.RECURRENT),
        shard.product("output projection", d * values, d + values, 1, stored),
    ]


def _state_space(attention: StateSpace, shard: Shard) -> list[Op]:
    """Mamba-2, or Mamba: decay, an update and a contraction per state element and token.

    That is 5 operations: one for the decay, two for the update, two for the contraction with C.
    The state is read and written once. Mamba's projections from the inner width are counted with
    its inputs.
    """
    d = shard.hidden_size / shard.rows
    stored = shard.precision.stored_attention
    share = _share(attention.num_heads, shard.columns) / attention.num_heads
    inner = attention.inner_size * share

    inputs = qkv_width(attention, shard.columns) + attention.step_sizes * share
    weights = d * inputs
    if attention.dt_rank:
        selected = attention.selection_size + attention.dt_rank
        weights = d * 2 * inner + inner * (selected + attention.dt_rank)

    step = shard.rank_step
    recurrence = Work(
        flops=5 * inner * attention.state_size * step.total_tokens,
        kv_bytes=2 * inner * attention.state_size * STATE_BYTES * step.total_sequences,
        activation_bytes=(inputs + inner) * step.total_tokens * shard.hidden_bytes,
        kernels=4,
    )
    return [
        shard.product("qkv projection", weights, d + inputs, 2, stored),
        Op("attention scores", shard.attention_dtype, recurrence, Kind.RECURRENT),
        shard.product("output projection", d * inner, d + inner, 1, stored),
    ]


def dense_ops(ffn: DenseFfn, shard: Shard, name: str = "feed-forward") -> list[Op]:
    """Return a dense feed-forward block, split over rows and columns."""
    d = shard.hidden_size / shard.rows
    width = ffn.intermediate_size / shard.columns
    weights = ffn.num_matrices * d * width
    activations = 2 * d + ffn.num_matrices * width
    return [shard.product(name, weights, activations, 3 + ffn.gated, shard.precision.weights)]


def moe_ops(moe: MoeFfn, shard: Shard, dp: Number, ep: Number) -> list[Op]:
    """Return a mixture of experts over ``ep`` groups, on the busiest of them.

    Each token picks ``num_experts_per_token`` distinct experts, independently and uniformly, so
    an expert stays untouched by T tokens with probability (1 - k/E)^T. The busiest of ``ep``
    groups exceeds the mean by the usual bound on a maximum, sqrt(2 variance ln ep).
    """
    d, tokens = shard.hidden_size, shard.tokens * dp
    own_experts = moe.num_experts / ep

    # Experts that some token picks, on the busiest group.
    pick = moe.num_experts_per_token / moe.num_experts
    touched = 1 - (1 - pick) ** tokens
    spread = 2 * np.log(ep)
    mean_experts = own_experts * touched
    experts = np.minimum(
        own_experts, mean_experts + np.sqrt(spread * own_experts * touched * (1 - touched))
    )

    # Tokens, once for each of their experts, on the busiest group.
    mean_rows = tokens * moe.num_experts_per_token / ep
    rows = np.minimum(
        mean_rows + np.sqrt(spread * mean_rows * (1 - 1 / ep)),
        tokens * np.minimum(own_experts, moe.num_experts_per_token),
    )

    split = shard.columns * dp / ep
    width = moe.intermediate_size / split
    weights = moe.num_matrices * d * width
    routed = Work(
        flops=2 * rows * weights,
        weight_bytes=experts * weights * shard.precision.weights.bytes,
        activation_bytes=rows * (2 * d + moe.num_matrices * width) * shard.hidden_bytes,
        kernels=6,
    )

    # Router and shared experts see every token of the data-parallel group.
    router = Work(
        flops=2 * shard.tokens * d * moe.num_experts,
        weight_bytes=d * moe.num_experts * shard.hidden_bytes,
        activation_bytes=shard.tokens * (d + moe.num_experts) * shard.hidden_bytes,
        kernels=2,
    )
    precision = shard.precision
    ops = [
        Op("router", shard.attention_dtype, router),
        Op("routed experts", precision.activations, routed, Kind.EXPERTS, precision.weights),
    ]
    if moe.shared_intermediate_size:
        shared = DenseFfn(moe.shared_intermediate_size, moe.gated)
        ops += dense_ops(shared, shard, "shared experts")
    return ops


def _share(count: int, ways: Number) -> Array:
    """Return how many of ``count`` heads the fullest of ``ways`` ranks holds, at least one."""
    return np.ceil(count / np.asarray(ways, dtype=np.float64))
