"""The accelerators of the published program, with its own efficiencies and prices.

What a kernel reaches is the peak times an efficiency: 0.7 of the arithmetic and 0.75 of the memory
bandwidth on an H100. The constants are in ``accelerators.toml``.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from headway.errors import InputError, UnsupportedError


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedAccelerator:
    """One accelerator and the network around it, in the paper's quantities.

    Attributes:
        peak_flops_per_s: dense peaks in FLOP/s by the bits of a weight.
        arithmetic_efficiency, memory_efficiency: what kernels reach, in (0, 1].
        intra_node_bytes_per_s, inter_node_bytes_per_s: bandwidth of one accelerator in one
            direction, halved because a ring all-reduce sends its data twice.
        node_size: accelerators that the faster network joins.
        hop_latency_s: one hop on a ring of all ranks; ``None`` where NCCL's constants hold.

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
        object.__setattr__(self, "peak_flops_per_s", MappingProxyType(dict(self.peak_flops_per_s)))

        quantities = ("memory_bandwidth_bytes_per_s", "memory_bytes", "intra_node_bytes_per_s",
                      "inter_node_bytes_per_s", "usd_per_hour", "node_size")  # fmt: skip
        positive = {name: getattr(self, name) for name in quantities}
        positive |= {f"the {bits}-bit rate": rate for bits, rate in self.peak_flops_per_s.items()}
        for what, value in positive.items():
            if not value > 0:
                raise InputError(f"{self.name}: {what} must be positive, not {value}")

        for what in ("arithmetic_efficiency", "memory_efficiency"):
            if not 0 < getattr(self, what) <= 1:
                raise InputError(
                    f"{self.name}: {what} must lie in (0, 1], not {getattr(self, what)}"
                )

        if not (math.isfinite(self.kernel_launch_s) and self.kernel_launch_s >= 0):
            raise InputError(f"{self.name}: kernel_launch_s must not be negative")

    def peak_for(self, weight_bits: float) -> float:
        """Return the dense peak in FLOP/s that the paper grants weights of ``weight_bits`` bits."""
        rates = self.peak_flops_per_s
        if weight_bits not in rates:
            raise UnsupportedError(
                f"{self.name} has no published rate for {weight_bits:g}-bit weights; "
                f"it has rates for {', '.join(str(bits) for bits in sorted(rates))}"
            )
        return rates[int(weight_bits)]

    def reached_flops_per_s(self, weight_bits: float) -> float:
        """Return the arithmetic rate that kernels reach, in FLOP/s."""
        return self.arithmetic_efficiency * self.peak_for(weight_bits)

    @property
    def reached_memory_bytes_per_s(self) -> float:
        """The memory bandwidth that kernels reach."""
        return self.memory_efficiency * self.memory_bandwidth_bytes_per_s


def _read() -> Mapping[str, PublishedAccelerator]:
    """Return the accelerators of ``accelerators.toml`` by name, other catalogue names included."""
    text = Path(__file__).with_name("accelerators.toml").read_text(encoding="utf-8")
    accelerators = {}
    for name, constants in tomllib.loads(text).items():
        rates = {int(bits): rate for bits, rate in constants.pop("peak_flops_per_s").items()}
        accelerators[name] = PublishedAccelerator(name=name, peak_flops_per_s=rates, **constants)

    aliases = {"h100-sxm": accelerators["h100"], "a100-80g-sxm": accelerators["a100"]}
    return MappingProxyType(accelerators | aliases)


ACCELERATORS = _read()
"""The published program's own constants, by catalogue name."""
