"""Counted work becomes time by fitted coefficients: tabulated once, then priced by any of them.

A table holds what each operator takes on a perfect machine. Coefficients stretch it. The two are
apart so that a fit prices thousands of measured points many times without counting them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from headway.dtypes import DType
from headway.hardware.cluster import Cluster
from headway.model.precision import Precision
from headway.steptime.collectives import collective_time
from headway.steptime.kernel_coefficients import AT, MOST
from headway.steptime.operators import wide_dtype
from headway.steptime.roofline import bound
from headway.steptime.work import Array, Collective, Forward, Kind, Pattern

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


def width_class(dtype: DType) -> int:
    """Which of the coefficients by bits a format goes by."""
    return SIXTEEN if dtype.bits >= 16 else EIGHT if dtype.bits >= 8 else FOUR


@dataclass(frozen=True, slots=True, eq=False)
class WorkTable:
    """Seconds on a machine that reaches its data sheet; arrays of shape ``(..., operators)``.

    Attributes:
        arithmetic_s: of each operator.
        row_s: of one more row in each of its products.
        weight_s, cache_s, activation_s: memory time by what moves.
        computed, stored: `SIXTEEN`, `EIGHT` or `FOUR`, by operator.
        kind: `PRODUCT`, `EXPERTS`, `SCORES` or `LATENT`, by operator.
        kernels: launches of each operator.
        exchanges: exchanges within and between nodes, weighted by their depth, shape ``(...)``.
        moved_s: bandwidth time of all exchanges, shape ``(...)``.
        waiting_s: the data sheet's hop latencies of all exchanges, shape ``(...)``.
        bound_s: what no machine with this data sheet can beat, shape ``(...)``.

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
    bound_s: Array


def tabulate(work: Forward, cluster: Cluster, precision: Precision) -> WorkTable:
    """Tabulate counted ``work``; raise `UnsupportedError` where a format is not native."""
    accelerator = cluster.accelerator
    bandwidth = accelerator.memory_bandwidth_bytes_per_s
    columns: list[tuple[Array, ...]] = []
    classes: list[tuple[int, int, int]] = []
    for op in work.ops:
        peak = accelerator.flops_per_s(op.dtype)
        stored = op.stored if op.stored is not None else wide_dtype(precision)
        columns.append(
            tuple(
                np.asarray(value, dtype=np.float64)
                for value in (
                    op.work.flops / peak,
                    2 * op.work.weight_bytes / stored.bytes / peak,
                    op.work.weight_bytes / bandwidth,
                    op.work.kv_bytes / bandwidth,
                    op.work.activation_bytes / bandwidth,
                    op.work.kernels,
                )
            )
        )
        by_bits = width_class(op.dtype), width_class(stored)
        if by_bits == (SIXTEEN, FOUR):
            by_bits = WIDE, WIDE
        classes.append((*by_bits, _KIND[op.kind]))
    exchanges, moved_s, waiting_s = np.zeros(()), np.zeros(()), np.zeros(())
    for collective in work.collectives:
        exchanges = exchanges + _depth(collective)
        waiting, moving = collective_time(collective, cluster, 1.0, direct=True)
        moved_s, waiting_s = moved_s + moving, waiting_s + waiting
    shape = np.broadcast_shapes(*(array.shape for column in columns for array in column))
    arithmetic, row, weight, cache, activation, kernels = (
        np.stack([np.broadcast_to(column[i], shape) for column in columns], axis=-1)
        for i in range(6)
    )
    computed, stored_as, kind = (np.array(values) for values in zip(*classes, strict=True))
    return WorkTable(
        arithmetic,
        row,
        weight,
        cache,
        activation,
        kernels,
        computed,
        stored_as,
        kind,
        np.broadcast_to(exchanges, shape),
        np.broadcast_to(moved_s, shape),
        np.broadcast_to(waiting_s, shape),
        np.broadcast_to(bound(work, cluster), shape),
    )


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


def stack(tables: Sequence[WorkTable]) -> WorkTable:
    """Many tables of single steps as one of shape ``(steps, operators)``, padded with nothing."""
    widest = max(table.computed.shape[-1] for table in tables)

    def padded(values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        return np.pad(values, (0, widest - values.shape[-1]))

    made = {}
    for field in fields(WorkTable):
        parts = [getattr(table, field.name) for table in tables]
        made[field.name] = np.stack([padded(p) if p.ndim else p for p in parts])
    return WorkTable(**made)


@dataclass(frozen=True, slots=True, eq=False)
class StepParts:
    """Seconds of a step by what they go to, each alone, and of the whole; broadcast shape.

    ``operators_s`` has one more axis, over the operators.
    """

    arithmetic_s: Array
    memory_s: Array
    network_s: Array
    latency_s: Array
    operators_s: Array
    total_s: Array


def price(table: WorkTable, theta: Array, scale: Array | float = 1.0) -> StepParts:
    """Price ``table`` by coefficients ``theta`` of shape ``(..., coefficients)``.

    Engine overheads per step and sequence are not in it: `headway.serving.one_engine` adds them.
    ``scale`` stretches the whole; nothing is faster than ``table.bound_s``.
    """
    theta = np.minimum(theta, MOST)

    def of(name: str) -> Array:
        return np.asarray(theta[..., AT[name], None])

    def by_bits(name: str, classes: Classes) -> Array:
        made = np.where(classes == SIXTEEN, of(f"{name}_16"), of(f"{name}_8"))
        made = np.where(classes == FOUR, of(f"{name}_4"), made)
        return np.where(classes == WIDE, of(f"{name}_wide"), made)

    experts = table.kind == EXPERTS
    scores = table.kind >= SCORES
    flops = by_bits("flops", table.computed) * np.where(experts, of("expert_flops"), 1.0)
    flops = np.minimum(np.where(scores, of("score_flops"), flops), 1.0)
    reading = by_bits("bandwidth", table.stored) * np.where(experts, of("expert_bandwidth"), 1.0)
    reading = np.minimum(reading, 1.0)
    caching = np.where(table.kind == LATENT, of("latent_bandwidth"), of("cache_bandwidth"))
    rows = np.where(scores, 0.0, of("tile_rows"))
    arithmetic_s = (table.arithmetic_s + rows * table.row_s) / flops
    memory_s = (
        table.weight_s / reading
        + table.cache_s / caching
        + table.activation_s / of("activation_bandwidth")
    )
    longer = np.maximum(arithmetic_s, memory_s)
    operators_s = longer + of("unhidden") * np.minimum(arithmetic_s, memory_s)
    launch_s = np.where(experts, of("expert_kernel_s"), of("kernel_s"))
    launch_s = np.where(table.kind == SCORES, of("score_kernel_s"), launch_s)
    launch_s = np.where(table.kind == LATENT, of("latent_kernel_s"), launch_s)
    latency_s = (
        (table.kernels * launch_s).sum(axis=-1)
        + table.exchanges * theta[..., AT["exchange_s"]]
        + table.waiting_s
    )
    network_s = table.moved_s / theta[..., AT["link"]]
    total_s = (operators_s.sum(axis=-1) + latency_s + network_s) * scale
    return StepParts(
        arithmetic_s.sum(axis=-1) * scale,
        memory_s.sum(axis=-1) * scale,
        network_s * scale,
        latency_s * scale,
        operators_s * np.asarray(scale)[..., None],
        np.maximum(total_s, table.bound_s),
    )
