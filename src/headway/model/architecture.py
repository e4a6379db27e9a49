"""A model as its `config.json` describes it: layers, and what stands around them."""

from __future__ import annotations

from dataclasses import dataclass, field

from headway.errors import InputError
from headway.model.attention import Attention, LinearAttention, StateSpace
from headway.model.ffn import Ffn
from headway.model.precision import Precision


@dataclass(frozen=True, slots=True)
class LayerGroup:
    """``count`` layers that are alike, each with ``vector_params`` norms, biases and the like.

    ``ffn`` is ``None`` where a layer is a mixer alone (Mamba-2, some layers of Nemotron-H).
    """

    count: int
    attention: Attention
    ffn: Ffn | None
    vector_params: int = 0

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError(f"a layer group needs at least 1 layer, not {self.count}")


@dataclass(frozen=True, slots=True)
class ModelArchitecture:
    """What determines the work of a forward pass.

    Attributes:
        layers: groups of alike layers; the order between groups carries no meaning.
        tied_embeddings: the input table serves as output head too.
        parallel_blocks: attention and feed-forward read the same input (GPT-J, PaLM), so that a
            tensor-parallel layer needs one all-reduce instead of two.
        learned_positions: rows of a learned position table, 0 for rotary or none.
        mtp_layers: multi-token-prediction blocks, drafting heads outside ``layers``: one group of
            one layer per block, each with a projection from 2 x ``hidden_size``.
        max_context_tokens: longest context the positions allow, ``None`` where it is not stated.
        vector_params: norms and biases outside the layers. They count towards the total (a few
            parts in 10^5, so 0 does no harm), not towards the active weights.
        precision: in which it was published, ``None`` where nobody said.

    """

    name: str
    hidden_size: int
    vocab_size: int
    layers: tuple[LayerGroup, ...]
    tied_embeddings: bool = False
    parallel_blocks: bool = False
    learned_positions: int = 0
    mtp_layers: tuple[LayerGroup, ...] = ()
    max_context_tokens: int | None = None
    vector_params: int = 0
    precision: Precision | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.hidden_size < 1 or self.vocab_size < 1:
            raise InputError("hidden_size and vocab_size must be at least 1")
        if not self.layers:
            raise InputError(f"model {self.name!r} has no layers")

    @property
    def num_layers(self) -> int:
        """Layers of a forward pass, drafting heads not counted."""
        return sum(group.count for group in self.layers)

    @property
    def embedding_params(self) -> int:
        """The input table and learned positions."""
        return (self.vocab_size + self.learned_positions) * self.hidden_size

    @property
    def head_params(self) -> int:
        """The output head, whether or not it shares the input table."""
        return self.vocab_size * self.hidden_size

    @property
    def layer_params(self) -> int:
        """All weights inside the layers, vectors included."""
        return sum(g.count * _group_params(self.hidden_size, g) for g in self.layers)

    @property
    def mtp_params(self) -> int:
        """Weights of the multi-token-prediction blocks: layer, and projection from 2 x hidden."""
        d = self.hidden_size
        return sum(g.count * (_group_params(d, g) + 2 * d * d) for g in self.mtp_layers)

    @property
    def total_params(self) -> int:
        """All weights that serving without drafting heads must hold."""
        head = 0 if self.tied_embeddings else self.head_params
        return self.embedding_params + self.layer_params + head + self.vector_params

    @property
    def active_params(self) -> int:
        """Weights that one token multiplies with: active layers and the head, not the lookup."""
        d = self.hidden_size
        return self.head_params + sum(
            g.count * (g.attention.params(d) + (g.ffn.active_params(d) if g.ffn else 0))
            for g in self.layers
        )

    @property
    def kv_elements_per_token(self) -> int:
        """Cached elements per token in all layers, as long as no window is full."""
        return sum(g.count * g.attention.kv_elements_per_token for g in self.layers)

    @property
    def state_elements(self) -> int:
        """Recurrent state per sequence in all layers."""
        return sum(
            g.count * g.attention.state_elements
            for g in self.layers
            if isinstance(g.attention, LinearAttention | StateSpace)
        )


def _group_params(hidden_size: int, group: LayerGroup) -> int:
    ffn = group.ffn.params(hidden_size) if group.ffn else 0
    return group.attention.params(hidden_size) + ffn + group.vector_params
