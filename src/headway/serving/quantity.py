"""A quantity of many questions at once, each with its doubt."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from headway.report.estimate import Estimate
from headway.steptime.time_estimate import Basis
from headway.steptime.work import Array


def span(values: Array, digits: int = 6) -> str:
    """Return one number, or the least and the largest of several."""
    low, high = (f"{float(end):.{digits}g}" for end in (np.min(values), np.max(values)))
    return low if low == high else f"{low} to {high}"


@dataclass(frozen=True, slots=True, eq=False)
class Quantity:
    """Numbers with their intervals; arrays of one shape.

    Attributes:
        expected, lower, upper: the value, and the ends of its interval.
        level: the share of cases that the interval holds; ``None`` where it runs from what the
            data sheet allows to poor kernels.
        bases: for each value the weakest `Basis` of what it rests on; broadcasts.

    """

    expected: Array
    lower: Array
    upper: Array
    level: float | None
    bases: npt.NDArray[np.object_]

    @property
    def basis(self) -> Basis:
        """The weakest of what any of the values rests on."""
        return Basis.weakest(*self.bases.flat)

    def __float__(self) -> float:
        return float(self.expected)

    def at(self, index: tuple[int, ...] = ()) -> Estimate:
        """Return the estimate at ``index``; without one the quantity must be scalar."""
        expected = float(self.expected[index])
        # Rounding may put an end a last digit beyond the value where both are one number.
        return Estimate(
            expected=expected,
            lower=min(float(self.lower[index]), expected),
            upper=max(float(self.upper[index]), expected),
            level=self.level,
            basis=np.broadcast_to(self.bases, np.shape(self.expected))[index].value,
        )

    def scaled(self, factor: Array | float) -> Quantity:
        """Return the same in another unit, or per something; ``factor`` must be positive."""
        return replace(
            self,
            expected=np.asarray(self.expected * factor),
            lower=np.asarray(self.lower * factor),
            upper=np.asarray(self.upper * factor),
        )

    def at_least(self, floor: Array) -> Quantity:
        """Return the same with a lower end of ``floor`` or more, and never above the value."""
        return replace(self, lower=np.maximum(self.lower, np.minimum(floor, self.expected)))

    def at_most(self, ceiling: Array) -> Quantity:
        """Return the same with an upper end of ``ceiling`` or less, and never below the value."""
        return replace(self, upper=np.minimum(self.upper, np.maximum(ceiling, self.expected)))

    def inverse(self, numerator: Array | float = 1.0) -> Quantity:
        """Return ``numerator`` over the value: its lower end is that of the upper one."""
        return replace(
            self,
            expected=np.asarray(numerator / self.expected),
            lower=np.asarray(numerator / self.upper),
            upper=np.asarray(numerator / self.lower),
        )
