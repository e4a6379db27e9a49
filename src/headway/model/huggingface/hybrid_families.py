"""Families of mixers other than attention, and of blocks that a search has thinned out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from headway.model.huggingface.attention import gated_delta_net
from headway.model.huggingface.family import ATTENTION_BIAS, EXPERTS, LLAMA, Family
from headway.model.huggingface.ffn import dense, every_sparse_step, routed, width_at
from headway.model.huggingface.searched import searched_attentions, searched_ffns
from headway.model.huggingface.state_space import (
    every_nth,
    granite_ffns,
    granite_mixers,
    jamba_ffns,
    mamba2,
    nemotron_ffns,
    nemotron_mixers,
    no_ffn,
)
from headway.model.huggingface.vectors import Vectors

# How a state-space kernel is run, and with what it starts: neither is work of its own.
_STATE_SPACE_DETAILS = frozenset(
    {
        "expand",
        "chunk_size",
        "mamba_chunk_size",
        "mamba_hidden_act",
        "mlp_hidden_act",
        "mamba_ssm_cache_dtype",
        "use_mamba_kernels",
        "residual_in_fp32",
        "norm_before_gate",
        "time_step_rank",
        "time_step_min",
        "time_step_max",
        "time_step_floor",
        "time_step_limit",
        "time_step_init_scheme",
    }
)
_QWEN3_NEXT = Family(
    attentions=gated_delta_net,
    ffns=routed(every_sparse_step, shared=width_at("shared_expert_intermediate_size")),
    vectors=Vectors(qkv_bias="attention_bias", qk_norm_heads=True, shared_gate=True),
    must_be={"attn_output_gate": True, "mtp_use_dedicated_embeddings": False},
    ignored=frozenset(
        {
            "use_sliding_window",
            "max_window_layers",
            "sliding_window",
            "output_gate_type",
            "mamba_ssm_dtype",
        }
    ),
)

HYBRIDS: Mapping[str, Family] = {
    "qwen3_next": _QWEN3_NEXT,
    "qwen3_5_moe_text": _QWEN3_NEXT,
    "qwen3_5_text": replace(
        _QWEN3_NEXT, ffns=dense(), vectors=Vectors(qkv_bias="attention_bias", qk_norm_heads=True)
    ),
    "nemotron_h": Family(
        attentions=nemotron_mixers,
        ffns=nemotron_ffns,
        vectors=Vectors(qkv_bias="attention_bias"),
        common_names=EXPERTS,
        must_be={"mamba_proj_bias": False, "mlp_bias": False, "use_conv_bias": True},
        ignored=_STATE_SPACE_DETAILS
        | {
            "mtp_hybrid_override_pattern",
            "mtp_layers_block_type",
            "moe_shared_expert_overlap",
            "num_logits_to_keep",
        },
    ),
    "nemotron-nas": replace(LLAMA, attentions=searched_attentions, ffns=searched_ffns),
    "granitemoehybrid": Family(
        attentions=granite_mixers,
        ffns=granite_ffns,
        vectors=ATTENTION_BIAS,
        common_names=EXPERTS,
        must_be={"mamba_proj_bias": False, "mamba_conv_bias": True},
        ignored=_STATE_SPACE_DETAILS | {"position_embedding_type"},
    ),
    "jamba": Family(
        attentions=every_nth,
        ffns=jamba_ffns,
        must_be={"mamba_proj_bias": False, "mamba_conv_bias": True},
        ignored=_STATE_SPACE_DETAILS | {"num_logits_to_keep"},
    ),
    "mamba2": Family(
        attentions=mamba2,
        ffns=no_ffn,
        must_be={"use_bias": False, "use_conv_bias": True, "rms_norm": True},
        ignored=_STATE_SPACE_DETAILS,
    ),
}
