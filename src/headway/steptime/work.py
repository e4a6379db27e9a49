"""What a forward pass does, counted before anything is priced.

All quantities are of one accelerator (the busiest), for one micro-batch on its way through all
pipeline stages, summed over layers. Arrays broadcast; a scalar is the zero-dimensional case.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

from headway.dtypes import DType

Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Number = Array | float


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """Arithmetic, memory traffic by what moves, traffic on the network, kernel launches."""

    flops: Number = 0.0
    weight_bytes: Number = 0.0
    kv_bytes: Number = 0.0
    activation_bytes: Number = 0.0
    network_bytes: Number = 0.0
    kernels: Number = 0.0

    @property
    def memory_bytes(self) -> Number:
        """All traffic between the accelerator and its memory."""
        return self.weight_bytes + self.kv_bytes + self.activation_bytes

    def __add__(self, other: Work) -> Work:
        return Work(
            *(mine + theirs for mine, theirs in zip(self._all(), other._all(), strict=True))
        )

    def __mul__(self, factor: Number) -> Work:
        return Work(*(mine * factor for mine in self._all()))

    def _all(self) -> tuple[Number, ...]:
        return (
            self.flops,
            self.weight_bytes,
            self.kv_bytes,
            self.activation_bytes,
            self.network_bytes,
            self.kernels,
        )


class Pattern(Enum):
    """How the ranks of a collective exchange."""

    ALL_REDUCE = "all-reduce"
    ALL_GATHER = "all-gather"
    ALL_TO_ALL = "all-to-all"
    POINT_TO_POINT = "point-to-point"


@dataclass(frozen=True, slots=True, eq=False)
class Collective:
    """``count`` exchanges among ``ranks`` accelerators that stand ``stride`` apart.

    ``message_bytes`` is the size of the whole tensor that is reduced or gathered, and for
    all-to-all and point-to-point what one rank sends. Point-to-point goes along the ranks one
    after the other, ``ranks - 1`` times.
    """

    name: str
    pattern: Pattern
    ranks: Number
    stride: Number
    message_bytes: Number
    count: Number = 1.0

    @property
    def network_bytes(self) -> Number:
        """What one accelerator sends, all ``count`` exchanges together."""
        ranks = np.maximum(self.ranks, 1.0)
        alone = ranks <= 1
        match self.pattern:
            case Pattern.ALL_REDUCE:
                outgoing_bytes = 2 * (ranks - 1) / ranks * self.message_bytes
            case Pattern.ALL_GATHER:
                outgoing_bytes = (ranks - 1) / ranks * self.message_bytes
            case Pattern.ALL_TO_ALL:
                outgoing_bytes = 1.0 * self.message_bytes
            case Pattern.POINT_TO_POINT:
                outgoing_bytes = (ranks - 1) * self.message_bytes
        return np.where(alone, 0.0, outgoing_bytes) * self.count


class Kind(Enum):
    """What kernels of one kind have in common: how near they come to the data sheet."""

    PRODUCT = "product"
    EXPERTS = "experts"
    SCORES = "scores"
    LATENT = "latent scores"
    RECURRENT = "recurrence"


@dataclass(frozen=True, slots=True, eq=False)
class Op:
    """A computation whose arithmetic and memory traffic overlap; ``dtype`` is its arithmetic.

    ``kind`` says what kernels do it, ``stored`` in which format its weights lie in memory
    (``None`` where that is ``dtype``).
    """

    name: str
    dtype: DType
    work: Work
    kind: Kind = Kind.PRODUCT
    stored: DType | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Forward:
    """One pass: its computations and its exchanges."""

    ops: tuple[Op, ...]
    collectives: tuple[Collective, ...]

    @property
    def total(self) -> Work:
        """Everything summed."""
        work = Work()
        for op in self.ops:
            work = work + op.work
        for collective in self.collectives:
            work = work + Work(network_bytes=collective.network_bytes)
        return work
