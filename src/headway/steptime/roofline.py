"""Counted work becomes time: four components, and the bound below them.

Within an operation arithmetic and memory traffic overlap, so the slower counts; operations follow
one another. Exchanges add their bandwidth time, of which a stated fraction hides behind the
operations, and their latency. Kernel launches add a fixed time each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headway.errors import InputError
from headway.hardware.cluster import Cluster
from headway.steptime.collectives import (
    DIRECT,
    ExchangeModel,
    bandwidth_bound,
    exchange_model,
)
from headway.steptime.time_estimate import Bound, ComponentTimes
from headway.steptime.work import Forward
from headway.units import check_fraction


@dataclass(frozen=True, slots=True)
class Efficiency:
    """What a data sheet does not say: how near software comes to it.

    Attributes:
        flops: fraction of the dense peak that matrix products reach.
        bandwidth: fraction of the memory bandwidth that kernels reach.
        link: fraction of the link bandwidth that large messages reach.
        kernel_s: launch and ramp of one kernel, seconds.
        overlap: fraction of the exchanges' bandwidth time that hides behind operations, 0 to 1.
        exchanges: how long they take; ``None`` for the model that the accelerator's data sheet
            names.

    """

    flops: float = 0.75
    bandwidth: float = 0.80
    link: float = 0.80
    kernel_s: float = 3e-6
    overlap: float = 0.0
    exchanges: ExchangeModel | None = None

    def __post_init__(self) -> None:
        for name in ("flops", "bandwidth", "link"):
            check_fraction(getattr(self, name), name)
        if not 0 <= self.overlap <= 1:
            raise InputError(f"overlap must lie between 0 and 1, not {self.overlap:g}")
        if not 0 <= self.kernel_s <= 1:
            raise InputError(f"kernel_s must lie between 0 and 1 second, not {self.kernel_s:g}")


# The median and the two ends of what measured kernels reach on ten accelerators: large products
# 0.39 to 0.86 of peak, decode attention and thin products 0.40 to 0.83 of memory bandwidth, tiny
# products 2.2 to 14 us (aiconfigurator's silicon tables, Apache-2.0, summarised here).
EXPECTED = Efficiency()
POOR = Efficiency(flops=0.45, bandwidth=0.50, link=0.60, kernel_s=8e-6)
PERFECT = Efficiency(
    flops=1.0, bandwidth=1.0, link=1.0, kernel_s=0.0, overlap=1.0, exchanges=DIRECT
)


def time_of(forward: Forward, cluster: Cluster, efficiency: Efficiency) -> ComponentTimes:
    """Return the seconds of each component of ``forward`` alone, and of the whole pass.

    Raises:
        UnsupportedError: a number format has no native arithmetic on the accelerator.

    """
    accelerator = cluster.accelerator
    bytes_per_s = accelerator.memory_bandwidth_bytes_per_s * efficiency.bandwidth

    # Operations: arithmetic and memory traffic of one overlap, operations follow one another.
    arithmetic_s = memory_s = operations_s = num_kernels = np.zeros(())
    for op in forward.ops:
        op_arithmetic_s = op.work.flops / (accelerator.flops_per_s(op.dtype) * efficiency.flops)
        op_memory_s = op.work.memory_bytes / bytes_per_s

        arithmetic_s = arithmetic_s + op_arithmetic_s
        memory_s = memory_s + op_memory_s
        operations_s = operations_s + np.maximum(op_arithmetic_s, op_memory_s)
        num_kernels = num_kernels + op.work.kernels

    # Exchanges: latency always counts, bandwidth hides behind operations by a stated fraction.
    exchanges = efficiency.exchanges or exchange_model(cluster)
    latency_s, network_s = num_kernels * efficiency.kernel_s, np.zeros(())
    for collective in forward.collectives:
        hops_s, moving_s = exchanges.exchange_s(collective, cluster, efficiency.link)
        latency_s = latency_s + hops_s
        network_s = network_s + moving_s

    hidden_s = efficiency.overlap * np.minimum(network_s, operations_s)
    return ComponentTimes(
        arithmetic_s=arithmetic_s,
        memory_s=memory_s,
        network_s=network_s,
        latency_s=latency_s,
        total_s=latency_s + network_s + operations_s - hidden_s,
    )


def bound_of(forward: Forward, cluster: Cluster) -> Bound:
    """Return the time that no machine with this data sheet can beat.

    Dense peak rates, weights and KV cache read once at full memory bandwidth, every byte sent
    over all links at once, everything overlapped, no latency; activations stay on the chip.
    """
    accelerator = cluster.accelerator
    arithmetic_s = moved_bytes = network_s = np.zeros(())
    for op in forward.ops:
        arithmetic_s = arithmetic_s + op.work.flops / accelerator.flops_per_s(op.dtype)
        moved_bytes = moved_bytes + op.work.weight_bytes + op.work.kv_bytes

    for collective in forward.collectives:
        network_s = network_s + bandwidth_bound(collective, cluster)

    memory_s = np.asarray(moved_bytes / accelerator.memory_bandwidth_bytes_per_s)
    return Bound(arithmetic_s=arithmetic_s, memory_s=memory_s, network_s=network_s)
