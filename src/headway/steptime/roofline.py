"""Counted work becomes time: four components, an interval, and what binds.

Within an operation arithmetic and memory traffic overlap, so the slower counts; operations follow
one another. Exchanges add their bandwidth time, of which a stated fraction hides behind the
operations, and their latency. Kernel launches add a fixed time each.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum

import numpy as np
import numpy.typing as npt

from headway.errors import InputError
from headway.hardware.cluster import Cluster
from headway.steptime.collectives import bandwidth_bound, collective_time
from headway.steptime.work import Array, Forward, Number
from headway.units import check_fraction


class Basis(Enum):
    """Where a number comes from, weakest first; a sum takes the weakest."""

    ASSUMED = "assumed"
    ANALYTIC = "analytic"
    FITTED = "fitted"
    MEASURED = "measured"

    @classmethod
    def weakest(cls, *bases: Basis) -> Basis:
        """The weakest of ``bases``."""
        order = list(cls)
        return min(bases, key=order.index)


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What a data sheet does not say, for one price of the work.

    Attributes:
        flops_fraction: of the dense peak that matrix products reach.
        bandwidth_fraction: of the memory bandwidth that kernels reach.
        link_fraction: of the link bandwidth that large messages reach.
        kernel_s: launch and ramp of one kernel, seconds.
        overlap: of the exchanges' bandwidth time that hides behind operations, 0 to 1.
        direct_exchanges: whether the ranks of a node meet all peers at once, with neither a
            library call nor a chain (one-shot kernels), instead of the vendor's library.
        memory_utilization: of the memory that weights and KV cache may take (vLLM's
            ``gpu_memory_utilization``).

    """

    flops_fraction: float = 0.75
    bandwidth_fraction: float = 0.80
    link_fraction: float = 0.80
    kernel_s: float = 3e-6
    overlap: float = 0.0
    direct_exchanges: bool = False
    memory_utilization: float = 0.90

    def __post_init__(self) -> None:
        for name in ("flops_fraction", "bandwidth_fraction", "link_fraction", "memory_utilization"):
            check_fraction(getattr(self, name), name)
        if not 0 <= self.overlap <= 1:
            raise InputError(f"overlap must lie between 0 and 1, not {self.overlap:g}")
        if not 0 <= self.kernel_s <= 1:
            raise InputError(f"kernel_s must lie between 0 and 1 second, not {self.kernel_s:g}")


# The median and the two ends of what measured kernels reach on ten accelerators: large products
# 0.39 to 0.86 of peak, decode attention and thin products 0.40 to 0.83 of memory bandwidth, tiny
# products 2.2 to 14 us (aiconfigurator's silicon tables, Apache-2.0, summarised here).
EXPECTED = Assumptions()
PESSIMISTIC = Assumptions(0.45, 0.50, 0.60, 8e-6)


@dataclass(frozen=True, slots=True, eq=False)
class TimeEstimate:
    """Time of a pass in seconds; arrays of the broadcast shape.

    The components are each alone; ``expected_s`` is less than their sum where they overlap.
    ``lower_s`` no machine with this data sheet can beat; ``upper_s`` is for poor kernels.
    """

    arithmetic_s: Array
    memory_s: Array
    network_s: Array
    latency_s: Array
    expected_s: Array
    lower_s: Array
    upper_s: Array
    basis: Basis

    def __add__(self, other: TimeEstimate) -> TimeEstimate:
        return self._with(
            Basis.weakest(self.basis, other.basis),
            [mine + theirs for mine, theirs in zip(self._times(), other._times(), strict=True)],
        )

    def __mul__(self, factor: Number) -> TimeEstimate:
        return self._with(self.basis, [np.asarray(mine * factor) for mine in self._times()])

    @property
    def binds(self) -> npt.NDArray[np.str_]:
        """The name of the largest component: what to improve first."""
        parts = (self.arithmetic_s, self.memory_s, self.network_s, self.latency_s)
        largest = np.argmax(np.stack(np.broadcast_arrays(*parts)), axis=0)
        return np.asarray(np.asarray(COMPONENTS)[largest])

    def _times(self) -> list[Array]:
        return [getattr(self, field.name) for field in fields(self) if field.name != "basis"]

    @staticmethod
    def _with(basis: Basis, times: list[Array]) -> TimeEstimate:
        arithmetic_s, memory_s, network_s, latency_s, expected_s, lower_s, upper_s = times
        return TimeEstimate(
            arithmetic_s, memory_s, network_s, latency_s, expected_s, lower_s, upper_s, basis
        )


