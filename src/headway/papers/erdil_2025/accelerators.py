"""The accelerators of the published program, with its own efficiencies and prices.

Rates are dense peaks; what a kernel reaches is the peak times an efficiency, 0.7 of the
arithmetic and 0.75 of the memory bandwidth on an H100. Prices are the published program's of
May 2025 (the paper's text rounds the H100 to $2 an hour).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from headway.errors import InputError, UnsupportedError

__all__ = ["ACCELERATORS", "PublishedAccelerator"]


@dataclass(frozen=True, slots=True)
class PublishedAccelerator:
    """One accelerator and the network around it, in the paper's quantities.

    ``peak_flops_per_s`` is keyed by the bits of a weight. Bandwidths are per accelerator in one
    direction, halved because a ring all-reduce sends its data twice.
    ``hop_latency_s`` is ``None`` where the latency constants of NCCL hold, and otherwise the time
    of one hop on a ring of all ranks. Raises ``InputError`` at birth.
    """

    name: str
    peak_flops_per_s: Mapping[int, float] = field(hash=False)
    arithmetic_efficiency: float
    memory_bandwidth_bytes_per_s: float
    memory_efficiency: float
    memory_bytes: float
    intra_node_bytes_per_s: float
    inter_node_bytes_per_s: float
    usd_per_hour: float
    node_size: int = 8
    kernel_launch_s: float = 4e-6
    hop_latency_s: float | None = None

    def __post_init__(self) -> None:
        """Refuse rates that are not positive and efficiencies above one."""
        object.__setattr__(self, "peak_flops_per_s", MappingProxyType(dict(self.peak_flops_per_s)))
        positive = {
            "memory_bandwidth_bytes_per_s": self.memory_bandwidth_bytes_per_s,
            "memory_bytes": self.memory_bytes,
            "intra_node_bytes_per_s": self.intra_node_bytes_per_s,
            "inter_node_bytes_per_s": self.inter_node_bytes_per_s,
            "usd_per_hour": self.usd_per_hour,
            "node_size": self.node_size,
            **{f"the {bits}-bit rate": rate for bits, rate in self.peak_flops_per_s.items()},
        }
        for what, value in positive.items():
            if not value > 0:
                raise InputError(f"{self.name}: {what} must be positive, not {value}")
        for what, value in (
            ("arithmetic_efficiency", self.arithmetic_efficiency),
            ("memory_efficiency", self.memory_efficiency),
        ):
            if not 0 < value <= 1:
                raise InputError(f"{self.name}: {what} must lie in (0, 1], not {value}")
        if not (math.isfinite(self.kernel_launch_s) and self.kernel_launch_s >= 0):
            raise InputError(f"{self.name}: kernel_launch_s must not be negative")

    def peak_for(self, weight_bits: float) -> float:
        """Return the dense peak in FLOP/s that the paper grants weights of ``weight_bits`` bits."""
        known = self.peak_flops_per_s
        if weight_bits not in known:
            raise UnsupportedError(
                f"{self.name} has no published rate for {weight_bits:g}-bit weights; "
                f"known are {', '.join(str(bits) for bits in sorted(known))}"
            )
        return known[int(weight_bits)]

    def reached_flops_per_s(self, weight_bits: float) -> float:
        """Return the arithmetic rate that kernels reach, in FLOP/s."""
        return self.arithmetic_efficiency * self.peak_for(weight_bits)

    @property
    def reached_memory_bytes_per_s(self) -> float:
        """The memory bandwidth that kernels reach."""
        return self.memory_efficiency * self.memory_bandwidth_bytes_per_s


def _rates(bits_16: float, bits_8: float) -> dict[int, float]:
    # Weights of 4 bits are multiplied at the 8-bit rate in the published program.
    return {16: bits_16, 8: bits_8, 4: bits_8}


_INF = math.inf
_H100_USD_PER_HOUR = 3.15 * 2 / 3
_H100 = PublishedAccelerator(
    "h100", _rates(1e15, 2e15), 0.7, 3.3e12, 0.75, 80e9, 225e9, 25e9, _H100_USD_PER_HOUR
)
_A100 = PublishedAccelerator(
    "a100", _rates(3.12e14, 6.24e14), 0.8, 2e12, 0.75, 80e9, 150e9, 12.5e9, 2.26 * 2 / 3
)

_NAMED = (
    _H100,
    PublishedAccelerator(
        "h800", _rates(1e15, 2e15), 0.7, 3.3e12, 0.75, 80e9, 100e9, 25e9, _H100_USD_PER_HOUR
    ),
    PublishedAccelerator(
        "h200", _rates(1e15, 2e15), 0.6, 4.8e12, 0.75, 141e9, 225e9, 25e9, 3.5 / 2.5 * 2.1
    ),
    PublishedAccelerator(
        "h20", _rates(148e12, 296e12), 1.0, 4e12, 0.75, 96e9, 225e9, 25e9, 13.5 / 24 * 2.1
    ),
    _A100,
    PublishedAccelerator(
        "v100", _rates(1e14, 1e14), 0.8, 9e11, 0.75, 16e9, 75e9, 6.25e9, 0.63 * 2 / 3
    ),
    # The source gives the TPU one rate; narrower weights are taken to be widened to it, as they
    # are on the V100.
    PublishedAccelerator(
        "tpu-v4", _rates(2.6e14, 2.6e14), 1.0, 1.6e12, 1.0, 32e9, _INF, 250e9, 1.0,
        node_size=1, hop_latency_s=1e-6,
    ),
    PublishedAccelerator(
        "groq-lpu", _rates(188e12, 750e12), 1.0, 80e12, 1.0, 0.23e9, _INF, 165e9, 1.0,
        node_size=1, hop_latency_s=1e-6,
    ),
)  # fmt: skip

ACCELERATORS: Mapping[str, PublishedAccelerator] = MappingProxyType(
    {accelerator.name: accelerator for accelerator in _NAMED}
    | {"h100-sxm": _H100, "a100-80g-sxm": _A100}
)
"""The published program's own constants, by catalogue name."""
