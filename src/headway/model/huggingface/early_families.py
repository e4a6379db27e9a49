"""Dense families with names and ways of their own: GPT-2, and others that do not copy Llama."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from headway.model.huggingface.attention import (
    bigcode,
    falcon,
    grouped,
    mpt,
    opt,
    window_everywhere,
)
from headway.model.huggingface.family import ALL_BIASES, BIASED, MPT_NAMES, Family
from headway.model.huggingface.ffn import dense, halved
from headway.model.huggingface.fields import Fields
from headway.model.huggingface.vectors import Vectors

_GPT2_NAMES = {
    "n_embd": "hidden_size",
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "n_inner": "intermediate_size",
    "n_positions": "max_position_embeddings",
    "n_ctx": "max_position_embeddings",
}
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


def _falcon_is_newer(fields: Fields) -> bool:
    return fields.flag("new_decoder_architecture", False)


def _falcon_is_parallel(fields: Fields) -> bool:
    return fields.flag("parallel_attn", True)


def _falcon_norms(fields: Fields) -> int:
    num_parallel = fields.size_or("num_ln_in_parallel_attn", 2)
    return num_parallel if _falcon_is_newer(fields) else 1 + (not _falcon_is_parallel(fields))


def _stablelm_is_parallel(fields: Fields) -> bool:
    return fields.flag("use_parallel_residual", False)


EARLY: Mapping[str, Family] = {
    "phi": Family(
        ffns=dense(gated=False),
        vectors=replace(BIASED, norms=1, head_bias=True),
        parallel=True,
        must_be={"qk_layernorm": False},
    ),
    # Half of its layers are block-sparse, which is counted as attention to everything.
    "phi3small": Family(
        vectors=BIASED,
        common_names={"ff_intermediate_size": "intermediate_size"},
        tied=True,
        must_be={"hidden_act": "gegelu"},
        ignored=_BLOCK_SPARSE,
    ),
    "starcoder2": Family(
        attentions=grouped(window_everywhere, needs_kv_heads=True),
        ffns=dense(gated=False),
        vectors=replace(ALL_BIASES, norm_bias=True),
        defaults={"use_bias": True, "sliding_window": None},
        tied=True,
        must_be={"mlp_type": "default", "norm_type": "layer_norm"},
    ),
    "gpt2": Family(
        ffns=dense(gated=False, times_hidden=4),
        vectors=BIASED,
        common_names=_GPT2_NAMES,
        tied=True,
        position_offset=0,
    ),
    "gpt_bigcode": Family(
        attentions=bigcode,
        ffns=dense(gated=False, times_hidden=4),
        vectors=BIASED,
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
        vectors=replace(BIASED, qkv_bias="attention_bias", output_bias="attention_bias"),
        defaults={"attention_bias": True},
        parallel=lambda fields: fields.flag("use_parallel_residual", True),
    ),
    "opt": Family(
        attentions=opt,
        ffns=dense(gated=False),
        vectors=BIASED,
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
        vectors=replace(BIASED, embedding_norm=True),
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
        common_names=MPT_NAMES,
        tied=True,
        must_be={"no_bias": True, "expansion_ratio": 4},
        ignored=frozenset({"learned_pos_emb", "embedding_fraction", "init_config"}),
    ),
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
    # Not of transformers: the form in which the catalogue writes down the paper's table.
    "palm": Family(vectors=Vectors(norms=1), tied=True, parallel=True),
}
