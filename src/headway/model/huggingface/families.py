"""What each `model_type` of Hugging Face's transformers means, field by field.

Read from the modeling code of transformers 4.57 and 5.23. A family that is not here is read as a
plain llama-like model, and refused as soon as it has a field of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from headway.model.ffn import Ffn, MoeFfn
from headway.model.huggingface.attention import (
    Attentions,
    bigcode,
    chunks_in_rotary_layers,
    dbrx,
    falcon,
    full_in_every_nth_layer,
    gated_delta_net,
    grouped,
    last_of_the_pattern,
    latent,
    mpt,
    no_lightning,
    no_window,
    opt,
    wide_global_heads,
    window_after_max_window_layers,
    window_everywhere,
    window_in_even_layers,
)
from headway.model.huggingface.ffn import (
    Ffns,
    after_first_k_dense,
    beside_a_dense_block,
    counted_shared,
    dense,
    every_sparse_step,
    everywhere,
    from_start_index,
    halved,
    interleaved,
    one_shared,
    routed,
    width_at,
)
from headway.model.huggingface.ffn import dbrx as dbrx_experts
from headway.model.huggingface.fields import Fields
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


def _falcon_is_newer(fields: Fields) -> bool:
    return fields.flag("new_decoder_architecture", False)


def _falcon_is_parallel(fields: Fields) -> bool:
    return fields.flag("parallel_attn", True)


def _falcon_norms(fields: Fields) -> int:
    num_parallel = fields.size_or("num_ln_in_parallel_attn", 2)
    return num_parallel if _falcon_is_newer(fields) else 1 + (not _falcon_is_parallel(fields))


_GPT2_NAMES = {
    "n_embd": "hidden_size",
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "n_inner": "intermediate_size",
    "n_positions": "max_position_embeddings",
    "n_ctx": "max_position_embeddings",
}
_ATTENTION_BIAS = Vectors(qkv_bias="attention_bias", output_bias="attention_bias")
_BIASED = Vectors(norm_bias=True, qkv_bias=True, output_bias=True, mlp_bias=True)
_EXPERTS = {"num_local_experts": "num_experts", "n_routed_experts": "num_experts"}
_ALL_BIASES = Vectors(qkv_bias="use_bias", output_bias="use_bias", mlp_bias="use_bias")
_ONE_BIAS = Vectors(qkv_bias="bias", output_bias="bias")

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

# Which blocks of keys the sparse layers of Phi-3 small see, and how its steps are scaled.
_BLOCK_SPARSE = frozenset(
    {
        "blocksparse_block_size",
        "blocksparse_homo_head_pattern",
        "blocksparse_num_local_blocks",
        "blocksparse_triton_kernel_block_size",
        "blocksparse_vert_stride",
        "dense_attention_every_n_layers",
        "ff_dim_multiplier",
        "mup_attn_multiplier",
        "mup_width_multiplier",
    }
)

LLAMA = Family(vectors=replace(_ATTENTION_BIAS, mlp_bias="mlp_bias"))
GENERIC = replace(LLAMA, tied=None)
_MISTRAL = Family(attentions=grouped(window_everywhere, needs_kv_heads=True))
_QWEN2 = Family(
    attentions=grouped(window_after_max_window_layers, needs_kv_heads=True),
    vectors=Vectors(qkv_bias=True),
)
_QWEN3 = replace(_QWEN2, vectors=replace(_ATTENTION_BIAS, qk_norm_heads=True))
_QWEN3_MOE = replace(_QWEN3, ffns=routed(every_sparse_step), common_names=_EXPERTS)
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
_GEMMA = Family(vectors=_ATTENTION_BIAS, tied=True)
_GEMMA2 = replace(
    _GEMMA,
    attentions=grouped(window_in_even_layers, needs_kv_heads=True),
    vectors=replace(_GEMMA.vectors, norms=4),
)
_GEMMA3 = replace(
    _GEMMA2,
    attentions=grouped(full_in_every_nth_layer(6), needs_kv_heads=True),
    vectors=replace(_GEMMA2.vectors, qk_norm_heads=True),
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
_DEEPSEEK_V2 = Family(
    attentions=latent,
    ffns=routed(after_first_k_dense, shared=counted_shared),
    vectors=_ATTENTION_BIAS,
    common_names=_EXPERTS,
    ignored=frozenset(
        {"index_share_for_mtp_iteration", "index_skip_topk_offset", "indexer_rope_interleave"}
    ),
)
_DEEPSEEK_V3 = replace(_DEEPSEEK_V2, vectors=replace(_ATTENTION_BIAS, router_bias=True))
_GLM4_MOE = replace(
    _DEEPSEEK_V3,
    attentions=grouped(no_window, needs_kv_heads=True),
    vectors=Vectors(qkv_bias="attention_bias", qk_norm_heads="use_qk_norm", router_bias=True),
)
_OLMO2 = replace(LLAMA, vectors=replace(LLAMA.vectors, mlp_bias=False, qk_norm_wide=True))

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
_MPT_NAMES = {
    "d_model": "hidden_size",
    "n_heads": "num_attention_heads",
    "n_layers": "num_hidden_layers",
    "max_seq_len": "max_position_embeddings",
}


def _stablelm_is_parallel(fields: Fields) -> bool:
    return fields.flag("use_parallel_residual", False)


def _ernie_shared(fields: Fields) -> int:
    return fields.size("moe_num_shared_experts") * fields.size("moe_intermediate_size")


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


FAMILIES: Mapping[str, Family] = {
    "llama": LLAMA,
    "mistral": _MISTRAL,
    "ministral3": replace(_MISTRAL, defaults={"sliding_window": None}),
    "mixtral": replace(
        _MISTRAL,
        ffns=routed(everywhere, width="intermediate_size"),
        common_names=_EXPERTS,
        defaults={"sliding_window": None},
    ),
    "phi3": Family(attentions=grouped(window_everywhere), defaults={"sliding_window": None}),
    "phi": Family(
        ffns=dense(gated=False),
        vectors=replace(_BIASED, norms=1, head_bias=True),
        parallel=True,
        must_be={"qk_layernorm": False},
    ),
    "starcoder2": Family(
        attentions=grouped(window_everywhere, needs_kv_heads=True),
        ffns=dense(gated=False),
        vectors=replace(_ALL_BIASES, norm_bias=True),
        defaults={"use_bias": True, "sliding_window": None},
        tied=True,
        must_be={"mlp_type": "default", "norm_type": "layer_norm"},
    ),
    **dict.fromkeys(
        ("qwen2", "qwen2_vl", "qwen2_5_vl", "qwen2_vl_text", "qwen2_5_vl_text"), _QWEN2
    ),
    "qwen2_moe": replace(
        _QWEN2,
        ffns=routed(every_sparse_step, shared=width_at("shared_expert_intermediate_size")),
        vectors=Vectors(qkv_bias="qkv_bias", shared_gate=True),
        defaults={"qkv_bias": True},
    ),
    "qwen3": _QWEN3,
    "qwen3_vl_text": _QWEN3,
    "qwen3_moe": _QWEN3_MOE,
    "qwen3_vl_moe_text": _QWEN3_MOE,
    "qwen3_next": _QWEN3_NEXT,
    "qwen3_5_moe_text": _QWEN3_NEXT,
    "qwen3_5_text": replace(
        _QWEN3_NEXT, ffns=dense(), vectors=Vectors(qkv_bias="attention_bias", qk_norm_heads=True)
    ),
    "mimo": replace(_QWEN2, vectors=Vectors(qkv_bias="attention_bias")),
    "gemma": _GEMMA,
    "gemma2": _GEMMA2,
    "gemma3_text": _GEMMA3,
    "deepseek_v2": _DEEPSEEK_V2,
    **dict.fromkeys(
        ("deepseek_v3", "deepseek_v32", "kimi_k2", "glm4_moe_lite", "glm_moe_dsa"), _DEEPSEEK_V3
    ),
    "glm4_moe": _GLM4_MOE,
    "glm4": Family(vectors=Vectors(norms=4, qkv_bias="attention_bias")),
    "gpt_oss": Family(
        attentions=grouped(window_in_even_layers, needs_kv_heads=True),
        ffns=routed(everywhere, width="intermediate_size"),
        vectors=replace(_ATTENTION_BIAS, sinks=True, router_bias=True, expert_bias=True),
        common_names={**_EXPERTS, "experts_per_token": "num_experts_per_tok"},
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
        vectors=_ATTENTION_BIAS,
        common_names=_EXPERTS,
        ignored=frozenset({"use_qk_norm", "for_llm_compressor"}),
    ),
    "minimax_m2": Family(
        attentions=grouped(no_lightning, needs_kv_heads=True),
        ffns=routed(
            everywhere, width="intermediate_size", shared=width_at("shared_intermediate_size")
        ),
        vectors=Vectors(qk_norm_wide="use_qk_norm", router_bias=True),
        common_names=_EXPERTS,
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
    # Its norms have no weights.
    "olmo": replace(LLAMA, vectors=Vectors(norms=0, final_norm=False)),
    "olmo2": _OLMO2,
    "olmo3": replace(_OLMO2, attentions=grouped(full_in_every_nth_layer(4))),
    "olmoe": replace(_OLMO2, ffns=routed(everywhere, width="intermediate_size")),
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
        vectors=replace(_ATTENTION_BIAS, norms=1, qk_norm_wide="use_qk_norm"),
        tied=True,
        parallel=True,
    ),
    "cohere2": Family(
        attentions=grouped(full_in_every_nth_layer(4)),
        vectors=replace(_ATTENTION_BIAS, norms=1),
        tied=True,
        parallel=True,
        ignored=frozenset({"order_of_interleaved_layers", "use_parallel_block"}),
    ),
    "gpt2": Family(
        ffns=dense(gated=False, times_hidden=4),
        vectors=_BIASED,
        common_names=_GPT2_NAMES,
        tied=True,
        position_offset=0,
    ),
    "gpt_bigcode": Family(
        attentions=bigcode,
        ffns=dense(gated=False, times_hidden=4),
        vectors=_BIASED,
        common_names=_GPT2_NAMES,
        tied=True,
        position_offset=0,
        ignored=frozenset({"num_key_value_heads"}),  # follows from multi_query
    ),
    "gptj": Family(
        ffns=dense(gated=False, times_hidden=4),
        vectors=Vectors(norms=1, norm_bias=True, mlp_bias=True, head_bias=True),
        common_names=_GPT2_NAMES,
        parallel=True,
    ),
    "gpt_neox": Family(
        ffns=dense(gated=False),
        vectors=replace(_BIASED, qkv_bias="attention_bias", output_bias="attention_bias"),
        defaults={"attention_bias": True},
        parallel=lambda fields: fields.flag("use_parallel_residual", True),
    ),
    "opt": Family(
        attentions=opt,
        ffns=dense(gated=False),
        vectors=_BIASED,
        common_names={"ffn_dim": "intermediate_size"},
        tied=True,
        position_offset=2,  # transformers' OPTLearnedPositionalEmbedding
        must_be={
            "do_layer_norm_before": True,
            "enable_bias": True,
            "layer_norm_elementwise_affine": True,
            "_remove_final_layer_norm": False,
        },
    ),
    "bloom": Family(
        ffns=dense(gated=False, times_hidden=4),
        vectors=replace(_BIASED, embedding_norm=True),
        common_names={**_GPT2_NAMES, "n_embed": "hidden_size"},
        tied=True,
        ignored=frozenset(
            {"apply_residual_connection_post_layernorm", "attention_softmax_in_fp32"}
        ),
    ),
    "falcon": Family(
        attentions=falcon,
        ffns=dense(gated=False, times_hidden=4),
        vectors=Vectors(
            norms=_falcon_norms,
            norm_bias=True,
            qkv_bias="bias",
            output_bias="bias",
            mlp_bias="bias",
        ),
        common_names={
            **_GPT2_NAMES,
            "num_kv_heads": "num_key_value_heads",
            "n_head_kv": "num_key_value_heads",
            "ffn_hidden_size": "intermediate_size",
        },
        tied=True,
        parallel=lambda fields: _falcon_is_newer(fields) | _falcon_is_parallel(fields),
        ignored=frozenset({"apply_residual_connection_post_layernorm"}),
    ),
    "nemotron_h": Family(
        attentions=nemotron_mixers,
        ffns=nemotron_ffns,
        vectors=Vectors(qkv_bias="attention_bias"),
        common_names=_EXPERTS,
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
        vectors=_ATTENTION_BIAS,
        common_names=_EXPERTS,
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
    "gemma4_text": replace(
        _GEMMA3,
        attentions=wide_global_heads,
        ffns=beside_a_dense_block,
        vectors=replace(
            _GEMMA3.vectors,
            norms=lambda fields: 7 if fields.flag("enable_moe_block", False) else 4,
            router_scale=True,
        ),
        defaults={},
        must_be={"use_double_wide_mlp": False, "expert_intermediate_size": None},
    ),
    "stablelm": Family(
        vectors=Vectors(
            norms=lambda fields: 1 if _stablelm_is_parallel(fields) else 2,
            norm_bias=True,
            qkv_bias="use_qkv_bias",
            qk_norm_wide="qk_layernorm",
        ),
        parallel=_stablelm_is_parallel,
    ),
    "mpt": Family(
        attentions=mpt,
        ffns=dense(gated=False, times_hidden=4),
        common_names=_MPT_NAMES,
        tied=True,
        must_be={"no_bias": True, "expansion_ratio": 4},
        ignored=frozenset({"learned_pos_emb", "embedding_fraction", "init_config"}),
    ),
    "dbrx": Family(attentions=dbrx, ffns=dbrx_experts, common_names=_MPT_NAMES),
    # Half of its layers are block-sparse, which is counted as attention to everything.
    "phi3small": Family(
        vectors=_BIASED,
        common_names={"ff_intermediate_size": "intermediate_size"},
        tied=True,
        must_be={"hidden_act": "gegelu"},
        ignored=_BLOCK_SPARSE,
    ),
    "phimoe": Family(
        attentions=grouped(window_everywhere, needs_kv_heads=True),
        ffns=routed(everywhere, width="intermediate_size"),
        vectors=replace(_ATTENTION_BIAS, norm_bias=True, head_bias=True),
        common_names=_EXPERTS,
        defaults={"sliding_window": None},
        must_be={"lm_head_bias": True},
    ),
    "granitemoe": replace(
        LLAMA, ffns=routed(everywhere, width="intermediate_size"), common_names=_EXPERTS
    ),
    "glm": Family(vectors=Vectors(qkv_bias="attention_bias")),
    "chatglm": Family(
        vectors=Vectors(qkv_bias="add_qkv_bias"),
        common_names={
            "num_layers": "num_hidden_layers",
            "padded_vocab_size": "vocab_size",
            "ffn_hidden_size": "intermediate_size",
            "seq_length": "max_position_embeddings",
            "multi_query_group_num": "num_key_value_heads",
            "kv_channels": "head_dim",
        },
        must_be={
            "multi_query_attention": True,
            "rmsnorm": True,
            "add_bias_linear": False,
            "post_layer_norm": True,
        },
        ignored=frozenset(
            {"apply_query_key_layer_scaling", "apply_residual_connection_post_layernorm"}
        ),
    ),
    "qwen": Family(
        ffns=halved,
        vectors=Vectors(qkv_bias=True),
        must_be={"no_bias": True},
        ignored=frozenset({"kv_channels", "use_logn_attn", "use_cache_kernel"}),
    ),
    "baichuan": Family(common_names={"model_max_length": "max_position_embeddings"}),
    "internlm2": Family(vectors=_ONE_BIAS),
    "internlm3": Family(vectors=replace(_ONE_BIAS, qkv_bias="qkv_bias", mlp_bias="bias")),
    "minicpm": Family(tied=True, ignored=frozenset({"scale_depth", "dim_model_base"})),
    "exaone": Family(common_names={"num_layers": "num_hidden_layers"}),
    "exaone4": Family(attentions=grouped(last_of_the_pattern), vectors=Vectors(qk_norm_heads=True)),
    "dots1": replace(
        _GLM4_MOE,
        attentions=grouped(window_after_max_window_layers, needs_kv_heads=True),
        vectors=replace(_ATTENTION_BIAS, qk_norm_heads=True, router_bias=True),
    ),
    "ernie4_5": Family(vectors=_ALL_BIASES, tied=True),
    "ernie4_5_moe": Family(
        ffns=routed(from_start_index, shared=_ernie_shared),
        vectors=replace(_ALL_BIASES, router_bias=True),
        common_names={"moe_num_experts": "num_experts", "moe_k": "num_experts_per_tok"},
        tied=True,
        ignored=frozenset({"moe_use_aux_free", "moe_gate", "moe_capacity"}),
    ),
    "hunyuan_v1_moe": Family(
        ffns=_hunyuan_experts,
        vectors=replace(_ATTENTION_BIAS, qk_norm_heads="use_qk_norm"),
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
    # Not of transformers: the form in which the catalogue writes down the paper's table.
    "palm": Family(vectors=Vectors(norms=1), tied=True, parallel=True),
}
