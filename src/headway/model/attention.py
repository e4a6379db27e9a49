"""The kinds of attention, each of which knows its parameters and its cache.

Parameter counts are of the weight matrices; norms and biases are counted by the layer group.
Cache sizes are in elements per token (grows with context) and per sequence (does not).
"""

from __future__ import annotations

from dataclasses import dataclass

from headway.errors import InputError


@dataclass(frozen=True, slots=True)
class GroupedQueryAttention:
    """Softmax attention with ``num_kv_heads`` shared by ``num_heads`` (MHA and MQA are its ends).

    ``window_tokens`` limits the context of a sliding-window layer; ``None`` is full attention.
    ``gated`` adds an output gate as wide as the queries (Qwen3-Next, Qwen3.5).
    ``shared_kv`` marks one projection for keys and values (Gemma 4), which are cached apart.
    """

    num_heads: int
    num_kv_heads: int
    head_dim: int
    window_tokens: int | None = None
    gated: bool = False
    shared_kv: bool = False

    def __post_init__(self) -> None:
        _check_positive(self, "num_heads", "num_kv_heads", "head_dim")
        if self.num_heads % self.num_kv_heads:
            raise InputError(
                f"num_heads ({self.num_heads}) must be a multiple of num_kv_heads "
                f"({self.num_kv_heads})"
            )
        if self.window_tokens is not None:
            _check_positive(self, "window_tokens")

    def params(self, hidden_size: int) -> int:
        """Weights of one layer."""
        q = self.num_heads * self.head_dim
        kv = self.num_kv_heads * self.head_dim * (1 if self.shared_kv else 2)
        return hidden_size * (q * (3 if self.gated else 2) + kv)

    @property
    def kv_elements_per_token(self) -> int:
        """Cached elements of one layer and token."""
        return 2 * self.num_kv_heads * self.head_dim


@dataclass(frozen=True, slots=True)
class LatentAttention:
    """Multi-head latent attention (DeepSeek-V2, section 2.1): one compressed KV for all heads.

    ``q_lora_rank`` is ``None`` where queries are not compressed. With an indexer (DeepSeek sparse
    attention), each query attends to ``index_topk`` tokens chosen by ``index_num_heads`` heads of
    ``index_head_dim`` that score the whole context. A layer with ``index_topk`` alone attends to
    the tokens that an earlier layer has chosen (GLM-5.2).
    """

    num_heads: int
    q_lora_rank: int | None
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    index_num_heads: int = 0
    index_head_dim: int = 0
    index_topk: int = 0

    def __post_init__(self) -> None:
        _check_positive(self, "num_heads", "kv_lora_rank", "v_head_dim")
        _check_positive(self, "qk_nope_head_dim", "qk_rope_head_dim")
        if self.q_lora_rank is not None:
            _check_positive(self, "q_lora_rank")

        # An indexer is whole, or absent, or an earlier layer's.
        indexer = (self.index_num_heads, self.index_head_dim, self.index_topk)
        has_own = all(n > 0 for n in indexer)
        has_none = indexer[:2] == (0, 0) and self.index_topk >= 0
        if not (has_own or has_none):
            raise InputError(
                f"an indexer needs heads, head_dim and topk, all above 0, not {indexer}"
            )

    @property
    def borrows_index(self) -> bool:
        """Whether the layer attends to tokens that an earlier layer has chosen."""
        return self.index_topk > 0 and self.index_num_heads == 0

    def index_params(self, hidden_size: int) -> int:
        """Weights of the indexer of one layer: its queries, its one key, its head weights."""
        q_in = hidden_size if self.q_lora_rank is None else self.q_lora_rank
        return q_in * self.index_num_heads * self.index_head_dim + hidden_size * (
            self.index_head_dim + self.index_num_heads
        )

    def params(self, hidden_size: int) -> int:
        """Weights of one layer."""
        # Queries, through their own latent where there is one.
        heads, qk_dim = self.num_heads, self.qk_nope_head_dim + self.qk_rope_head_dim
        if self.q_lora_rank is None:
            q = hidden_size * heads * qk_dim
        else:
            q = self.q_lora_rank * heads * qk_dim + hidden_size * self.q_lora_rank

        # Keys and values, down to the latent and up from it.
        kv_down = hidden_size * (self.kv_lora_rank + self.qk_rope_head_dim)
        kv_up = self.kv_lora_rank * heads * (self.qk_nope_head_dim + self.v_head_dim)
        output = heads * self.v_head_dim * hidden_size
        return q + kv_down + kv_up + output + self.index_params(hidden_size)

    @property
    def kv_elements_per_token(self) -> int:
        """Cached elements of one layer and token: the latent, the shared rotary key, the index."""
        return self.kv_lora_rank + self.qk_rope_head_dim + self.index_head_dim


