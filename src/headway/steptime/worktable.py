"""Counted work becomes time by fitted coefficients: tabulated once, then priced by any of them.

A table holds what each operator takes on a perfect machine. Coefficients stretch it. The two are
apart so that a fit prices thousands of measured points many times without counting them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from headway.dtypes import DType
from headway.steptime.collectives import DIRECT
from headway.steptime.kernel_coefficients import AT, MAX
from headway.steptime.operators import wide_dtype
from headway.steptime.placed_model import PlacedModel
from headway.steptime.roofline import bound_of
from headway.steptime.time_estimate import Bound
from headway.steptime.work import Array, Collective, Kind, Op, Pattern
from headway.workload.step import Step

Classes = npt.NDArray[np.int64]
SIXTEEN, EIGHT, FOUR, WIDE = range(4)
PRODUCT, EXPERTS, SCORES, LATENT = range(4)
_KIND = {
    Kind.PRODUCT: PRODUCT,
    Kind.EXPERTS: EXPERTS,
    Kind.SCORES: SCORES,
    Kind.LATENT: LATENT,
    Kind.RECURRENT: SCORES,
}
# What an engine adds for every token it drafts: once a step, and for every sequence of the step.
# Fitted to 343 deployments with multi-token prediction (InferenceX); with one accelerator or one
# model left out, the same or its neighbours on a grid (docs/serving.md).
DRAFT_S, DRAFT_SEQUENCE_S = 7.5e-4, 6e-5


@dataclass(frozen=True, slots=True, eq=False)
class WorkTable:
    """Seconds on a machine that reaches its data sheet; arrays of shape ``(..., operators)``.

    Attributes:
        arithmetic_s: of each operator.
        row_s: of one more row in each of its products.
        weight_s, cache_s, activation_s: memory time by what moves.
        kernels: launches of each operator.
        computed, stored: `SIXTEEN`, `EIGHT`, `FOUR` or `WIDE`, by operator.
        kind: `PRODUCT`, `EXPERTS`, `SCORES` or `LATENT`, by operator.
        exchanges: exchanges within and between nodes, weighted by their depth, shape ``(...)``.
        moved_s: bandwidth time of all exchanges, shape ``(...)``.
        waiting_s: the data sheet's hop latencies of all exchanges, and what an engine adds for
            drafting, shape ``(...)``.
        bound_network_s: what the data sheet's links allow at best, shape ``(...)``.
        sequences: running sequences of one data-parallel group, shape ``(...)``.
        sorted_logits: numbers that are sorted to choose the tokens of those sequences, shape
            ``(...)``.
        prompts: 1 where the step holds a prompt, else 0, shape ``(...)``.

    """

    arithmetic_s: Array
    row_s: Array
    weight_s: Array
    cache_s: Array
    activation_s: Array
    kernels: Array
    computed: Classes
    stored: Classes
    kind: Classes
    exchanges: Array
    moved_s: Array
    waiting_s: Array
    bound_network_s: Array
    sequences: Array
    sorted_logits: Array
    prompts: Array

    @property
    def bound(self) -> Bound:
        """What no machine with this data sheet can beat, shape ``(...)``."""
        return Bound(
            arithmetic_s=np.asarray(self.arithmetic_s.sum(axis=-1)),
            memory_s=np.asarray((self.weight_s + self.cache_s).sum(axis=-1)),
            network_s=self.bound_network_s,
        )


def width_class(dtype: DType) -> int:
    """Return which of the coefficients by bits a format goes by."""
    return SIXTEEN if dtype.bits >= 16 else EIGHT if dtype.bits >= 8 else FOUR


def tabulate(placed: PlacedModel, step: Step) -> WorkTable:
    """Count the pass of ``step``; raise `UnsupportedError` where a format is not native."""
    work, cluster = placed.forward(step), placed.cluster
    columns = [_operator_times(op, placed) for op in work.ops]
    classes = [_operator_class(op, placed) for op in work.ops]

    exchanges = moved_s = waiting_s = np.zeros(())
    for collective in work.collectives:
        hops_s, moving_s = DIRECT.exchange_s(collective, cluster, 1.0)
        exchanges = exchanges + _depth(collective)
        moved_s, waiting_s = moved_s + moving_s, waiting_s + hops_s
    if placed.drafting is not None:
        waiting_s = waiting_s + drafting_s(placed, step)

    # An operator that a layout lacks has no axis of its own: all columns take the common shape.
    shape = np.broadcast_shapes(
        np.shape(waiting_s), *(array.shape for column in columns for array in column)
    )
    arithmetic, row, weight, cache, activation, kernels = (
        np.stack([np.broadcast_to(column[i], shape) for column in columns], axis=-1)
        for i in range(6)
    )
    computed, stored, kind = (np.array(values) for values in zip(*classes, strict=True))

    sequences = step.total_sequences / placed.parallelism.dp
    prompts = step.num_sequences * (step.scheduled_tokens > step.sampled_tokens)
    return WorkTable(
        arithmetic_s=arithmetic,
        row_s=row,
        weight_s=weight,
        cache_s=cache,
        activation_s=activation,
        kernels=kernels,
        computed=computed,
        stored=stored,
        kind=kind,
        exchanges=np.broadcast_to(exchanges, shape),
        moved_s=np.broadcast_to(moved_s, shape),
        waiting_s=np.broadcast_to(waiting_s, shape),
        bound_network_s=np.broadcast_to(bound_of(work, cluster).network_s, shape),
        sequences=np.broadcast_to(sequences, shape),
        sorted_logits=np.broadcast_to(sequences * placed.sorted_logits, shape),
        prompts=np.broadcast_to((prompts.sum(axis=-1) > 0).astype(np.float64), shape),
    )


def drafting_s(placed: PlacedModel, step: Step) -> Array:
    """Return what an engine adds to ``step`` for drafting, beyond the drafting model's work."""
    if placed.drafting is None:
        return np.zeros(())
    drafting = (step.num_sequences * (step.sampled_tokens > 1)).sum(axis=-1)
    group = drafting / placed.parallelism.dp
    tokens = np.where(drafting > 0, np.asarray(placed.drafting.tokens, dtype=np.float64), 0.0)
    return np.asarray(tokens * (DRAFT_S + DRAFT_SEQUENCE_S * group))


