"""How long exchanges between accelerators take: latency and bandwidth, by protocol.

The seam is `ExchangeModel`, one method: a new model of an all-reduce is one class, in a file of
its own. `exchange_model` chooses one by what the accelerator's data sheet says of its exchanges.

The form of ours is that of NCCL's tuning model (``src/graph/tuning.cc``, tree algorithm): a base
latency per call, hops within a node along a chain, hops between nodes along a tree, and a
bandwidth term in which the phases within and between nodes are pipelined, so that the slower one
counts (hand-overs between pipeline stages follow one another instead). Three protocols trade
latency for bandwidth, and the fastest for the message is taken.
"""

from __future__ import annotations

import itertools
import typing
from dataclasses import dataclass

import numpy as np

from headway.hardware.cluster import Cluster
from headway.steptime.work import Array, Collective, Number, Pattern


class ExchangeModel(typing.Protocol):
    """How long the exchanges of a pass take on a cluster."""

    def exchange_s(
        self, collective: Collective, cluster: Cluster, bandwidth_fraction: float
    ) -> tuple[Array, Array]:
        """Return the latency and the bandwidth time of all exchanges, in seconds.

        Args:
            collective: what is exchanged, and how often; arrays broadcast.
            cluster: its innermost link connects a node, the next that reaches far enough connects
                nodes.
            bandwidth_fraction: of the data sheet's link bandwidth that a large message reaches.

        """
        ...


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


@dataclass(frozen=True, slots=True)
class FastestProtocol:
    """The fastest of ``protocols`` for every message, as a library chooses.

    ``one_hop`` is a kernel that writes to every peer of the node at once: the chain is one hop
    long. Hand-overs between pipeline stages stay what they are.
    """

    protocols: tuple[Protocol, ...]
    one_hop: bool = False

    def exchange_s(
        self, collective: Collective, cluster: Cluster, bandwidth_fraction: float
    ) -> tuple[Array, Array]:
        """Return the latency and the bandwidth time of all exchanges, in seconds."""
        # Who exchanges: ranks in a node, nodes, and the links that connect both.
        ranks = np.asarray(collective.ranks, dtype=np.float64)
        stride = np.asarray(collective.stride, dtype=np.float64)
        near = cluster.links[0]
        per_node = np.clip(np.floor(near.domain_size / stride), 1.0, ranks)
        nodes = np.ceil(ranks / per_node)
        far_bandwidth, far_latency_s = _far_link(cluster, ranks * stride)

        # How many hops follow one another, and what crosses each link.
        hand_over = collective.pattern is Pattern.POINT_TO_POINT
        near_hops, far_hops, near_part, far_part = _shape(
            collective.pattern, ranks, per_node, nodes
        )
        if self.one_hop and not hand_over:
            near_hops = near_hops / np.maximum(per_node - 1, 1)

        near_s = near_part / near.bandwidth_bytes_per_s
        far_s = far_part / far_bandwidth
        per_byte_s = near_s + far_s if hand_over else np.maximum(near_s, far_s)
        message_bytes = np.asarray(collective.message_bytes, dtype=np.float64)
        moving_s = per_byte_s * message_bytes / bandwidth_fraction

        # The fastest protocol for each message.
        best_s = fastest_hops_s = fastest_moving_s = np.asarray(np.inf)
        for number, protocol in enumerate(self.protocols):
            hops_s = (
                protocol.base_s
                + near_hops * (near.latency_s * protocol.near_hops)
                + far_hops * (far_latency_s * protocol.far_hops)
            )
            protocol_moving_s = moving_s / protocol.bandwidth_fraction
            protocol_s = hops_s + protocol_moving_s
            if number == 0:
                best_s, fastest_hops_s, fastest_moving_s = protocol_s, hops_s, protocol_moving_s
                continue

            faster = protocol_s < best_s
            best_s = np.minimum(protocol_s, best_s)
            fastest_hops_s = np.where(faster, hops_s, fastest_hops_s)
            fastest_moving_s = np.where(faster, protocol_moving_s, fastest_moving_s)

        count = np.where(ranks > 1, collective.count, 0.0)
        return fastest_hops_s * count, fastest_moving_s * count


# NCCL 2.2x tuning.cc: baseLat {6.8, 14.0, 8.4} us (the tree's own Simple entry is 0, which makes
# tiny groups free, so the ring's is taken), hwLat NVLink {0.6, 1.25, 28}, network {5, 8.5, 28} us,
# as multiples of the LL entry, which is the link's latency in the catalogue.
LIBRARY = FastestProtocol(
    (
        Protocol("LL", 6.8e-6, 1.0, 1.0, 0.5),
        Protocol("LL128", 14.0e-6, 1.25 / 0.6, 8.5 / 5, 0.95),
        Protocol("Simple", 8.4e-6, 28 / 0.6, 28 / 5, 1.0),
    )
)
# One-shot kernels: neither a library call nor a chain.
DIRECT = FastestProtocol((Protocol("direct", 0.0, 1.0, 1.0, 1.0),), one_hop=True)
# Compiled fabrics (TPU, Groq) schedule exchanges ahead of time: no call, no protocol.
COMPILED = FastestProtocol((Protocol("compiled", 0.0, 1.0, 1.0, 1.0),))


def exchange_model(cluster: Cluster) -> ExchangeModel:
    """Return the model of the exchanges that the accelerator's data sheet names."""
    models = {"library": LIBRARY, "direct": DIRECT, "compiled": COMPILED}
    return models[cluster.accelerator.exchanges]


def bandwidth_bound(collective: Collective, cluster: Cluster) -> Array:
    """Return the time that the data sheet allows with every link in use at once, in seconds."""
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
