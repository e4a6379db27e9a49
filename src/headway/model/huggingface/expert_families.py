"""Families that route tokens to experts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from headway.model.ffn import Ffn, MoeFfn
from headway.model.huggingface.attention import (
    chunks_in_rotary_layers,
    dbrx,
    grouped,
    latent,
    no_lightning,
    no_window,
    wide_global_heads,
    window_after_max_window_layers,
    window_everywhere,
    window_in_even_layers,
)
from headway.model.huggingface.family import (
    ALL_BIASES,
    ATTENTION_BIAS,
    EXPERTS,
    GEMMA3,
    LLAMA,
    MISTRAL,
    MPT_NAMES,
    OLMO2,
    QWEN2,
    QWEN3,
    Family,
)
from headway.model.huggingface.ffn import (
    after_first_k_dense,
    beside_a_dense_block,
    counted_shared,
    every_sparse_step,
    everywhere,
    from_start_index,
    interleaved,
    one_shared,
    routed,
    width_at,
)
from headway.model.huggingface.ffn import dbrx as dbrx_experts
from headway.model.huggingface.fields import Fields
from headway.model.huggingface.vectors import Vectors

_DEEPSEEK_V2 = Family(
    attentions=latent,
    ffns=routed(after_first_k_dense, shared=counted_shared),
    vectors=ATTENTION_BIAS,
    common_names=EXPERTS,
    ignored=frozenset(
        {"index_share_for_mtp_iteration", "index_skip_topk_offset", "indexer_rope_interleave"}
    ),
)
_DEEPSEEK_V3 = replace(_DEEPSEEK_V2, vectors=replace(ATTENTION_BIAS, router_bias=True))
_GLM4_MOE = replace(
    _DEEPSEEK_V3,
    attentions=grouped(no_window, needs_kv_heads=True),
    vectors=Vectors(qkv_bias="attention_bias", qk_norm_heads="use_qk_norm", router_bias=True),
)
_QWEN3_MOE = replace(QWEN3, ffns=routed(every_sparse_step), common_names=EXPERTS)
_BAILING = Family(
    attentions=grouped(no_window, needs_kv_heads=True),
    ffns=routed(
        after_first_k_dense,
        shared=lambda fields: (
            fields.size_or("num_shared_experts", 0, minimum=0)
            * fields.size_or(
                "moe_shared_expert_intermediate_size", fields.size("moe_intermediate_size")
            )
        ),
    ),
    vectors=Vectors(
        qkv_bias="use_qkv_bias",
        output_bias="use_bias",
        qk_norm_heads="use_qk_norm",
        router_bias="moe_router_enable_expert_bias",
    ),
    ignored=frozenset({"norm_head", "embedding_dropout"}),
)


def _ernie_shared(fields: Fields) -> int:
    num_experts = fields.size_or("moe_num_shared_experts", 0, minimum=0)
    return num_experts * fields.size("moe_intermediate_size")


def _hunyuan_experts(fields: Fields, num_layers: int) -> tuple[Ffn, ...]:
    """Hunyuan lists per layer what is the same in all of them."""
    width = fields.same_everywhere("moe_intermediate_size")
    fields.raw("intermediate_size")
    experts = MoeFfn(
        num_experts=fields.size("num_experts"),
        num_experts_per_token=fields.same_everywhere("moe_topk"),
        intermediate_size=width,
        shared_intermediate_size=fields.same_everywhere("num_shared_expert") * width,
    )
    return (experts,) * num_layers


WITH_EXPERTS: Mapping[str, Family] = {
    "mixtral": replace(
        MISTRAL,
        ffns=routed(everywhere, width="intermediate_size"),
        common_names=EXPERTS,
        defaults={"sliding_window": None},
    ),
    "qwen2_moe": replace(
        QWEN2,
        ffns=routed(every_sparse_step, shared=width_at("shared_expert_intermediate_size")),
        vectors=Vectors(qkv_bias="qkv_bias", shared_gate=True),
        defaults={"qkv_bias": True},
    ),
    "qwen3_moe": _QWEN3_MOE,
    "qwen3_vl_moe_text": _QWEN3_MOE,
    "deepseek_v2": _DEEPSEEK_V2,
    "glm4_moe": _GLM4_MOE,
    "gpt_oss": Family(
        attentions=grouped(window_in_even_layers, needs_kv_heads=True),
        ffns=routed(everywhere, width="intermediate_size"),
        vectors=replace(ATTENTION_BIAS, sinks=True, router_bias=True, expert_bias=True),
        common_names={**EXPERTS, "experts_per_token": "num_experts_per_tok"},
        defaults={"attention_bias": True},
        ignored=frozenset({"initial_context_length"}),
    ),
    "llama4_text": Family(
        attentions=grouped(chunks_in_rotary_layers, needs_kv_heads=True),
        ffns=routed(
            interleaved,
            width="intermediate_size",
            shared=one_shared,
            dense_width="intermediate_size_mlp",
        ),
        vectors=ATTENTION_BIAS,
        common_names=EXPERTS,
        ignored=frozenset({"use_qk_norm", "for_llm_compressor"}),
    ),
    "minimax_m2": Family(
        attentions=grouped(no_lightning, needs_kv_heads=True),
        ffns=routed(
            everywhere, width="intermediate_size", shared=width_at("shared_intermediate_size")
        ),
        vectors=Vectors(qk_norm_wide="use_qk_norm", router_bias=True),
        common_names=EXPERTS,
        defaults={"use_qk_norm": True},
        must_be={"qk_norm_type": "per_layer", "use_routing_bias": True},
        # Left over from MiniMax-01, where lightning attention had its own scales.
        ignored=frozenset(
            {
                "shared_moe_mode",
                "mlp_intermediate_size",
                "layernorm_full_attention_beta",
                "layernorm_linear_attention_beta",
                "layernorm_mlp_beta",
            }
        ),
    ),
    "olmoe": replace(OLMO2, ffns=routed(everywhere, width="intermediate_size")),
    "dbrx": Family(attentions=dbrx, ffns=dbrx_experts, common_names=MPT_NAMES),
    "phimoe": Family(
        attentions=grouped(window_everywhere, needs_kv_heads=True),
        ffns=routed(everywhere, width="intermediate_size"),
        vectors=replace(ATTENTION_BIAS, norm_bias=True, head_bias=True),
        common_names=EXPERTS,
        defaults={"sliding_window": None},
        must_be={"lm_head_bias": True},
    ),
    "granitemoe": replace(
        LLAMA, ffns=routed(everywhere, width="intermediate_size"), common_names=EXPERTS
    ),
    "dots1": replace(
        _GLM4_MOE,
        attentions=grouped(window_after_max_window_layers, needs_kv_heads=True),
        vectors=replace(ATTENTION_BIAS, qk_norm_heads=True, router_bias=True),
    ),
    "ernie4_5_moe": Family(
        ffns=routed(from_start_index, shared=_ernie_shared),
        vectors=replace(ALL_BIASES, router_bias=True),
        common_names={"moe_num_experts": "num_experts", "moe_k": "num_experts_per_tok"},
        tied=True,
        ignored=frozenset({"moe_use_aux_free", "moe_gate", "moe_capacity"}),
    ),
    "hunyuan_v1_moe": Family(
        ffns=_hunyuan_experts,
        vectors=replace(ATTENTION_BIAS, qk_norm_heads="use_qk_norm"),
        must_be={"use_cla": False},
        ignored=frozenset(
            {
                "attention_head_dim",
                "cla_share_factor",
                "moe_layer_num_skipped",
                "use_mixed_mlp_moe",
                "norm_topk_prob",
                "num_experts_per_tok",
                "position_embedding_xdrope",
            }
        ),
    ),
    "bailing_moe": _BAILING,
    "bailing_moe_v2": _BAILING,
    "gemma4_text": replace(
        GEMMA3,
        attentions=wide_global_heads,
        ffns=beside_a_dense_block,
        vectors=replace(
            GEMMA3.vectors,
            norms=lambda fields: 7 if fields.flag("enable_moe_block", False) else 4,
            router_scale=True,
        ),
        defaults={},
        must_be={"use_double_wide_mlp": False, "expert_intermediate_size": None},
    ),
    **dict.fromkeys(
        ("deepseek_v3", "deepseek_v32", "kimi_k2", "glm4_moe_lite", "glm_moe_dsa"), _DEEPSEEK_V3
    ),
}
