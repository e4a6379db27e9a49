"""Mixers of state-space models and of hybrids, and where their feed-forward blocks stand."""

from __future__ import annotations

from headway.model.attention import Attention, GroupedQueryAttention, StateSpace
from headway.model.ffn import DenseFfn, Ffn, MoeFfn
from headway.model.huggingface.attention import grouped
from headway.model.huggingface.ffn import routed
from headway.model.huggingface.fields import Fields

_MAMBA, _ATTENTION, _DENSE, _EXPERTS = "M", "*", "-", "E"
# The words of ``layers_block_type``, which newer files have in place of the pattern.
_BLOCKS = {"mamba": _MAMBA, "attention": _ATTENTION, "mlp": _DENSE, "moe": _EXPERTS}


def nemotron_blocks(fields: Fields, num_layers: int) -> str:
    """Return the pattern of Nemotron-H: one letter per block, mixer or feed-forward.

    Raises:
        UnsupportedError: it has other letters, or more feed-forward blocks than mixers.

    """
    words = fields.per_layer("layers_block_type", num_layers, *_BLOCKS)
    pattern = fields.raw("hybrid_override_pattern")
    if words is not None:
        pattern = "".join(_BLOCKS[word] for word in words)

    if not isinstance(pattern, str) or not pattern or set(pattern) - set(_BLOCKS.values()):
        raise fields.unsupported("'hybrid_override_pattern' must be made of M, *, - and E")
    if len(pattern) != num_layers:
        raise fields.error("'hybrid_override_pattern' must have one letter per layer")
    if 2 * sum(pattern.count(mixer) for mixer in (_MAMBA, _ATTENTION)) < len(pattern):
        raise fields.unsupported("'hybrid_override_pattern' has more blocks than mixers")
    return pattern


def nemotron_mixers(fields: Fields, num_layers: int) -> tuple[Attention, ...]:
    """Nemotron-H: Mamba-2 where the pattern says M, attention where it says ``*``."""
    mamba = StateSpace(
        num_heads=fields.size("mamba_num_heads"),
        inner_size=fields.size("mamba_num_heads") * fields.size("mamba_head_dim"),
        state_size=fields.size("ssm_state_size"),
        num_groups=fields.size_or("n_groups", fields.size_or("mamba_num_groups", 1)),
        conv_kernel_dim=fields.size("conv_kernel"),
    )
    fields.raw("mamba_num_groups")
    attention = GroupedQueryAttention(
        fields.size("num_attention_heads"),
        fields.size("num_key_value_heads"),
        fields.size_or("head_dim", fields.size_or("attention_head_dim", 128)),
    )
    fields.raw("attention_head_dim")
    fields.raw("sliding_window")
    mixers = [
        letter for letter in nemotron_blocks(fields, num_layers) if letter in (_MAMBA, _ATTENTION)
    ]
    return tuple(mamba if letter == _MAMBA else attention for letter in mixers)


def nemotron_ffns(fields: Fields, num_layers: int) -> tuple[Ffn | None, ...]:
    """Nemotron-H: feed-forward blocks in the order of the pattern; the last mixers have none.

    Which mixer a block follows changes neither work nor memory.
    """
    pattern = nemotron_blocks(fields, num_layers)
    blocks: list[Ffn | None] = []
    for letter in pattern:
        if letter == _DENSE:
            blocks.append(DenseFfn(fields.size("intermediate_size"), gated=False))
        elif letter == _EXPERTS:
            blocks.append(_nemotron_experts(fields))
    for unused in ("intermediate_size", "n_shared_experts", "num_experts", "num_experts_per_tok",
                   "moe_intermediate_size", "moe_shared_expert_intermediate_size",
                   "moe_latent_size"):  # fmt: skip
        fields.raw(unused)

    mixers = sum(letter in (_MAMBA, _ATTENTION) for letter in pattern)
    return (*blocks, *(None,) * (mixers - len(blocks)))


def _nemotron_experts(fields: Fields) -> MoeFfn:
    """Nemotron 3: experts, in Super and Ultra inside a latent of ``moe_latent_size``.

    An expert of a narrow latent has the weights and the work of one of full width whose inner size
    is as much smaller, and the two projections around the latent those of a shared expert.
    """
    hidden_size, width = fields.size("hidden_size"), fields.size("moe_intermediate_size")
    shared = fields.size_or("moe_shared_expert_intermediate_size", 0, minimum=0)
    latent = fields.size_or("moe_latent_size", 0, minimum=0)
    if latent:
        if width * latent % hidden_size:
            raise fields.unsupported(
                f"'moe_latent_size' ({latent}) times moe_intermediate_size ({width}) must be a "
                f"multiple of hidden_size ({hidden_size})"
            )
        width, shared = width * latent // hidden_size, shared + latent
    return MoeFfn(
        num_experts=fields.size("num_experts"),
        num_experts_per_token=fields.size("num_experts_per_tok"),
        intermediate_size=width,
        shared_intermediate_size=shared,
        gated=False,
    )


