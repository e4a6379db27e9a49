"""One forward pass on one pipeline stage: bytes, arithmetic and network, before any choice.

Section 3 of the paper (equations 29 to 44), and what its program adds: pipeline and expert
parallelism, attention on a fraction of the accelerators, latent attention, several query tokens
per sequence. Everything is real-valued and broadcasts. Quirks kept:

* the cache is read once per pass whatever the number of query tokens, the output projection
  once per stage, and the cost of attending within the query tokens is left out;
* capacity counts the cache of one micro-batch, so that P stages see P times the memory;
* all-to-all joins at most as many ranks as there are active experts;
* four kernel launches per layer, whatever the layer holds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from headway.errors import InputError
from headway.papers.erdil_2025.accelerators import PublishedAccelerator
from headway.papers.erdil_2025.collectives import (
    ALL_TO_ALL,
    POINT_TO_POINT,
    group,
    tensor_groups,
)
from headway.papers.erdil_2025.models import PublishedModel

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """What every layout and every scale-down of attention shares, at one pipeline depth.

    All are arrays of one shape. ``tokens`` is those of one micro-batch; ``s_per_byte`` is the
    time that a byte read by each stage adds; ``fixed_network_s`` is the all-to-all and the stage
    boundaries. Attention's projections are apart, as they depend on the scale-down: their bytes
    are not here, their arithmetic is that of a scale-down of 1.
    """

    ways: Floats
    ffn_ways: Floats
    tokens: Floats
    s_per_byte: Floats
    fixed_network_s: Floats
    memory_s: Floats
    arithmetic_s: Floats
    projection_arithmetic_s: Floats

    def take(self, index: NDArray[np.intp]) -> Stage:
        """Return the stage at ``index`` only."""
        return Stage(*(getattr(self, field.name)[index] for field in fields(self)))


def _moved_bytes(
    model: PublishedModel, rows: float, columns: float, *, tokens: Floats, ways: Floats
) -> Floats:
    """Return bytes of a rows x columns matrix times ``tokens`` vectors, over all ``ways`` ranks.

    Ranks tile the matrix in the ratio of its sides; outputs move once per column of tiles and
    inputs once per row.
    """
    column_tiles = np.minimum(np.maximum(np.sqrt(rows / columns * ways), 1.0), ways)
    vectors = column_tiles * columns + ways / column_tiles * rows
    return rows * columns * model.weight_bytes + tokens * model.activation_bytes * vectors


@dataclass(frozen=True, slots=True)
class ForwardPass:
    """``query_tokens`` tokens of every sequence through ``model``, at a context of equal length."""

    model: PublishedModel
    accelerator: PublishedAccelerator
    context_tokens: float = 0
    query_tokens: int = 1

    def __post_init__(self) -> None:
        if not self.context_tokens >= 0:
            raise InputError(f"context_tokens must not be negative, not {self.context_tokens}")
        if self.query_tokens < 1:
            raise InputError(f"query_tokens must be at least 1, not {self.query_tokens}")
        self.accelerator.peak_for(self.model.weight_bits)

    @property
    def launch_s(self) -> float:
        """Time of the kernel launches of one pass."""
        return self.model.num_layers * 4 * self.accelerator.kernel_launch_s

    def fits(self, num_accelerators: Floats, micro_batch: Floats) -> NDArray[np.bool_]:
        """Whether the weights and the cache of one micro-batch fit into all memory together."""
        model = self.model
        cache = model.kv_bytes_per_token * self.context_tokens * micro_batch
        memory_bytes = num_accelerators * self.accelerator.memory_bytes
        return np.asarray(memory_bytes >= cache + model.weights_total_bytes)

    def bound_s(self, num_accelerators: Floats, batch: Floats, depth: Floats | float = 1) -> Floats:
        """Return a time that no layout and no scale-down of attention at this depth goes below.

        Launches, then the weights and the cache or the arithmetic, without any network. It grows
        with the depth: P reads of the experts that B / P tokens meet exceed one read for B.
        """
        model = self.model
        busy = self._share_of_busy_experts(batch / depth * self.query_tokens)
        weights = busy * model.ffn_params + model.attention_params + model.embedding_params / 2
        cache = model.kv_bytes_per_token * self.context_tokens * batch
        num_bytes = depth * (model.weight_bytes * weights) + cache
        memory = num_bytes / (num_accelerators * self.accelerator.reached_memory_bytes_per_s)

        arithmetic = self._arithmetic_s(num_accelerators, batch)
        arithmetic += self._projection_arithmetic_s(num_accelerators, batch)
        return self.launch_s + np.maximum(memory, arithmetic)

    def stage(
        self, num_accelerators: Floats, batch: Floats, depth: Floats, expert_parallel: bool
    ) -> Stage:
        """Return what ``depth`` pipeline stages cost, whatever is chosen within them."""
        model, query = self.model, self.query_tokens
        micro_batch, ways = batch / depth, num_accelerators / depth
        tokens = micro_batch * query

        # Experts are spread over the ranks, unless too few tokens would meet them.
        ffn_ways, experts_network_s = ways, np.zeros_like(ways)
        if expert_parallel and model.num_experts > 1:
            few = micro_batch < 2 * model.sparsity
            expert_ways = np.where(few, 1.0, np.minimum(ways, model.num_experts))
            ffn_ways = np.maximum(1.0, ways / expert_ways)
            experts_network_s = self._all_to_all_s(expert_ways, ways, tokens)

        # Between two stages, each rank sends its share of every token's hidden state.
        boundary_bytes = model.hidden_size * model.activation_bytes * tokens / ways
        pair = group(2.0, 2.0, self.accelerator, POINT_TO_POINT)
        network_s = experts_network_s + (depth - 1) * pair.time_s(boundary_bytes)

        bandwidth = self.accelerator.reached_memory_bytes_per_s
        s_per_byte = depth / (num_accelerators * bandwidth)
        num_bytes = self._moved_bytes_besides_projections(micro_batch, tokens, ffn_ways)
        return Stage(
            ways=ways,
            ffn_ways=ffn_ways,
            tokens=tokens,
            s_per_byte=s_per_byte,
            fixed_network_s=network_s,
            memory_s=num_bytes * s_per_byte,
            arithmetic_s=self._arithmetic_s(num_accelerators, batch),
            projection_arithmetic_s=self._projection_arithmetic_s(num_accelerators, batch),
        )

    def _all_to_all_s(self, expert_ways: Floats, ways: Floats, tokens: Floats) -> Floats:
        model = self.model
        ranks = np.minimum(model.num_active_experts, expert_ways)
        routed_bytes = model.hidden_size * model.activation_bytes * tokens * ranks / ways
        nodes = np.ceil(ranks / self.accelerator.node_size)
        once = group(ranks, nodes, self.accelerator, ALL_TO_ALL).time_s(routed_bytes)
        return 2 * model.num_layers * once

    def _moved_bytes_besides_projections(
        self, micro_batch: Floats, tokens: Floats, ffn_ways: Floats
    ) -> Floats:
        model = self.model
        busy = self._share_of_busy_experts(tokens)
        matrices = model.num_experts * (model.ffn_up_matrices + model.ffn_down_matrices)
        tokens_each = tokens / model.sparsity
        matrix = _moved_bytes(
            model, model.hidden_size, model.ffn_size, tokens=tokens_each, ways=ffn_ways
        )
        ffn = matrices * busy * matrix

        cache = model.kv_bytes_per_token * self.context_tokens * micro_batch
        unembedding = model.weight_bytes * model.vocab_size * model.hidden_size
        return cache + model.num_layers * ffn + unembedding

    def _share_of_busy_experts(self, tokens: Floats) -> Floats | float:
        """Return the share of experts that any token goes to, routing independent and uniform."""
        sparsity = self.model.sparsity
        return 1.0 if sparsity == 1 else 1 - np.exp(math.log1p(-1 / sparsity) * tokens)

    def _arithmetic_s(self, num_accelerators: Floats, batch: Floats) -> Floats:
        model = self.model
        attended = 4 * model.cached_key_size * model.num_query_heads * model.num_layers
        per_token = 2 * model.ffn_params / model.sparsity + attended * self.context_tokens
        rate = self.accelerator.reached_flops_per_s(model.weight_bits)
        return per_token * self.query_tokens * batch / (num_accelerators * rate)

    def projection_memory_s(self, stage: Stage, scale_down: Floats | float) -> Floats:
        """Memory time of attention's projections, run on ``ways / scale_down`` ranks."""
        model, tokens = self.model, stage.tokens
        ways = stage.ways / scale_down
        d, qkv, out = model.hidden_size, model.qkv_size, model.attention_size

        if model.latent is None:
            num_bytes = _moved_bytes(model, qkv, d, tokens=tokens, ways=ways)
        else:
            ranks = model.latent.kv_rank + model.latent.query_rank
            num_bytes = _moved_bytes(model, ranks, d, tokens=tokens, ways=ways)
            num_bytes += _moved_bytes(model, qkv, ranks, tokens=tokens, ways=ways)
        num_bytes += _moved_bytes(model, d, out, tokens=tokens, ways=ways)
        return model.num_layers * scale_down * num_bytes * stage.s_per_byte

    def _projection_arithmetic_s(self, num_accelerators: Floats, batch: Floats) -> Floats:
        # The published program scales the embeddings' arithmetic down with attention's.
        model = self.model
        per_token = 2 * (model.attention_params + model.embedding_params) * self.query_tokens
        rate = self.accelerator.reached_flops_per_s(model.weight_bits)
        return per_token * batch / (num_accelerators * rate)

    def ffn_network_s(self, stage: Stage) -> tuple[Floats, Floats]:
        """Return the all-reduce time of all feed-forward blocks in one and in two dimensions."""
        model = self.model
        one, two = tensor_groups(stage.ffn_ways, self.accelerator)

        # A rank holds ways / ranks of each vector of each active expert.
        share = model.num_active_experts * model.activation_bytes * stage.tokens / stage.ways
        down = model.ffn_down_matrices * model.hidden_size * share
        up = model.ffn_up_matrices * model.ffn_size * share
        root = np.sqrt(stage.ffn_ways)
        return (
            model.num_layers * one.time_s(down * stage.ffn_ways),
            model.num_layers * (two.time_s(up * root) + two.time_s(down * root)),
        )

    def attention_network_s(self, ways: Floats, tokens: Floats) -> tuple[Floats, Floats]:
        """Return the all-reduce time of all attention blocks in one and in two dimensions.

        ``ways`` is the tensor parallelism of attention alone, its scale-down included.
        """
        model = self.model
        one, two = tensor_groups(ways, self.accelerator)
        word_bytes = tokens * model.activation_bytes
        tile_bytes = word_bytes / np.sqrt(ways)
        inner = two.time_s(model.hidden_size * tile_bytes)
        return (
            model.num_layers * one.time_s(model.hidden_size * word_bytes),
            model.num_layers * (inner + two.time_s(model.qkv_size * tile_bytes)),
        )
