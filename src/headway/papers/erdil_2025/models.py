"""The transformer as the paper sees it: a dozen dimensions and the counts that follow.

The counts are those of the published program, its simplifications kept on purpose:

* the routed experts per active expert are a floor (DeepSeek-V3: 256 // 9 = 28);
* DeepSeek-V3 has 58 layers (its three dense ones are dropped), its shared expert counts as a
  ninth routed one, and the 64 rotary dimensions of its cache are left out;
* Llama 3.1 405B is given 8 query heads per key-value head (in truth 16: the cache is doubled).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType

from headway.errors import InputError

__all__ = ["MODELS", "LatentAttention", "PublishedModel", "scale_model"]


@dataclass(frozen=True, slots=True)
class LatentAttention:
    """The two ranks of multi-head latent attention: what is cached, and the query's."""

    kv_rank: float
    query_rank: float

    def __post_init__(self) -> None:
        """Refuse ranks that are not positive."""
        if not (self.kv_rank > 0 and self.query_rank > 0):
            raise InputError(f"the ranks of latent attention must be positive, not {self}")


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A decoder in the paper's quantities; sizes may be fractional, as scaled models are.

    ``ffn_up_matrices`` and ``ffn_down_matrices`` count the matrices of one feed-forward block
    from and to the residual stream: (2, 1) where it is gated, (1, 1) where it is plain.
    ``group_size`` is query heads per key-value head. ``parallel_attention`` halves the
    reductions of the simple model (equations 3 and 12) and, as in the published program,
    nothing else. Raises ``InputError`` at birth.
    """

    name: str
    hidden_size: float
    ffn_size: float
    num_layers: int
    num_query_heads: int
    group_size: float
    head_size: float
    vocab_size: int
    ffn_up_matrices: int = 2
    ffn_down_matrices: int = 1
    num_experts: int = 1
    num_active_experts: int = 1
    weight_bytes: float = 2
    activation_bytes: float = 2
    parallel_attention: bool = False
    latent: LatentAttention | None = None

    def __post_init__(self) -> None:
        """Refuse quantities that no model has."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                continue
            if not (math.isfinite(value) and value > 0):
                raise InputError(f"{self.name}: {field.name} must be positive, not {value}")
        if self.num_active_experts > self.num_experts:
            raise InputError(
                f"{self.name}: {self.num_active_experts} of {self.num_experts} experts cannot be "
                "active; give at most as many active experts as there are"
            )
        if self.group_size > self.num_query_heads:
            raise InputError(
                f"{self.name}: a group of {self.group_size} query heads exceeds the "
                f"{self.num_query_heads} there are"
            )
        if self.latent is not None and self.group_size != 1:
            raise InputError(
                f"{self.name}: latent attention has a key per query head; give group_size=1, "
                f"not {self.group_size}"
            )

    def with_weights(self, bits: int) -> PublishedModel:
        """Return this model with weights of ``bits`` bits, activations and cache as they were."""
        return replace(self, weight_bytes=bits / 8)

    @property
    def weight_bits(self) -> float:
        """Bits per weight; the rate of all arithmetic, attention's too, is chosen by it."""
        return 8 * self.weight_bytes

    @property
    def sparsity(self) -> int:
        """Experts per active expert, rounded down as the published program does."""
        return self.num_experts // self.num_active_experts

    @property
    def num_kv_heads(self) -> float:
        """Key heads and value heads together: 2 h / g."""
        return 2 * self.num_query_heads / self.group_size

    @property
    def qkv_size(self) -> float:
        """Width of queries, keys and values together: (h + 2 h / g) d_head."""
        return (self.num_query_heads + self.num_kv_heads) * self.head_size

    @property
    def attention_size(self) -> float:
        """Width of the attention's output before its projection: h d_head."""
        return self.head_size * self.num_query_heads

    @property
    def cached_key_size(self) -> float:
        """Width of the keys as they are cached and multiplied: d_head, or the latent's rank."""
        return self.head_size if self.latent is None else self.latent.kv_rank

    @property
    def reductions_per_layer(self) -> int:
        """Reductions over a ring per layer in the simple model: n_red of equation 3."""
        return 2 if self.parallel_attention else 4

    @property
    def ffn_params(self) -> float:
        """Parameters of all experts of all layers."""
        matrices = self.ffn_up_matrices + self.ffn_down_matrices
        return self.num_layers * self.num_experts * matrices * self.hidden_size * self.ffn_size

    @property
    def attention_params(self) -> float:
        """Parameters of all attention projections."""
        d, out = self.hidden_size, self.attention_size
        if self.latent is None:
            return self.num_layers * (self.qkv_size * d + out * d)
        kv, query = self.latent.kv_rank, self.latent.query_rank
        expand = self.num_kv_heads * self.head_size * kv + out * query
        return self.num_layers * (2 * kv * d + query * d + expand + out * d)

    @property
    def embedding_params(self) -> float:
        """Input embedding and output projection, both counted even where they are tied."""
        return 2 * self.vocab_size * self.hidden_size

    @property
    def total_params(self) -> float:
        """All parameters."""
        return self.attention_params + self.ffn_params + self.embedding_params

    @property
    def active_params(self) -> float:
        """Parameters that one token meets, the input embedding included."""
        return self.attention_params + self.ffn_params // self.sparsity + self.embedding_params

    @property
    def weights_total_bytes(self) -> float:
        """Bytes of all weights."""
        return self.weight_bytes * self.total_params

    @property
    def kv_bytes_per_token(self) -> float:
        """Cached bytes per token of context."""
        if self.latent is None:
            per_layer = self.num_kv_heads * self.head_size
        else:
            per_layer = self.latent.kv_rank
        return per_layer * self.num_layers * self.activation_bytes

    def flops(self, context_tokens: float, batch: float, query_tokens: int = 1) -> float:
        """Arithmetic of one forward pass of ``query_tokens`` per sequence (section 3.6, eq. 37).

        The printed equation 37 lacks the head size; it is here, as in the published program.
        """
        mean_context = context_tokens + (query_tokens - 1) / 2
        per_token = 2 * self.active_params + (
            4 * self.cached_key_size * self.num_query_heads * self.num_layers * mean_context
        )
        return per_token * batch * query_tokens


