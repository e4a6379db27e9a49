"""How long exchanges between accelerators take: latency and bandwidth, by protocol.

The form is that of NCCL's tuning model (``src/graph/tuning.cc``, tree algorithm): a base latency
per call, hops within a node along a chain, hops between nodes along a tree, and a bandwidth term
in which the phases within and between nodes are pipelined, so that the slower one counts (hand-
overs between pipeline stages follow one another instead). Three protocols trade latency for
bandwidth, and the fastest for the message is taken.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from headway.hardware.cluster import Cluster
from headway.steptime.work import Array, Collective, Number, Pattern


@dataclass(frozen=True, slots=True)
class Protocol:
    """A way to move a message.

    Attributes:
        base_s: per call.
        near_hops, far_hops: a hop's latency as a multiple of the link's, within and between nodes.
        bandwidth_fraction: of the link's bandwidth that carries payload.

    """

    name: str
    base_s: float
    near_hops: float
    far_hops: float
    bandwidth_fraction: float


# NCCL 2.2x tuning.cc: baseLat {6.8, 14.0, 8.4} us (the tree's own Simple entry is 0, which makes
# tiny groups free, so the ring's is taken), hwLat NVLink {0.6, 1.25, 28}, network {5, 8.5, 28} us,
# as multiples of the LL entry, which is the link's latency in the catalogue.
NCCL = (
    Protocol("LL", 6.8e-6, 1.0, 1.0, 0.5),
    Protocol("LL128", 14.0e-6, 1.25 / 0.6, 8.5 / 5, 0.95),
    Protocol("Simple", 8.4e-6, 28 / 0.6, 28 / 5, 1.0),
)
# One-shot kernels write to every peer of the node at once; the chain is one hop long.
DIRECT = (Protocol("direct", 0.0, 1.0, 1.0, 1.0),)
# Compiled fabrics (TPU, Groq) schedule exchanges ahead of time: no call, no protocol.
COMPILED = (Protocol("compiled", 0.0, 1.0, 1.0, 1.0),)


def protocols(cluster: Cluster) -> tuple[Protocol, ...]:
    """The protocols that the vendor's library chooses from."""
    return COMPILED if cluster.accelerator.vendor in ("google", "groq") else NCCL


def collective_time(
    collective: Collective, cluster: Cluster, bandwidth_fraction: float, direct: bool = False
) -> tuple[Array, Array]:
    """Latency and bandwidth time of all ``count`` exchanges, in seconds, broadcast shape.

    Args:
        collective: what is exchanged.
        cluster: its innermost link connects a node, the next that reaches far enough connects
            nodes.
        bandwidth_fraction: of the data sheet's link bandwidth that a large message reaches.
        direct: whether every phase within a node is a single hop, without a library's latency.

    """
    ranks = np.asarray(collective.ranks, dtype=np.float64)
    stride = np.asarray(collective.stride, dtype=np.float64)
    near = cluster.links[0]
    per_node = np.clip(np.floor(near.domain_size / stride), 1.0, ranks)
    nodes = np.ceil(ranks / per_node)
    far_bandwidth, far_latency = _far_link(cluster, ranks * stride)
    near_hops, far_hops, near_volume, far_volume = _shape(
        collective.pattern, ranks, per_node, nodes
    )

    if direct and collective.pattern is not Pattern.POINT_TO_POINT:
        near_hops = near_hops / np.maximum(per_node - 1, 1)
    message = np.asarray(collective.message_bytes, dtype=np.float64)
    near_s = near_volume / near.bandwidth_bytes_per_s
    far_s = far_volume / far_bandwidth
    one_by_one = collective.pattern is Pattern.POINT_TO_POINT
    moved_s = (near_s + far_s if one_by_one else np.maximum(near_s, far_s)) * message
    moved_s = moved_s / bandwidth_fraction
    best: tuple[Array, Array] | None = None
    for protocol in DIRECT if direct else protocols(cluster):
        latency = (
            protocol.base_s
            + near_hops * (near.latency_s * protocol.near_hops)
            + far_hops * (far_latency * protocol.far_hops)
        )
        moving = moved_s / protocol.bandwidth_fraction
        if best is None:
            best = latency, moving
        else:
            faster = latency + moving < best[0] + best[1]
            best = np.where(faster, latency, best[0]), np.where(faster, moving, best[1])
    assert best is not None  # every vendor has a protocol
    count = np.where(ranks > 1, collective.count, 0.0)
    return best[0] * count, best[1] * count


def bandwidth_bound(collective: Collective, cluster: Cluster) -> Array:
    """The least time that the data sheet allows with every link in use at once, in seconds."""
    together = sum(link.bandwidth_bytes_per_s for link in cluster.links)
    return np.asarray(collective.network_bytes) / together


def _shape(
    pattern: Pattern, ranks: Array, per_node: Array, nodes: Array
) -> tuple[Array, Array, Array, Array]:
    """Hops within and between nodes, and the parts of the message that cross a link of each."""
    near_hops, far_hops = per_node - 1, np.log2(nodes)
    near_part, far_part = (per_node - 1) / per_node, (nodes - 1) / ranks
    match pattern:
        case Pattern.ALL_REDUCE:  # a reduction, then a broadcast
            return 2 * near_hops, 2 * far_hops, 2 * near_part, 2 * far_part
        case Pattern.ALL_GATHER:
            return near_hops, far_hops, near_part, far_part
        case Pattern.ALL_TO_ALL:  # every peer is sent its own part
            others = np.maximum(ranks - 1, 1)
            return near_hops, far_hops, near_hops / others, (ranks - per_node) / others
        case Pattern.POINT_TO_POINT:
            return ranks - nodes, nodes - 1, ranks - nodes, nodes - 1


def _far_link(cluster: Cluster, span: Array) -> tuple[Number, Number]:
    """Bandwidth and latency of the innermost outer link that reaches ``span`` accelerators."""
    outer = cluster.links[1:] or cluster.links
    bandwidth: Number = outer[0].bandwidth_bytes_per_s
    latency: Number = outer[0].latency_s
    for smaller, link in itertools.pairwise(outer):
        beyond = span > smaller.domain_size
        bandwidth = np.where(beyond, link.bandwidth_bytes_per_s, bandwidth)
        latency = np.where(beyond, link.latency_s, latency)
    return bandwidth, latency
