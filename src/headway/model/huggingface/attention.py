"""The attention of each layer, from a `config.json`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from headway.model.attention import (
    Attention,
    GroupedQueryAttention,
    LatentAttention,
    LinearAttention,
)
from headway.model.huggingface.fields import Fields

Windows = Callable[[Fields, int], tuple[int | None, ...]]
Attentions = Callable[[Fields, int], tuple[Attention, ...]]

_FULL, _SLIDING, _CHUNKED = "full_attention", "sliding_attention", "chunked_attention"
_LINEAR = "linear_attention"
_INDEXED = ("deepseek_sparse_attention", "indexed_attention")


def grouped(windows: Windows, *, needs_kv_heads: bool = False, gated: bool = False) -> Attentions:
    """Return a reader of grouped-query attention, limited to ``windows``.

    ``needs_kv_heads`` where the family's own default is not one KV head per query head, so that a
    missing field must not be read as that.
    """

    def read(fields: Fields, num_layers: int) -> tuple[Attention, ...]:
        attention = _grouped_query(fields, needs_kv_heads, gated)
        return tuple(
            replace(attention, window_tokens=window) for window in windows(fields, num_layers)
        )

    return read


def falcon(fields: Fields, num_layers: int) -> tuple[Attention, ...]:
    """Falcon: one KV head, or as many as ``num_kv_heads`` in the newer decoder."""
    heads = fields.size("num_attention_heads")
    newer = fields.flag("new_decoder_architecture", False)
    multi_query = fields.flag("multi_query", True)
    newer_kv_heads = fields.size_or("num_key_value_heads", heads)
    kv_heads = newer_kv_heads if newer else 1 if multi_query else heads

    if heads % kv_heads:
        raise fields.error(f"num_kv_heads ({kv_heads}) must divide num_attention_heads ({heads})")
    attention = GroupedQueryAttention(heads, kv_heads, _head_dim(fields, heads))
    return (attention,) * num_layers


def bigcode(fields: Fields, num_layers: int) -> tuple[Attention, ...]:
    """GPT-BigCode: one KV head where ``multi_query``, else one per query head."""
    heads = fields.size("num_attention_heads")
    kv_heads = 1 if fields.flag("multi_query", True) else heads
    return (GroupedQueryAttention(heads, kv_heads, _head_dim(fields, heads)),) * num_layers


def mpt(fields: Fields, num_layers: int) -> tuple[Attention, ...]:
    """MPT: plain multi-head attention with linear biases in place of positions."""
    own = fields.part("attn_config")
    if own.raw("alibi") is not True or own.raw("qk_ln"):
        raise fields.unsupported("'attn_config' is only understood with alibi and without qk_ln")
    return grouped(no_window)(fields, num_layers)


def dbrx(fields: Fields, num_layers: int) -> tuple[Attention, ...]:
    """DBRX: the number of KV heads stands in ``attn_config``."""
    heads, kv_heads = (
        fields.size("num_attention_heads"),
        fields.part("attn_config").size("kv_n_heads"),
    )
    return (GroupedQueryAttention(heads, kv_heads, _head_dim(fields, heads)),) * num_layers


def wide_global_heads(fields: Fields, num_layers: int) -> tuple[Attention, ...]:
    """Gemma 4: layers that see everything have fewer and wider KV heads, keys and values alike."""
    if fields.size_or("num_kv_shared_layers", 0, minimum=0):
        raise fields.unsupported("'num_kv_shared_layers' take the cache of others: not counted")
    if fields.size_or("hidden_size_per_layer_input", 0, minimum=0):
        raise fields.unsupported("'hidden_size_per_layer_input' adds tables: not counted")
    fields.raw("vocab_size_per_layer_input")

    local = _grouped_query(fields, needs_kv_heads=True, gated=False)
    kv_heads = fields.size_or("num_global_key_value_heads", local.num_kv_heads)
    wide = replace(
        local,
        num_kv_heads=kv_heads,
        head_dim=fields.size_or("global_head_dim", local.head_dim),
        shared_kv=fields.flag("attention_k_eq_v", False),
    )
    windows = full_in_every_nth_layer(6)(fields, num_layers)
    return tuple(replace(local, window_tokens=window) if window else wide for window in windows)


def opt(fields: Fields, num_layers: int) -> tuple[Attention, ...]:
    """OPT: plain multi-head attention, but the 350M model projects its embeddings."""
    embedding_size = fields.size_or_none("word_embed_proj_dim")
    hidden_size = fields.size("hidden_size")
    if embedding_size not in (None, hidden_size):
        raise fields.unsupported(
            f"'word_embed_proj_dim' ({embedding_size}) differs from hidden_size ({hidden_size}), "
            f"and the projection between them is not counted"
        )
    return grouped(no_window)(fields, num_layers)


def latent(fields: Fields, num_layers: int) -> tuple[Attention, ...]:
    """Multi-head latent attention, with an indexer where ``index_topk`` is given."""
    heads = fields.size("num_attention_heads")

    # Fields that repeat others.
    fields.raw("num_key_value_heads")  # repeats the heads: the cache is the latent, not heads
    fields.raw("head_dim")  # what transformers rotates, not a size of its own
    fields.raw("qk_head_dim")

    # Sparse attention: which layers choose tokens, and which share an earlier layer's choice.
    sparse = fields.has("index_topk")
    indexer_kinds = fields.per_layer("indexer_types", num_layers, "full", "shared")
    fields.raw("index_topk_freq")  # spelled out by indexer_types
    fields.per_layer("layer_types", num_layers, *(_INDEXED if sparse else (_FULL,)))

    attention = LatentAttention(
        num_heads=heads,
        q_lora_rank=fields.size_or_none("q_lora_rank"),
        kv_lora_rank=fields.size("kv_lora_rank"),
        qk_nope_head_dim=fields.size("qk_nope_head_dim"),
        qk_rope_head_dim=fields.size("qk_rope_head_dim"),
        v_head_dim=fields.size("v_head_dim"),
        index_num_heads=fields.size("index_n_heads") if sparse else 0,
        index_head_dim=fields.size("index_head_dim") if sparse else 0,
        index_topk=fields.size("index_topk") if sparse else 0,
    )
    if indexer_kinds is None:
        return (attention,) * num_layers
    sharing = replace(attention, index_num_heads=0, index_head_dim=0)
    return tuple(attention if kind == "full" else sharing for kind in indexer_kinds)


def gated_delta_net(fields: Fields, num_layers: int) -> tuple[Attention, ...]:
    """Qwen3-Next and Qwen3.5: gated softmax attention in every n-th layer, else Gated DeltaNet."""
    kinds = fields.per_layer("layer_types", num_layers, _FULL, _LINEAR)
    if kinds is None:
        interval = fields.size("full_attention_interval")
        kinds = tuple(_LINEAR if (layer + 1) % interval else _FULL for layer in range(num_layers))
    fields.raw("full_attention_interval")

    linear = LinearAttention(
        num_key_heads=fields.size("linear_num_key_heads"),
        num_value_heads=fields.size("linear_num_value_heads"),
        key_head_dim=fields.size("linear_key_head_dim"),
        value_head_dim=fields.size("linear_value_head_dim"),
        conv_kernel_dim=fields.size("linear_conv_kernel_dim"),
    )
    full = _grouped_query(fields, needs_kv_heads=True, gated=True)
    return tuple(linear if kind == _LINEAR else full for kind in kinds)


def no_window(fields: Fields, num_layers: int) -> tuple[int | None, ...]:
    """Every layer sees the whole context; ``layer_types`` may only say so."""
    fields.per_layer("layer_types", num_layers, _FULL)
    return (None,) * num_layers


def no_lightning(fields: Fields, num_layers: int) -> tuple[int | None, ...]:
    """MiniMax-M2: full attention everywhere, which ``attn_type_list`` says with a 1 per layer."""
    kinds = fields.numbers("attn_type_list")
    if kinds and kinds != (1,) * num_layers:
        raise fields.unsupported("'attn_type_list' has layers of lightning attention")
    return no_window(fields, num_layers)


def window_everywhere(fields: Fields, num_layers: int) -> tuple[int | None, ...]:
    """Mistral v0.1: where there is a window, every layer has it."""
    window = _window_or_null(fields)
    return _by_layer_types(fields, num_layers) or (window,) * num_layers


def window_in_even_layers(fields: Fields, num_layers: int) -> tuple[int | None, ...]:
    """Gemma 2, gpt-oss: the first layer has the window, the second has not, and so on."""
    window = _window_or_null(fields)
    fields.raw("sliding_window_size")  # Gemma 2 repeats the window under this name
    return _by_layer_types(fields, num_layers) or tuple(
        None if layer % 2 else window for layer in range(num_layers)
    )


def full_in_every_nth_layer(n: int) -> Windows:
    """Gemma 3 (``n`` = 6), Cohere 2 (4): full attention in layers n, 2n, ..., else a window."""

    def read(fields: Fields, num_layers: int) -> tuple[int | None, ...]:
        window = _window_or_null(fields)
        interval = fields.size_or(
            "sliding_window_pattern", fields.size_or("_sliding_window_pattern", n)
        )
        return _by_layer_types(fields, num_layers) or tuple(
            window if (layer + 1) % interval else None for layer in range(num_layers)
        )

    return read


def last_of_the_pattern(fields: Fields, num_layers: int) -> tuple[int | None, ...]:
    """EXAONE 4: the last of ``sliding_window_pattern`` (4 or LLLG) sees the whole context."""
    window, pattern = _window_or_null(fields), fields.raw("sliding_window_pattern")
    length = len(pattern.rstrip("G")) + 1 if isinstance(pattern, str) else pattern or 4
    if not isinstance(length, int):
        raise fields.error(f"'sliding_window_pattern' must be a number or LLLG, not {pattern!r}")
    return _by_layer_types(fields, num_layers) or tuple(
        window if (layer + 1) % length else None for layer in range(num_layers)
    )


def window_after_max_window_layers(fields: Fields, num_layers: int) -> tuple[int | None, ...]:
    """Qwen: a window only with ``use_sliding_window``, and only from ``max_window_layers`` on."""
    has_window = fields.flag("use_sliding_window", False)
    window = fields.raw("sliding_window")
    fields.raw("max_window_layers")
    if not has_window or window is None:
        return no_window(fields, num_layers)

    size, first = fields.size("sliding_window"), fields.size("max_window_layers", minimum=0)
    return _by_layer_types(fields, num_layers) or tuple(
        size if layer >= first else None for layer in range(num_layers)
    )


def chunks_in_rotary_layers(fields: Fields, num_layers: int) -> tuple[int | None, ...]:
    """Llama 4: rotary layers attend within chunks, the others (every fourth) to everything.

    A chunk is taken as a window of its size: what the last token of a chunk attends to, and twice
    what the tokens of a chunk attend to on average.
    """
    chunk = fields.size_or_none("attention_chunk_size")
    rotary = fields.numbers("no_rope_layers")  # 1 marks a layer that does rotate
    interval = fields.size_or("no_rope_layer_interval", 4)
    windows = _by_layer_types(fields, num_layers)
    if windows is not None:
        return windows

    if not rotary:
        rotary = tuple(int((layer + 1) % interval != 0) for layer in range(num_layers))
    if len(rotary) != num_layers:
        raise fields.error(f"'no_rope_layers' must list {num_layers} entries, one per layer")
    return tuple(chunk if rotates else None for rotates in rotary)


def _window_or_null(fields: Fields) -> int | None:
    # These families have a window by default, so that a missing field is not the same as a null.
    if not fields.has_key("sliding_window"):
        raise fields.error("'sliding_window' is missing; null means that there is none")
    return fields.size_or_none("sliding_window")


def _by_layer_types(fields: Fields, num_layers: int) -> tuple[int | None, ...] | None:
    kinds = fields.per_layer("layer_types", num_layers, _FULL, _SLIDING, _CHUNKED)
    if kinds is None:
        return None

    sizes: dict[str, int | None] = {_FULL: None}
    if _SLIDING in kinds:
        sizes[_SLIDING] = fields.size("sliding_window")
    if _CHUNKED in kinds:
        sizes[_CHUNKED] = fields.size("attention_chunk_size")
    return tuple(sizes[kind] for kind in kinds)


def _grouped_query(fields: Fields, needs_kv_heads: bool, gated: bool) -> GroupedQueryAttention:
    heads = fields.size("num_attention_heads")
    kv_heads = (
        fields.size("num_key_value_heads")
        if needs_kv_heads
        else fields.size_or("num_key_value_heads", heads)
    )
    head_dim = _head_dim(fields, heads)
    if heads % kv_heads:
        raise fields.error(
            f"num_attention_heads ({heads}) must be a multiple of num_key_value_heads ({kv_heads})"
        )
    return GroupedQueryAttention(heads, kv_heads, head_dim, gated=gated)


def _head_dim(fields: Fields, heads: int) -> int:
    head_dim = fields.size_or_none("head_dim")
    if head_dim is not None:
        return head_dim

    hidden_size = fields.size("hidden_size")
    if hidden_size % heads:
        raise fields.error(
            f"hidden_size ({hidden_size}) must be a multiple of num_attention_heads ({heads}) "
            f"where head_dim is not given"
        )
    return hidden_size // heads
