"""The time of one token: the fastest of all ways to lay a forward pass over a cluster.

t = launches + network + max(memory, arithmetic), minimised over pipeline depth, the share of the
accelerators that attention uses, and tensor parallelism in one dimension or in two. The paper's
program minimises the same way over the same finite lists (its depths and scale-downs are
logarithmically spaced and not whole numbers).

A variant costs about fifty array operations, most of them for its collectives. Memory and
arithmetic come first: where they alone exceed the best time so far, or a budget that the caller
sets, the collectives are never computed. This changes no result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headway.errors import InputError
from headway.papers.erdil_2025.accelerators import PublishedAccelerator
from headway.papers.erdil_2025.models import PublishedModel
from headway.papers.erdil_2025.passes import ForwardPass, Stage

Floats = NDArray[np.float64]
Codes = NDArray[np.int16]
Points = NDArray[np.intp]
Index = int | Codes

_PIPELINE_DEPTHS = 10
_SCALE_DOWNS = 6
# Bounds are computed in another order than totals; this is far above their rounding.
_SLACK = 1 - 1e-9
# Points per block: a block's arrays stay in a core's second-level cache.
_BLOCK = 8192


@dataclass(frozen=True, slots=True)
class Choices:
    """What may be chosen. The default is everything; the paper's older functions had less."""

    pipeline: bool = True
    attention_scale_down: bool = True
    expert_parallel: bool = True
    one_dimensional: bool = True

    @property
    def num_depths(self) -> int:
        """How many pipeline depths are tried: B^(i/9) for i from 0, with B at most L."""
        return _PIPELINE_DEPTHS if self.pipeline else 1

    @property
    def num_scale_downs(self) -> int:
        """How many scale-downs of attention are tried: ways^(k/5) for k from 0."""
        return _SCALE_DOWNS if self.attention_scale_down else 1

    def depth(self, num_layers: int, batch: Floats, index: Index) -> Floats:
        """Return the pipeline depth number ``index`` for each batch."""
        bound = np.minimum(batch, num_layers)
        depth = np.exp2(index * (np.log2(bound) / (_PIPELINE_DEPTHS - 1)))
        # The powers round; the last depth is the bound itself and must not exceed it.
        return np.minimum(np.where(np.equal(index, _PIPELINE_DEPTHS - 1), bound, depth), bound)

    def scale_down(self, ways: Floats, index: Index) -> Floats:
        """Return the scale-down number ``index`` for each degree of tensor parallelism."""
        scale = np.exp2(index * (np.log2(ways) / (_SCALE_DOWNS - 1)))
        return np.where(np.equal(index, _SCALE_DOWNS - 1), ways, scale)


AS_PRESENTED = Choices(
    pipeline=False, attention_scale_down=False, expert_parallel=False, one_dimensional=False
)
"""Section 3 as printed (equations 29 to 44): tensor parallelism in two dimensions only."""