def stack(tables: Sequence[WorkTable]) -> WorkTable:
    """Return many tables of single steps as one of shape ``(steps, operators)``, padded with 0."""
    width = max(table.computed.shape[-1] for table in tables)

    def pad(values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        return np.pad(values, (0, width - values.shape[-1]))

    stacked = {}
    for field in fields(WorkTable):
        parts = [getattr(table, field.name) for table in tables]
        stacked[field.name] = np.stack([pad(part) if part.ndim else part for part in parts])
    return WorkTable(**stacked)


@dataclass(frozen=True, slots=True, eq=False)
class StepParts:
    """Seconds of a step by what they go to, each alone, and of the whole; broadcast shape.

    ``operators_s`` has one more axis, over the operators. ``latency_s`` are launches and
    exchanges, ``engine_s`` what the engine adds to the step.
    """

    arithmetic_s: Array
    memory_s: Array
    network_s: Array
    latency_s: Array
    engine_s: Array
    operators_s: Array
    total_s: Array

    def at_least(self, fastest_step_s: float) -> StepParts:
        """Return the same where no step takes less than that: the engine adds what is missing."""
        missing_s = np.maximum(fastest_step_s - self.total_s, 0.0)
        return replace(self, engine_s=self.engine_s + missing_s, total_s=self.total_s + missing_s)


def price(table: WorkTable, theta: Array, scale: Array | float = 1.0) -> StepParts:
    """Price ``table`` by coefficients.

    Args:
        table: counted steps, shape ``(...)``.
        theta: coefficients in the order of `kernel_coefficients.NAMES`, shape
            ``(..., coefficients)``.
        scale: stretches the whole; nothing is faster than the table's bound.

    """
    theta = np.minimum(theta, MAX)

    def coefficient(name: str) -> Array:
        return np.asarray(theta[..., AT[name], None])

    def by_bits(name: str, classes: Classes) -> Array:
        rate = np.where(classes == SIXTEEN, coefficient(f"{name}_16"), coefficient(f"{name}_8"))
        rate = np.where(classes == FOUR, coefficient(f"{name}_4"), rate)
        return np.where(classes == WIDE, coefficient(f"{name}_wide"), rate)

    # How near the kernels of each operator come to the data sheet.
    experts, scores = table.kind == EXPERTS, table.kind >= SCORES
    flops = by_bits("flops", table.computed)
    flops = flops * np.where(experts, coefficient("expert_flops"), 1.0)
    flops = np.minimum(np.where(scores, coefficient("score_flops"), flops), 1.0)
    reading = by_bits("bandwidth", table.stored)
    reading = np.minimum(reading * np.where(experts, coefficient("expert_bandwidth"), 1.0), 1.0)
    caching = np.where(
        table.kind == LATENT, coefficient("latent_bandwidth"), coefficient("cache_bandwidth")
    )

    # Operators: the longer of arithmetic and memory counts, and a part of the shorter.
    rows = np.where(scores, 0.0, coefficient("tile_rows"))
    arithmetic_s = (table.arithmetic_s + rows * table.row_s) / flops
    memory_s = (
        table.weight_s / reading
        + table.cache_s / caching
        + table.activation_s / coefficient("activation_bandwidth")
    )
    shorter_s = np.minimum(arithmetic_s, memory_s)
    operators_s = np.maximum(arithmetic_s, memory_s) + coefficient("unhidden") * shorter_s

    # Launches and exchanges.
    launch_s = np.where(experts, coefficient("expert_kernel_s"), coefficient("kernel_s"))
    launch_s = np.where(table.kind == SCORES, coefficient("score_kernel_s"), launch_s)
    launch_s = np.where(table.kind == LATENT, coefficient("latent_kernel_s"), launch_s)
    latency_s = (
        (table.kernels * launch_s).sum(axis=-1)
        + table.exchanges * theta[..., AT["exchange_s"]]
        + table.waiting_s
    )
    network_s = table.moved_s / theta[..., AT["link"]]

    # What the engine adds to every step, to every sequence, and to a step with a prompt.
    engine_s = (
        theta[..., AT["step_s"]]
        + theta[..., AT["sequence_s"]] * table.sequences
        + theta[..., AT["sort_s"]] * table.sorted_logits
        + theta[..., AT["mixed_s"]] * table.prompts
    )
    pass_s = (operators_s.sum(axis=-1) + latency_s + network_s) * scale
    # The host launches the kernels of a step with prompts one by one while they compute: what
    # takes longer counts, and a part of the other.
    host_s = table.prompts * table.kernels.sum(axis=-1) * theta[..., AT["prompt_kernel_s"]]
    host_s = np.hypot(pass_s, host_s) - pass_s
    return StepParts(
        arithmetic_s=arithmetic_s.sum(axis=-1) * scale,
        memory_s=memory_s.sum(axis=-1) * scale,
        network_s=network_s * scale,
        latency_s=latency_s * scale + host_s,
        engine_s=engine_s * scale,
        operators_s=operators_s * np.asarray(scale)[..., None],
        total_s=np.maximum(pass_s + host_s, table.bound.total_s) + engine_s * scale,
    )


def _operator_times(op: Op, placed: PlacedModel) -> tuple[Array, ...]:
    """Arithmetic, one more row, weights, cache, activations (seconds), and kernels of ``op``."""
    accelerator = placed.cluster.accelerator
    peak, bandwidth = accelerator.flops_per_s(op.dtype), accelerator.memory_bandwidth_bytes_per_s
    stored = _stored(op, placed)
    times = (
        op.work.flops / peak,
        2 * op.work.weight_bytes / stored.bytes / peak,
        op.work.weight_bytes / bandwidth,
        op.work.kv_bytes / bandwidth,
        op.work.activation_bytes / bandwidth,
        op.work.kernels,
    )
    return tuple(np.asarray(value, dtype=np.float64) for value in times)


def _operator_class(op: Op, placed: PlacedModel) -> tuple[int, int, int]:
    """Classes of arithmetic and storage, and the kind of kernel, of ``op``."""
    widths = width_class(op.dtype), width_class(_stored(op, placed))
    if widths == (SIXTEEN, FOUR):
        widths = WIDE, WIDE
    return (*widths, _KIND[op.kind])


def _stored(op: Op, placed: PlacedModel) -> DType:
    return op.stored if op.stored is not None else wide_dtype(placed.precision)


def _depth(collective: Collective) -> Array:
    """Exchanges, each counted 1 for two ranks and a half more with every doubling.

    Measured all-reduces of 8 kB on A100 and B200 take 12, 16, 22 and 11, 16, 27 us for 2, 4 and 8
    ranks with NCCL (aiconfigurator's silicon tables).
    """
    ranks = np.asarray(collective.ranks, dtype=np.float64)
    rounds = np.where(ranks > 1, (1 + np.log2(np.maximum(ranks, 2))) / 2, 0.0)
    if collective.pattern is Pattern.POINT_TO_POINT:
        rounds = np.maximum(ranks - 1, 0.0)
    return np.asarray(rounds * collective.count)