COMPONENTS = ("arithmetic", "memory", "network", "latency")


@dataclass(frozen=True, slots=True, eq=False)
class Price:
    """Seconds of each component alone, and of the whole pass, under one set of assumptions."""

    arithmetic_s: Array
    memory_s: Array
    network_s: Array
    latency_s: Array
    total_s: Array


def price(work: Forward, cluster: Cluster, assumptions: Assumptions) -> Price:
    """Price counted ``work`` on ``cluster``; raise where a number format is not native there."""
    accelerator = cluster.accelerator
    memory_rate = accelerator.memory_bandwidth_bytes_per_s * assumptions.bandwidth_fraction
    zero = np.zeros(())
    arithmetic_s, memory_s, operations_s, kernels = zero, zero, zero, zero
    for op in work.ops:
        rate = accelerator.flops_per_s(op.dtype) * assumptions.flops_fraction
        op_arithmetic_s = np.asarray(op.work.flops / rate)
        op_memory_s = np.asarray(op.work.memory_bytes / memory_rate)
        arithmetic_s = arithmetic_s + op_arithmetic_s
        memory_s = memory_s + op_memory_s
        operations_s = operations_s + np.maximum(op_arithmetic_s, op_memory_s)
        kernels = kernels + op.work.kernels
    latency_s, network_s = kernels * assumptions.kernel_s, zero
    for collective in work.collectives:
        waiting_s, moving_s = collective_time(
            collective, cluster, assumptions.link_fraction, assumptions.direct_exchanges
        )
        latency_s = latency_s + waiting_s
        network_s = network_s + moving_s
    hidden_s = assumptions.overlap * np.minimum(network_s, operations_s)
    return Price(
        arithmetic_s,
        memory_s,
        network_s,
        latency_s,
        latency_s + network_s + operations_s - hidden_s,
    )


def bound(work: Forward, cluster: Cluster) -> Array:
    """The time no machine with this data sheet can beat, in seconds.

    Dense peak rates, weights and KV cache read once at full memory bandwidth, every byte sent
    over all links at once, everything overlapped, no latency; activations stay on the chip.
    """
    accelerator = cluster.accelerator
    zero = np.zeros(())
    arithmetic_s, moved_bytes, network_s = zero, zero, zero
    for op in work.ops:
        arithmetic_s = arithmetic_s + op.work.flops / accelerator.flops_per_s(op.dtype)
        moved_bytes = moved_bytes + op.work.weight_bytes + op.work.kv_bytes
    for collective in work.collectives:
        network_s = network_s + bandwidth_bound(collective, cluster)
    memory_s = moved_bytes / accelerator.memory_bandwidth_bytes_per_s
    return np.maximum(np.maximum(arithmetic_s, memory_s), network_s)


def estimate(work: Forward, cluster: Cluster, assumptions: Assumptions = EXPECTED) -> TimeEstimate:
    """Time of counted ``work`` with its interval; its basis is that of the assumptions."""
    expected = price(work, cluster, assumptions)
    poor = price(work, cluster, PESSIMISTIC)
    return TimeEstimate(
        expected.arithmetic_s,
        expected.memory_s,
        expected.network_s,
        expected.latency_s,
        expected.total_s,
        bound(work, cluster),
        np.maximum(poor.total_s, expected.total_s),
        Basis.ASSUMED,
    )