FINAL = Choices(pipeline=False, attention_scale_down=False, expert_parallel=False)
"""The same in one dimension or in two, whichever is faster."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenLatency:
    """The time of one forward pass, its parts and the variant that gave it, as arrays.

    ``total_s`` is ``launch_s + network_s + max(memory_s, arithmetic_s)`` and infinite where the
    model does not fit; there the other fields are NaN (``two_dimensional``: false).
    """

    total_s: Floats
    launch_s: Floats
    network_s: Floats
    memory_s: Floats
    arithmetic_s: Floats
    pipeline_depth: Floats
    attention_scale_down: Floats
    two_dimensional: NDArray[np.bool_]


def token_latency(
    num_accelerators: ArrayLike,
    batch: ArrayLike,
    model: PublishedModel,
    accelerator: PublishedAccelerator,
    *,
    context_tokens: float = 0,
    query_tokens: int = 1,
    choices: Choices | None = None,
) -> TokenLatency:
    """Return the time of one forward pass of ``query_tokens`` tokens for each of ``batch``.

    ``num_accelerators`` and ``batch`` broadcast and need not be whole. Source: the published
    program's last latency function (paper, section 3, with pipeline and expert parallelism); its
    earlier ones are the choices `AS_PRESENTED` and `FINAL`.

    Raises:
        InputError: a number of accelerators or a batch that is not positive.

    """
    choices = choices or Choices()
    n, b = points(num_accelerators, batch)
    forward = ForwardPass(model, accelerator, context_tokens, query_tokens)

    _, code = fastest(forward, choices, n.ravel(), b.ravel())
    return explain(forward, choices, n, b, code.reshape(n.shape))


def points(num_accelerators: ArrayLike, batch: ArrayLike) -> tuple[Floats, Floats]:
    """Return both as arrays of one shape; raise `InputError` unless all are positive, finite."""
    n = np.asarray(num_accelerators, dtype=np.float64)
    b = np.asarray(batch, dtype=np.float64)
    for what, values in (("num_accelerators", n), ("batch", b)):
        wrong = values[~(np.isfinite(values) & (values > 0))]
        if wrong.size:
            raise InputError(f"{what} must be positive and finite, not {wrong[0]}")

    n, b = np.broadcast_arrays(n, b)
    return n, b


@dataclass(frozen=True, slots=True, eq=False)
class _Best:
    """The best so far at each point, its variant, and the time above which nothing matters."""

    time_s: Floats
    code: Codes
    limit_s: Floats

    def within(self, lower_s: Floats, at: Points) -> Points:
        """Return the positions in ``at`` where a lower bound does not exclude a variant."""
        return np.flatnonzero(lower_s * _SLACK <= self.limit_s[at])

    def improve(self, time_s: Floats, code: NDArray[np.integer], at: Points) -> None:
        """Take ``time_s`` wherever it is shorter than the best so far ``at`` the points."""
        better = np.flatnonzero(time_s < self.time_s[at])
        at, time_s = at[better], time_s[better]
        self.time_s[at] = time_s
        self.code[at] = code[better]
        self.limit_s[at] = np.minimum(self.limit_s[at], time_s)

    def block(self, rows: slice) -> _Best:
        """Return a view of some of the points."""
        return _Best(self.time_s[rows], self.code[rows], self.limit_s[rows])


def fastest(
    forward: ForwardPass,
    choices: Choices,
    num_accelerators: Floats,
    batch: Floats,
    *,
    budget_s: Floats | None = None,
    barred: NDArray[np.bool_] | None = None,
) -> tuple[Floats, Codes]:
    """Return the shortest time at each of the one-dimensional points, and its variant's code.

    Where no variant stays within ``budget_s`` the result may be infinite. ``barred`` marks
    points that may not use the deepest pipeline. Code -1 means that there is no variant.
    """
    size = batch.size
    every = _Best(
        np.full(size, np.inf),
        np.full(size, -1, dtype=np.int16),
        np.full(size, np.inf) if budget_s is None else budget_s.copy(),
    )

    for start in range(0, size, _BLOCK):
        rows = slice(start, start + _BLOCK)
        n, b, best = num_accelerators[rows], batch[rows], every.block(rows)

        for index in range(choices.num_depths):
            # A variant is tried where it is possible and its bound is within the limit.
            depth = choices.depth(forward.model.num_layers, b, index)
            allowed = forward.fits(n, b / depth) & (depth <= n) & (b >= 1)
            if barred is not None and index == _PIPELINE_DEPTHS - 1:
                allowed &= ~barred[rows]
            at = np.flatnonzero(allowed)
            at = at[best.within(forward.bound_s(n[at], b[at], depth[at]), at)]
            if not at.size:
                continue

            stage = forward.stage(n[at], b[at], depth[at], choices.expert_parallel)
            _try_stage(forward, choices, stage, at=at, depth=index, best=best)
    return every.time_s, every.code


def _try_stage(
    forward: ForwardPass, choices: Choices, stage: Stage, *, at: Points, depth: int, best: _Best
) -> None:
    """Try every scale-down of attention and both layouts at one pipeline depth."""
    fixed = forward.launch_s + stage.fixed_network_s
    one_dimensional, two_dimensional = forward.ffn_network_s(stage)
    one_dimensional += fixed
    two_dimensional += fixed
    if not choices.one_dimensional:
        one_dimensional = np.full_like(two_dimensional, np.inf)

    for index in range(choices.num_scale_downs):
        scale = choices.scale_down(stage.ways, index)
        roof = np.maximum(*_roofs_s(forward, stage, scale))
        part = best.within(np.minimum(one_dimensional, two_dimensional) + roof, at)
        if not part.size:
            return

        # What is left is worth the collectives of attention.
        stage, at, scale, roof = stage.take(part), at[part], scale[part], roof[part]
        one_dimensional, two_dimensional = one_dimensional[part], two_dimensional[part]
        one, two = forward.attention_network_s(stage.ways / scale, stage.tokens)
        one += one_dimensional
        two += two_dimensional
        code = 2 * (depth * _SCALE_DOWNS + index) + (two < one)
        best.improve(np.minimum(one, two) + roof, code, at)


def _roofs_s(
    forward: ForwardPass, stage: Stage, scale_down: Floats | float
) -> tuple[Floats, Floats]:
    """Return the memory time and the arithmetic time."""
    memory = stage.memory_s + forward.projection_memory_s(stage, scale_down)
    return memory, stage.arithmetic_s + scale_down * stage.projection_arithmetic_s


def explain(
    forward: ForwardPass,
    choices: Choices,
    num_accelerators: Floats,
    batch: Floats,
    code: Codes,
) -> TokenLatency:
    """Return the parts of the time at points whose variants ``fastest`` returned.

    All arrays have one shape. A code of -1 gives an infinite time without parts.
    """
    feasible = code >= 0
    variant, two_dimensional = np.divmod(code[feasible], 2)
    depth_index, scale_index = np.divmod(variant, _SCALE_DOWNS)

    n, b = num_accelerators[feasible], batch[feasible]
    depth = choices.depth(forward.model.num_layers, b, depth_index)
    stage = forward.stage(n, b, depth, choices.expert_parallel)
    scale = choices.scale_down(stage.ways, scale_index)
    memory, arithmetic = _roofs_s(forward, stage, scale)

    ffn = forward.ffn_network_s(stage)
    attention = forward.attention_network_s(stage.ways / scale, stage.tokens)
    reductions = np.where(two_dimensional == 1, ffn[1] + attention[1], ffn[0] + attention[0])
    network = stage.fixed_network_s + reductions
    launch = np.full_like(network, forward.launch_s)

    def spread(values: Floats, missing: float = np.nan) -> Floats:
        everywhere = np.full(code.shape, missing)
        everywhere[feasible] = values
        return everywhere

    return TokenLatency(
        total_s=spread(launch + network + np.maximum(memory, arithmetic), np.inf),
        launch_s=spread(launch),
        network_s=spread(network),
        memory_s=spread(memory),
        arithmetic_s=spread(arithmetic),
        pipeline_depth=spread(depth),
        attention_scale_down=spread(scale),
        two_dimensional=feasible & (code % 2 == 1),
    )
