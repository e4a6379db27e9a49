"""Accelerators with their links and their price: what one can rent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import MappingProxyType

from headway.errors import InputError
from headway.hardware.accelerator import Accelerator, Citation, fields_to_pickle
from headway.units import HOUR_S, check_positive


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


@dataclass(frozen=True, slots=True)
class Cluster:
    """Up to ``num_accelerators`` alike accelerators, their links from the inside out, their price.

    ``usd_per_accelerator_hour`` is ``None`` where no price was found: costs then raise.
    ``sources`` holds the citations of links and price.
    """

    accelerator: Accelerator
    num_accelerators: int
    links: tuple[Link, ...]
    usd_per_accelerator_hour: float | None
    sources: Mapping[str, Citation] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if self.num_accelerators < 1:
            raise InputError(f"a cluster needs at least 1 accelerator, not {self.num_accelerators}")
        if not self.links:
            raise InputError(f"cluster of {self.accelerator.name!r} has no link; give at least one")
        if any(inner.domain_size >= outer.domain_size for inner, outer in pairwise(self.links)):
            raise InputError(
                "links must be given from the inside out, each domain larger than the last"
            )
        if self.usd_per_accelerator_hour is not None:
            _check_price(self.usd_per_accelerator_hour)

        object.__setattr__(self, "sources", MappingProxyType(dict(self.sources)))

    def __reduce__(self) -> tuple[type[Cluster], tuple[object, ...]]:
        return Cluster, fields_to_pickle(self)

    @property
    def name(self) -> str:
        """The name of the accelerator."""
        return self.accelerator.name

    @property
    def usd_per_accelerator_s(self) -> float:
        """Price of one accelerator for one second; raise `InputError` where none is known."""
        if self.usd_per_accelerator_hour is None:
            raise InputError(f"no price is known for {self.name}; give one with --price")
        return self.usd_per_accelerator_hour / HOUR_S

    @property
    def citations(self) -> dict[str, str]:
        """Where every number of accelerator, links and price was read."""
        return {
            f"{self.name} {what}": f"{citation.url} ({citation.date})"
            for sources in (self.accelerator.sources, self.sources)
            for what, citation in sources.items()
        }

    @property
    def reach(self) -> int:
        """How many accelerators the links connect, or ``num_accelerators`` if that is fewer."""
        return min(self.num_accelerators, self.links[-1].domain_size)

    def at_price(self, usd_per_accelerator_hour: float) -> Cluster:
        """Return the same cluster at another price."""
        _check_price(usd_per_accelerator_hour)
        return replace(self, usd_per_accelerator_hour=usd_per_accelerator_hour)

    def of(self, num_accelerators: int) -> Cluster:
        """Return the same cluster with another number of accelerators."""
        return replace(self, num_accelerators=num_accelerators)


def _check_price(usd_per_accelerator_hour: float) -> None:
    check_positive(usd_per_accelerator_hour, "price in $ per accelerator-hour", maximum=1e6)
