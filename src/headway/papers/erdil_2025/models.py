"""The transformer as the paper sees it: a dozen dimensions and the counts that follow.

The counts are those of the published program, its simplifications kept on purpose: the routed
experts per active expert are a floor (DeepSeek-V3: 256 // 9 = 28), and ``models.toml`` names the
slips about single models.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import MappingProxyType

from headway.errors import InputError


@dataclass(frozen=True, slots=True)
class LatentAttention:
    """The two ranks of multi-head latent attention: what is cached, and the query's."""

    kv_rank: float
    query_rank: float

    def __post_init__(self) -> None:
        if not (self.kv_rank > 0 and self.query_rank > 0):
            raise InputError(f"the ranks of latent attention must be positive, not {self}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedModel:
    """A decoder in the paper's quantities; sizes may be fractional, as scaled models are.

    Attributes:
        group_size: query heads per key-value head.
        ffn_up_matrices, ffn_down_matrices: matrices of one feed-forward block from and to the
            residual stream: (2, 1) where it is gated, (1, 1) where it is plain.
        parallel_attention: halves the reductions of the simple model (equations 3 and 12) and, as
            in the published program, nothing else.

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

    Depth grows as factor^e, width as factor^((1-e)/2), heads and their size as its root. Layers are
    rounded down and heads up, sizes are left fractional, and the number of key-value heads stays:
    the groups grow with the heads (published program). Latent attention keeps a key for every
    query head, as the paper's counts need it.

    Raises:
        InputError: a factor that is not positive, or one that leaves no layer.

    """
    if not (math.isfinite(factor) and factor > 0):
        raise InputError(f"a model can be scaled by a positive factor, not by {factor}")

    width = factor ** ((1 - depth_exponent) / 2)
    head_factor = factor ** ((1 - depth_exponent) / 4)
    num_heads = math.ceil(model.num_query_heads * head_factor)
    grouped = model.latent is None
    return replace(
        model,
        name=f"{model.name} x {factor:g}",
        hidden_size=model.hidden_size * width,
        ffn_size=model.ffn_size * width,
        num_layers=int(model.num_layers * factor**depth_exponent),
        num_query_heads=num_heads,
        group_size=model.group_size * num_heads / model.num_query_heads if grouped else 1,
        head_size=model.head_size * head_factor,
    )


def _read() -> Mapping[str, PublishedModel]:
    """Return the models of ``models.toml`` by name, other catalogue names included."""
    text = Path(__file__).with_name("models.toml").read_text(encoding="utf-8")
    models = {}
    for name, dimensions in tomllib.loads(text).items():
        ranks = dimensions.pop("latent", None)
        latent = None if ranks is None else LatentAttention(**ranks)
        models[name] = PublishedModel(name=name, latent=latent, **dimensions)

    aliases = {"llama-3.1-8b": "llama-3-8b", "llama-3.1-70b": "llama-3-70b",
               "llama-3.3-70b": "llama-3-70b"}  # fmt: skip
    return MappingProxyType(models | {alias: models[name] for alias, name in aliases.items()})


MODELS = _read()
"""The published program's own constants, by catalogue name."""
