"""One accelerator as its data sheet describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

from headway.dtypes import DType
from headway.errors import InputError, UnsupportedError
from headway.units import check_positive

EXCHANGES = ("library", "direct", "compiled")


@dataclass(frozen=True, slots=True)
class Citation:
    """Where a number was read, and when: ``url``, ISO ``date``, and a ``note`` where one is due."""

    url: str
    date: str
    note: str = ""

    def __post_init__(self) -> None:
        if not self.url or not self.date:
            raise InputError("a catalogue number needs both a url (or 'assumed: why') and a date")


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A chip (or the unit that is rented as one), with dense peak rates only.

    Attributes:
        name: as results call it.
        vendor: who makes it, and so whose kernels and libraries it runs.
        memory_bytes: what software can use.
        memory_bandwidth_bytes_per_s: peak.
        peak_flops_per_s: by format. One that is missing has no native support there: asking for
            it raises, and nothing is derived from a neighbouring format.
        tdp_w: power limit of the board; ``None`` where the vendor publishes none.
        idle_w: power while nothing is served; ``None`` where no source states it.
        family: chips of one architecture, which share what was measured on any of them; empty for
            a chip without relatives.
        exchanges: how accelerators exchange data: by calls of a ``library`` (NCCL, RCCL), by
            ``direct`` writes of one kernel to all peers, or ``compiled`` ahead of time.
        sources: citations by field.

    """

    name: str
    vendor: str
    memory_bytes: float
    memory_bandwidth_bytes_per_s: float
    peak_flops_per_s: Mapping[DType, float]
    tdp_w: float | None
    idle_w: float | None = None
    family: str = ""
    exchanges: str = "library"
    sources: Mapping[str, Citation] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if not self.peak_flops_per_s:
            raise InputError(f"accelerator {self.name!r} has no peak rate; give at least bf16")
        if self.exchanges not in EXCHANGES:
            raise InputError(
                f"exchanges must be one of {', '.join(EXCHANGES)}, not {self.exchanges!r}"
            )

        check_positive(self.memory_bytes, f"memory of {self.name!r} in bytes")
        check_positive(self.memory_bandwidth_bytes_per_s, f"memory bandwidth of {self.name!r}")
        if self.tdp_w is not None:
            check_positive(self.tdp_w, f"TDP of {self.name!r} in W")
        for dtype, rate in self.peak_flops_per_s.items():
            check_positive(rate, f"{dtype.value} rate of {self.name!r}", maximum=1e24)

        object.__setattr__(self, "peak_flops_per_s", MappingProxyType(dict(self.peak_flops_per_s)))
        object.__setattr__(self, "sources", MappingProxyType(dict(self.sources)))

    def __reduce__(self) -> tuple[type[Accelerator], tuple[object, ...]]:
        return Accelerator, fields_to_pickle(self)

    def supports(self, dtype: DType) -> bool:
        """Whether the arithmetic units take ``dtype`` natively."""
        return dtype in self.peak_flops_per_s

    def flops_per_s(self, dtype: DType) -> float:
        """Dense peak rate in ``dtype``; raise `UnsupportedError` where the data sheet has none."""
        try:
            return self.peak_flops_per_s[dtype]
        except KeyError:
            native = ", ".join(sorted(d.value for d in self.peak_flops_per_s))
            raise UnsupportedError(
                f"{self.name} has no native {dtype.value} arithmetic; it has {native}"
            ) from None


def fields_to_pickle(value: Any) -> tuple[object, ...]:
    """Return the fields of a dataclass with dicts for its read-only mappings.

    A read-only view of a dict cannot be pickled, and sweeps send hardware to other processes.
    """
    contents = (getattr(value, f.name) for f in fields(value))
    return tuple(dict(c) if isinstance(c, MappingProxyType) else c for c in contents)