@dataclass(frozen=True, slots=True)
class LinearAttention:
    """Recurrent attention with a state instead of a cache (Gated DeltaNet, as in Qwen3-Next).

    The state of a sequence is ``num_value_heads x key_head_dim x value_head_dim`` in 32 bits,
    plus the last ``conv_kernel_dim - 1`` inputs of the short convolution.
    """

    num_key_heads: int
    num_value_heads: int
    key_head_dim: int
    value_head_dim: int
    conv_kernel_dim: int = 4

    def __post_init__(self) -> None:
        _check_positive(self, "num_key_heads", "num_value_heads", "key_head_dim", "value_head_dim")
        _check_positive(self, "conv_kernel_dim")

    @property
    def qkv_size(self) -> int:
        """Width of the convolved queries, keys and values."""
        return 2 * self.num_key_heads * self.key_head_dim + self.value_size

    @property
    def value_size(self) -> int:
        """Width of the values, of the output gate and of the output."""
        return self.num_value_heads * self.value_head_dim

    def params(self, hidden_size: int) -> int:
        """Weights of one layer: q, k, v, gate, the two per-head decays, convolution, output."""
        inputs = self.qkv_size + self.value_size + 2 * self.num_value_heads
        return hidden_size * (inputs + self.value_size) + self.qkv_size * self.conv_kernel_dim

    @property
    def state_elements(self) -> int:
        """Recurrent state of one layer and sequence, in elements."""
        return self.num_value_heads * self.key_head_dim * self.value_head_dim

    @property
    def kv_elements_per_token(self) -> int:
        """Zero: the state does not grow with the context."""
        return 0


@dataclass(frozen=True, slots=True)
class StateSpace:
    """A selective state-space mixer in place of attention: Mamba-2, or Mamba where ``dt_rank``.

    The state of a sequence is ``inner_size x state_size``. Mamba-2 (Dao and Gu 2024, section 7)
    has one decay and step size per head and shares B and C in ``num_groups``; Mamba (Gu and Dao
    2023, section 3) has one per channel, through a projection of rank ``dt_rank``.
    """

    num_heads: int
    inner_size: int
    state_size: int
    num_groups: int = 1
    conv_kernel_dim: int = 4
    dt_rank: int = 0

    def __post_init__(self) -> None:
        _check_positive(self, "num_heads", "inner_size", "state_size", "num_groups")
        _check_positive(self, "conv_kernel_dim")
        if self.inner_size % self.num_heads:
            raise InputError(
                f"inner_size ({self.inner_size}) must be a multiple of num_heads ({self.num_heads})"
            )

    @property
    def selection_size(self) -> int:
        """Width of B and C, which the convolution of Mamba-2 sees too."""
        return 2 * self.num_groups * self.state_size

    @property
    def conv_size(self) -> int:
        """Width of what the short convolution sees."""
        return self.inner_size + (0 if self.dt_rank else self.selection_size)

    @property
    def step_sizes(self) -> int:
        """Width of the projection that makes step sizes: of one per head, or its rank."""
        return self.dt_rank or self.num_heads

    def params(self, hidden_size: int) -> int:
        """Weights of one layer: input and gate, B, C and step sizes, convolution, output."""
        inner = self.inner_size
        convolution = self.conv_size * self.conv_kernel_dim
        if self.dt_rank:  # B, C and the step sizes come from the inner width, not from the input
            selected = inner * (self.dt_rank + self.selection_size) + self.dt_rank * inner
            return 3 * hidden_size * inner + selected + convolution
        inputs = 2 * inner + self.selection_size + self.num_heads
        return hidden_size * (inputs + inner) + convolution

    @property
    def state_elements(self) -> int:
        """Recurrent state of one layer and sequence, in elements."""
        return self.inner_size * self.state_size

    @property
    def kv_elements_per_token(self) -> int:
        """Zero: the state does not grow with the context."""
        return 0


Attention = GroupedQueryAttention | LatentAttention | LinearAttention | StateSpace


def _check_positive(owner: object, *names: str) -> None:
    for name in names:
        if getattr(owner, name) < 1:
            raise InputError(f"{name} must be at least 1, not {getattr(owner, name)}")
