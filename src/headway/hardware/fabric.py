"""The links that accelerators talk over."""

from __future__ import annotations

from dataclasses import dataclass

from headway.errors import InputError
from headway.units import check_positive


@dataclass(frozen=True, slots=True)
class Link:
    """One tier of the network: within a node, or between nodes.

    Attributes:
        name: as sold ("NVLink 4", "InfiniBand NDR").
        bandwidth_bytes_per_s: of one accelerator, in one direction.
        latency_s: of one hop of a small message inside a collective.
        domain_size: how many accelerators this tier connects without going to the next.
    """

    name: str
    bandwidth_bytes_per_s: float
    latency_s: float
    domain_size: int

    def __post_init__(self) -> None:
        check_positive(self.bandwidth_bytes_per_s, f"bandwidth of link {self.name!r}")
        check_positive(self.latency_s, f"latency of link {self.name!r} in seconds", maximum=1.0)
        if self.domain_size < 1:
            raise InputError(f"domain size of {self.name!r} must be at least 1")
