"""One number and how wrong it may be."""

from __future__ import annotations

import math
from dataclasses import dataclass

from headway.errors import InputError


@dataclass(frozen=True, slots=True)
class Estimate:
    """A quantity with its interval; all three numbers in the same unit.

    Attributes:
        expected: the one number to use.
        lower, upper: what the quantity lies between.
        level: the probability that it does; ``None`` where the ends are bounds.
        basis: how it was reached ("measured", "calibrated", "analytic").
        source: where it comes from.

    """

    expected: float
    lower: float
    upper: float
    level: float | None = None
    basis: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.expected, self.lower, self.upper))):
            raise InputError(
                f"an estimate needs finite numbers, not {self.expected:g} "
                f"({self.lower:g} to {self.upper:g})"
            )
        if self.lower > self.upper:
            raise InputError(f"an estimate's lower end {self.lower:g} is above {self.upper:g}")
        if self.level is not None and not 0 < self.level <= 1:
            raise InputError(f"an estimate's level must be above 0 and at most 1, not {self.level}")
