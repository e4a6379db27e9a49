"""Norms, biases and other vectors, so that a total can equal the published one to the last digit.

They are below 0.05% of a model and no matrix multiplies them, so they count towards what is stored,
never towards what is active.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from headway.model.attention import (
    Attention,
    GroupedQueryAttention,
    LatentAttention,
    LinearAttention,
    StateSpace,
)
from headway.model.ffn import DenseFfn, Ffn, MoeFfn
from headway.model.huggingface.fields import Fields

Switch = bool | str | Callable[[Fields], bool]
"""On, off, the name of the field that says so (off where it is missing), or a reader of it."""


@dataclass(frozen=True, slots=True)
class Vectors:
    """Which vectors a family has.

    Attributes:
        norms: norms of ``hidden_size`` in a layer.
        norm_bias: whether they have a bias beside the weight (LayerNorm; RMSNorm has none).
        qk_norm_heads: norms of ``head_dim`` on queries and keys.
        qk_norm_wide: norms over all heads of queries and of keys.
        sinks: a learned logit per head.
        router_bias: one number per expert, added to its score.
        router_scale: a vector on the router's input, and a number per expert (Gemma 4).
        shared_gate: a vector that scales the shared expert.

    """

    norms: int | Callable[[Fields], int] = 2
    norm_bias: bool = False
    qkv_bias: Switch = False
    output_bias: Switch = False
    mlp_bias: Switch = False
    qk_norm_heads: Switch = False
    qk_norm_wide: Switch = False
    sinks: bool = False
    router_bias: Switch = False
    router_scale: bool = False
    expert_bias: bool = False
    shared_gate: bool = False
    embedding_norm: bool = False
    final_norm: bool = True
    head_bias: bool = False

    def in_layer(
        self, fields: Fields, hidden_size: int, attention: Attention, ffn: Ffn | None
    ) -> int:
        """Return the elements of all vectors in one layer."""
        norms = self.norms if isinstance(self.norms, int) else self.norms(fields)
        if ffn is None:  # a mixer alone has one norm before it
            norms = 1
        return (
            norms * hidden_size * (2 if self.norm_bias else 1)
            + self._in_attention(fields, hidden_size, attention)
            + self._in_ffn(fields, hidden_size, ffn)
        )

    def outside(self, hidden_size: int, vocab_size: int) -> int:
        """Return the elements of all vectors outside the layers."""
        norms = int(self.final_norm) + int(self.embedding_norm)
        return norms * hidden_size * (2 if self.norm_bias else 1) + self.head_bias * vocab_size

    def _in_attention(self, fields: Fields, hidden_size: int, attention: Attention) -> int:
        qkv_bias, output_bias = is_on(self.qkv_bias, fields), is_on(self.output_bias, fields)

        match attention:
            case GroupedQueryAttention(heads, kv_heads, head_dim):
                q, kv = heads * head_dim, kv_heads * head_dim
                return (
                    qkv_bias * (q * (2 if attention.gated else 1) + 2 * kv)
                    + output_bias * hidden_size
                    + is_on(self.qk_norm_heads, fields) * 2 * head_dim
                    + is_on(self.qk_norm_wide, fields) * (q + kv)
                    + self.sinks * heads
                )
            case LatentAttention():
                latents = attention.kv_lora_rank + (attention.q_lora_rank or 0)
                down = latents + attention.qk_rope_head_dim
                index_norm = 2 * attention.index_head_dim
                return latents + index_norm + qkv_bias * down + output_bias * hidden_size
            case LinearAttention():  # two decay vectors per head, and the norm of the output
                return 2 * attention.num_value_heads + attention.value_head_dim
            case StateSpace(num_heads, inner):
                # Decay, step size and skip, the convolution's bias, and a norm: of the output, or
                # in Jamba of step sizes, B and C.
                if attention.dt_rank:
                    of_channel = attention.state_size + 2
                    return inner * of_channel + attention.dt_rank + attention.selection_size + inner
                return 3 * num_heads + attention.conv_size + inner

    def _in_ffn(self, fields: Fields, hidden_size: int, ffn: Ffn | None) -> int:
        match ffn:
            case None:
                return 0
            case DenseFfn(width):
                inner = (ffn.num_matrices - 1) * width
                return is_on(self.mlp_bias, fields) * (inner + hidden_size)
            case MoeFfn():
                inner = (ffn.num_matrices - 1) * ffn.intermediate_size
                return (
                    is_on(self.router_bias, fields) * ffn.num_experts
                    + self.expert_bias * ffn.num_experts * (inner + hidden_size)
                    + self.router_scale * (hidden_size + ffn.num_experts)
                    + self.shared_gate * hidden_size
                )


def is_on(switch: Switch, fields: Fields) -> bool:
    """Whether ``switch`` is on in a configuration."""
    if isinstance(switch, str):
        return fields.flag(switch, False)
    return switch if isinstance(switch, bool) else switch(fields)