def scale_model(
    model: PublishedModel, factor: float, depth_exponent: float = 1 / 3
) -> PublishedModel:
    """Return ``model`` with about ``factor`` times the parameters, wider and deeper alike.

    Depth grows as factor^e, width as factor^((1-e)/2), heads and their size as its root;
    layers are rounded down and heads up, sizes are left fractional (published program).
    """
    if not (math.isfinite(factor) and factor > 0):
        raise InputError(f"a model can be scaled by a positive factor, not by {factor}")
    width = factor ** ((1 - depth_exponent) / 2)
    heads = factor ** ((1 - depth_exponent) / 4)
    return replace(
        model,
        name=f"{model.name} x {factor:g}",
        hidden_size=model.hidden_size * width,
        ffn_size=model.ffn_size * width,
        num_layers=int(model.num_layers * factor**depth_exponent),
        num_query_heads=math.ceil(model.num_query_heads * heads),
        head_size=model.head_size * heads,
    )


_LLAMA_3_8B = PublishedModel("llama-3-8b", 4096, 14336, 32, 32, 4, 128, 128256)
_LLAMA_3_70B = PublishedModel("llama-3-70b", 8192, 28672, 80, 64, 8, 128, 128256)

_NAMED = (
    _LLAMA_3_8B,
    # The published "8-bit" Llama 3 8B narrows the activations and leaves the weights at 16 bits.
    replace(_LLAMA_3_8B, name="llama-3-8b-8-bit-as-published", activation_bytes=1),
    # One key-value head for all 32 query heads: the paper's draft for long contexts.
    replace(_LLAMA_3_8B, name="llama-3-8b-mqa", group_size=32),
    _LLAMA_3_70B,
    PublishedModel("llama-3.1-405b", 16384, 53248, 126, 128, 8, 128, 128256),
    PublishedModel("gpt-4", 12288, 36864, 120, 96, 96, 192, 100256, 1, 1, 16, 2),
    PublishedModel("gpt-3", 12288, 49152, 96, 96, 1, 128, 50257, 1, 1),
    PublishedModel("mixtral-8x22b", 6144, 16384, 56, 48, 6, 128, 32000, 2, 1, 8, 2),
    PublishedModel("mixtral-8x7b", 4096, 14336, 32, 32, 4, 128, 32000, 2, 1, 8, 2),
    PublishedModel("mistral-large-2", 12288, 28672, 88, 96, 12, 128, 32768),
    PublishedModel(
        "deepseek-v3", 7168, 2048, 58, 128, 1, 128, 129280, 2, 1, 256, 9, 1,
        latent=LatentAttention(kv_rank=512, query_rank=1536),
    ),
    PublishedModel("palm-540b", 18432, 73728, 118, 48, 48, 256, 256000, parallel_attention=True),
    # Dimensions as published by its authors; they give the paper's 9,680,453,632 parameters.
    PublishedModel(
        "palm-8b", 4096, 16384, 32, 16, 16, 256, 256000, weight_bytes=1, parallel_attention=True
    ),
    PublishedModel("falcon-180b", 14848, 59392, 80, 232, 232, 64, 65024, 1, 1),
    PublishedModel("gpt-j-6b", 4096, 16384, 28, 16, 1, 256, 50257, 1, 1),
)  # fmt: skip

MODELS: Mapping[str, PublishedModel] = MappingProxyType(
    {model.name: model for model in _NAMED}
    | {"llama-3.1-8b": _LLAMA_3_8B}
    | {"llama-3.1-70b": _LLAMA_3_70B, "llama-3.3-70b": _LLAMA_3_70B}
)
"""The published program's own constants, by catalogue name."""