def mamba2(fields: Fields, num_layers: int) -> tuple[Attention, ...]:
    """Mamba-2 in every layer."""
    inner = fields.size_or("expand", 2) * fields.size("hidden_size")
    heads = fields.size("num_heads")
    fields.raw("head_dim")
    mixer = StateSpace(
        num_heads=heads,
        inner_size=inner,
        state_size=fields.size("state_size"),
        num_groups=fields.size_or("n_groups", 1),
        conv_kernel_dim=fields.size_or("conv_kernel", 4),
    )
    return (mixer,) * num_layers


def no_ffn(fields: Fields, num_layers: int) -> tuple[Ffn | None, ...]:
    """Mamba-2: a layer is a mixer alone."""
    return (None,) * num_layers


def _mamba_d(fields: Fields) -> StateSpace:
    """Mamba-2 under the names of Granite 4 and Bamba."""
    hidden_size, heads = fields.size("hidden_size"), fields.size("mamba_n_heads")
    inner = fields.size_or("mamba_expand", 2) * hidden_size
    fields.raw("mamba_d_head")  # "auto", or inner_size / heads
    return StateSpace(
        num_heads=heads,
        inner_size=inner,
        state_size=fields.size("mamba_d_state"),
        num_groups=fields.size_or("mamba_n_groups", 1),
        conv_kernel_dim=fields.size_or("mamba_d_conv", 4),
    )


def granite_mixers(fields: Fields, num_layers: int) -> tuple[Attention, ...]:
    """Granite 4: ``layer_types`` say mamba or attention."""
    kinds = fields.per_layer("layer_types", num_layers, "mamba", "attention")
    attention = _full_attention(fields, num_layers)
    if kinds is None:
        return attention
    mamba = _mamba_d(fields) if "mamba" in kinds else None
    return tuple(
        mamba if kind == "mamba" and mamba else full
        for kind, full in zip(kinds, attention, strict=True)
    )


def granite_ffns(fields: Fields, num_layers: int) -> tuple[Ffn | None, ...]:
    """Granite 4: a shared block in every layer, and experts where there are any."""
    shared = fields.size("shared_intermediate_size")
    experts = fields.size_or("num_experts", 0, minimum=0)
    width = fields.size("intermediate_size")
    per_token = fields.size_or("num_experts_per_tok", 0, minimum=0)
    block: Ffn = DenseFfn(shared)
    if experts:
        block = MoeFfn(experts, per_token, width, shared)
    return (block,) * num_layers


def every_nth(fields: Fields, num_layers: int) -> tuple[Attention, ...]:
    """Jamba: attention in every ``attn_layer_period``-th layer, else Mamba."""
    period, offset = fields.size("attn_layer_period"), fields.size("attn_layer_offset", minimum=0)
    hidden_size = fields.size("hidden_size")
    rank = fields.raw("mamba_dt_rank")
    inner = fields.size("mamba_expand") * hidden_size
    mamba = StateSpace(
        num_heads=inner,
        inner_size=inner,
        state_size=fields.size("mamba_d_state"),
        conv_kernel_dim=fields.size("mamba_d_conv"),
        dt_rank=rank if isinstance(rank, int) else -(-hidden_size // 16),
    )
    full = _full_attention(fields, num_layers)
    return tuple(full[layer] if layer % period == offset else mamba for layer in range(num_layers))


def jamba_ffns(fields: Fields, num_layers: int) -> tuple[Ffn | None, ...]:
    """Jamba: experts in every ``expert_layer_period``-th layer, else one dense block."""

    def sparse(fields: Fields, num_layers: int) -> tuple[bool, ...]:
        period = fields.size("expert_layer_period")
        offset = fields.size("expert_layer_offset", minimum=0)
        return tuple(layer % period == offset for layer in range(num_layers))

    return routed(sparse, width="intermediate_size")(fields, num_layers)


# Hybrids name their mixers in fields of their own: here every layer sees the whole context.
_full_attention = grouped(lambda fields, num_layers: (None,) * num_layers, needs_kv_heads=True)
