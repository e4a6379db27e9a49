"""Time of a collective over r ranks on n nodes: NCCL's latency constants, ring bandwidth.

Equations 28 and 39 of the paper. Ranks and nodes are real numbers throughout: two
layouts take square roots of them, and the paper optimises over fractional clusters. Quirks kept:

* within and between nodes overlap: their times are combined by max (the paper prints a sum);
* the Simple protocol has no base latency, so that it beats LL at 1 < r < 1.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headway.papers.erdil_2025.accelerators import PublishedAccelerator

Floats = NDArray[np.float64]

ALL_REDUCE = 2
"""An all-reduce goes round the ring twice: to reduce, then to gather."""
ALL_TO_ALL = 1
POINT_TO_POINT = 1


class _Protocol(NamedTuple):
    per_rank_s: float
    per_node_doubling_s: float
    base_s: float
    bandwidth_share: float


# NCCL's LL, LL128 and Simple (tuning constants of its tree algorithm).
_PROTOCOLS = (
    _Protocol(0.6e-6, 5e-6, 6.8e-6, 0.5),
    _Protocol(1.25e-6, 8.5e-6, 14e-6, 0.95),
    _Protocol(28e-6, 28e-6, 0.0, 1.0),
)


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """What one collective costs on a group of ranks, per protocol: a latency and s per byte."""

    latencies_s: tuple[Floats, ...]
    s_per_byte: tuple[Floats, ...]

    def time_s(self, num_bytes: Floats) -> Floats:
        """Return the time of ``num_bytes`` by the fastest protocol; shapes broadcast."""
        time = np.asarray(self.latencies_s[0] + num_bytes * self.s_per_byte[0])
        for latency, per_byte in zip(self.latencies_s[1:], self.s_per_byte[1:], strict=True):
            np.minimum(time, latency + num_bytes * per_byte, out=time)
        return time


def group(
    ranks: ArrayLike, nodes: ArrayLike, accelerator: PublishedAccelerator, passes: int
) -> Group:
    """Return the costs of a group of ``ranks`` over ``nodes`` (real numbers, arrays broadcast).

    ``passes`` is ``ALL_REDUCE``, ``ALL_TO_ALL`` or ``POINT_TO_POINT``. One rank is free.
    """
    r, n = np.asarray(ranks, dtype=np.float64), np.asarray(nodes, dtype=np.float64)
    if accelerator.hop_latency_s is not None:
        return _ring(r, accelerator.hop_latency_s, accelerator, passes)
    return _tree(_Tree(r, n, peers=r / n - 1, doublings=np.log2(n)), accelerator, passes)


def tensor_groups(ways: ArrayLike, accelerator: PublishedAccelerator) -> tuple[Group, Group]:
    """Return the all-reduce groups of ``ways``-way tensor parallelism, in one and two dimensions.

    In one dimension all ranks reduce together; in two, rows and columns of sqrt(ways) ranks over
    sqrt(nodes) nodes do (section 3.4).
    """
    ways = np.asarray(ways, dtype=np.float64)
    nodes = np.ceil(ways / accelerator.node_size)
    root, hop_s = np.sqrt(ways), accelerator.hop_latency_s
    if hop_s is not None:
        one, two = (_ring(ranks, hop_s, accelerator, ALL_REDUCE) for ranks in (ways, root))
        return one, two

    # The square roots of the second layout come from the first: logarithms are dear.
    doublings, ranks_per_node = np.log2(nodes), ways / nodes
    line = _Tree(ways, nodes, peers=ranks_per_node - 1, doublings=doublings)
    square = _Tree(root, np.sqrt(nodes), peers=np.sqrt(ranks_per_node) - 1, doublings=doublings / 2)
    return _tree(line, accelerator, ALL_REDUCE), _tree(square, accelerator, ALL_REDUCE)


def collective_s(
    ranks: ArrayLike,
    nodes: ArrayLike,
    num_bytes: ArrayLike,
    accelerator: PublishedAccelerator,
    *,
    passes: int = ALL_REDUCE,
) -> Floats:
    """Return the time of one collective of ``num_bytes`` per rank; all arrays broadcast."""
    data_bytes = np.asarray(num_bytes, dtype=np.float64)
    return group(ranks, nodes, accelerator, passes).time_s(data_bytes)


class _Tree(NamedTuple):
    """Ranks over nodes; ``peers`` is ranks / nodes - 1 and ``doublings`` log2 of nodes."""

    ranks: Floats
    nodes: Floats
    peers: Floats
    doublings: Floats


def _ring(ranks: Floats, hop_s: float, accelerator: PublishedAccelerator, passes: int) -> Group:
    hops = np.maximum(ranks - 1, 0)
    per_byte = hops / (ranks * accelerator.inter_node_bytes_per_s) * (passes / 2)
    return Group((passes * hops * hop_s,), (per_byte,))


def _tree(tree: _Tree, accelerator: PublishedAccelerator, passes: int) -> Group:
    ranks, nodes, peers, doublings = tree
    intra = (ranks - nodes) / (ranks * accelerator.intra_node_bytes_per_s)
    inter = (nodes - 1) / (ranks * accelerator.inter_node_bytes_per_s)
    # The bandwidths are those of an all-reduce, which sends everything twice.
    per_byte = np.maximum(intra, inter) * (passes / 2)

    alone = ranks <= 1
    if some_alone := bool(np.any(alone)):
        per_byte = np.where(alone, 0.0, per_byte)

    latencies, rates = [], []
    for protocol in _PROTOCOLS:
        latency = (
            (passes * protocol.per_rank_s) * peers
            + (passes * protocol.per_node_doubling_s) * doublings
            + protocol.base_s
        )
        latencies.append(np.where(alone, 0.0, latency) if some_alone else latency)
        rates.append(per_byte / protocol.bandwidth_share)
    return Group(tuple(latencies), tuple(rates))
