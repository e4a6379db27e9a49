"""Layers that an architecture search has thinned out (Nemotron-NAS), from ``block_configs``.

A block may lack its attention or its feed-forward block. One without attention is counted with the
block before it: two feed-forward blocks, one after the other, have the weights and the work of one
that is as wide as both.
"""

from __future__ import annotations

from headway.model.attention import Attention, GroupedQueryAttention
from headway.model.ffn import DenseFfn, Ffn
from headway.model.huggingface.fields import Fields

_WIDTH_UNIT = 256
_UNCOUNTED = ("replace_with_linear", "sparsify", "num_sink_tokens", "window_length")


def searched_attentions(fields: Fields, num_layers: int) -> tuple[Attention, ...]:
    """Return the attention of each block that has one."""
    heads, hidden_size = fields.size("num_attention_heads"), fields.size("hidden_size")
    fields.raw("num_key_value_heads")  # null: every block has its own
    attentions = [block.part("attention") for block in _blocks(fields, num_layers)]
    return tuple(
        GroupedQueryAttention(heads, heads // own.size("n_heads_in_group"), hidden_size // heads)
        for own in attentions
        if not own.flag("no_op", False)
    )


def searched_ffns(fields: Fields, num_layers: int) -> tuple[Ffn | None, ...]:
    """Return the feed-forward block after each attention, with those of blocks without one."""
    hidden_size = fields.size("hidden_size")
    fields.raw("intermediate_size")  # null: every block has its own

    widths: list[int] = []
    for block in _blocks(fields, num_layers):
        if not block.part("attention").flag("no_op", False):
            widths.append(0)
        if not widths:
            raise fields.unsupported("the first of 'block_configs' has no attention")
        widths[-1] += _width(block.part("ffn"), hidden_size)
    return tuple(DenseFfn(width) if width else None for width in widths)


def _width(ffn: Fields, hidden_size: int) -> int:
    """Return the inner size of a block, as transformers' DeciLM derives it from ``ffn_mult``."""
    if ffn.flag("no_op", False):
        return 0
    multiple = ffn.raw("ffn_mult")
    if not isinstance(multiple, int | float):
        raise ffn.error("'ffn_mult' must be a number")
    return -(-int(2 * multiple * hidden_size / 3) // _WIDTH_UNIT) * _WIDTH_UNIT


def _blocks(fields: Fields, num_layers: int) -> list[Fields]:
    blocks = fields.parts("block_configs")
    if len(blocks) != num_layers:
        raise fields.error(f"'block_configs' must list {num_layers} blocks, one per layer")

    for block in blocks:
        for key in _UNCOUNTED:
            if block.part("attention").raw(key) or block.part("ffn").raw(key):
                raise fields.unsupported(f"'block_configs' with {key!r} are not counted")
    return blocks
