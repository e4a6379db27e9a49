"""Accelerators with their links and their price: what one can rent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import MappingProxyType

from headway.errors import InputError
from headway.hardware.accelerator import Accelerator, Citation, fields_to_pickle
from headway.hardware.price import Price
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

    ``price`` is ``None`` where nobody quotes one: costs then raise. ``sources`` holds the citations
    of links.
    """

    accelerator: Accelerator
    num_accelerators: int
    links: tuple[Link, ...]
    price: Price | None
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
        object.__setattr__(self, "sources", MappingProxyType(dict(self.sources)))

    def __reduce__(self) -> tuple[type[Cluster], tuple[object, ...]]:
        return Cluster, fields_to_pickle(self)

    @property
    def name(self) -> str:
        """The name of the accelerator."""
        return self.accelerator.name

    @property
    def usd_per_accelerator_hour(self) -> float | None:
        """Price of one accelerator for one hour; ``None`` where none is known."""
        return None if self.price is None else self.price.usd_per_accelerator_hour

    @property
    def usd_per_accelerator_s(self) -> float:
        """Price of one accelerator for one second; raise `InputError` where none is known."""
        if self.usd_per_accelerator_hour is None:
            raise InputError(f"no price is known for {self.name}; give one with --price")
        return self.usd_per_accelerator_hour / HOUR_S

    @property
    def citations(self) -> dict[str, str]:
        """Where every number of accelerator, links and price was read."""
        cited = {**self.accelerator.sources, **self.sources}
        if self.price is not None and self.price.citation is not None:
            cited["usd_per_accelerator_hour"] = self.price.citation
        return {
            f"{self.name} {what}": f"{citation.url} ({citation.date})"
            for what, citation in cited.items()
        }

    @property
    def reach(self) -> int:
        """How many accelerators the links connect, or ``num_accelerators`` if that is fewer."""
        return min(self.num_accelerators, self.links[-1].domain_size)

    @property
    def is_priced(self) -> bool:
        """Whether a price is known."""
        return self.price is not None

    @property
    def by_the_hour(self) -> Cluster:
        """The same, or at $1 an hour where no price is known: dollars are accelerator-hours."""
        return self if self.is_priced else self.at_price(1.0)

    def at_price(self, price: Price | float | None) -> Cluster:
        """Return the same cluster at another price, a quote or dollars per accelerator-hour."""
        return replace(self, price=Price(price) if isinstance(price, int | float) else price)

    def of(self, num_accelerators: int) -> Cluster:
        """Return the same cluster with another number of accelerators."""
        return replace(self, num_accelerators=num_accelerators)
