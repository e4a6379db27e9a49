"""A model of the same shape and another size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from headway.model.architecture import LayerGroup, ModelArchitecture
from headway.model.attention import (
    Attention,
    GroupedQueryAttention,
    LatentAttention,
    LinearAttention,
    StateSpace,
)
from headway.model.ffn import DenseFfn, Ffn, MoeFfn

DEPTH_EXPONENT = 1 / 3


def scaled(model: ModelArchitecture, factor: float) -> ModelArchitecture:
    """Return ``model`` with about ``factor`` times the parameters of its layers.

    Depth takes a third of the exponent and width the rest (Erdil 2025, section 3.7): layers grow
    by factor^(1/3), hidden and feed-forward widths by factor^(1/3) each. Heads keep their size and
    come in whole groups; widths are multiples of 64.
    """
    depth = factor**DEPTH_EXPONENT
    width = factor ** ((1 - DEPTH_EXPONENT) / 2)
    groups = tuple(
        LayerGroup(
            max(1, round(group.count * depth)),
            _scaled_attention(group.attention, width),
            _scaled_ffn(group.ffn, width),
        )
        for group in model.layers
    )
    return replace(
        model,
        name=f"{model.name} x {factor:.3g}",
        hidden_size=_multiple(model.hidden_size * width, 64),
        layers=groups,
        mtp_layers=(),
    )


def _multiple(value: float, of: int) -> int:
    return max(of, round(value / of) * of)


def _scaled_attention(attention: Attention, width: float) -> Attention:
    match attention:
        case GroupedQueryAttention():
            heads = _multiple(attention.num_heads * width, 8)
            kv = int(2 ** np.round(np.log2(attention.num_kv_heads)))
            kv = min(kv, heads) if attention.num_kv_heads < attention.num_heads else heads
            return replace(attention, num_heads=_multiple(heads, kv), num_kv_heads=kv)
        case LatentAttention():
            return replace(attention, num_heads=_multiple(attention.num_heads * width, 8))
        case LinearAttention():
            keys = _multiple(attention.num_key_heads * width, 8)
            ratio = max(1, attention.num_value_heads // attention.num_key_heads)
            return replace(attention, num_key_heads=keys, num_value_heads=keys * ratio)
        case StateSpace():
            heads = _multiple(attention.num_heads * width, 8)
            inner = heads * (attention.inner_size // attention.num_heads)
            return replace(attention, num_heads=heads, inner_size=inner)


def _scaled_ffn(ffn: Ffn | None, width: float) -> Ffn | None:
    match ffn:
        case None:
            return None
        case DenseFfn():
            return replace(ffn, intermediate_size=_multiple(ffn.intermediate_size * width, 64))
        case MoeFfn():
            shared = ffn.shared_intermediate_size
            return replace(
                ffn,
                intermediate_size=_multiple(ffn.intermediate_size * width, 64),
                shared_intermediate_size=_multiple(shared * width, 64) if shared else 0,
            )
