"""Axes: from values to positions, with round numbers for the eye."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

MIN_DECADES = 0.5  # one point is no axis


@dataclass(frozen=True, slots=True)
class Axis:
    """Values from ``low`` to ``high`` along a line from ``start`` to ``end`` on the picture."""

    low: float
    high: float
    start: float
    end: float
    log: bool = True

    @classmethod
    def around(
        cls,
        values: Iterable[float],
        *,
        start: float,
        end: float,
        before: float,
        after: float,
        log: bool = True,
    ) -> Axis:
        """Return the axis that shows all ``values`` with some air.

        Args:
            values: at least one; above 0 where ``log``.
            start: where the line begins on the picture.
            end: where it ends.
            before: the air at its beginning, as a fraction of what the values span.
            after: the air at its end.
            log: whether equal factors are equal lengths.

        """
        numbers = list(values)
        least, largest = min(numbers), max(numbers)
        if not log:
            floor, top = min(0.0, least), max(0.0, largest)
            span = max(top - floor, 1e-300)
            return cls(floor, top + after * span, start, end, log=False)

        low, high = math.log10(least), math.log10(largest)
        slack = max(0.0, MIN_DECADES - high + low) / 2
        span = high - low + 2 * slack
        return cls(10 ** (low - before * span - slack), 10 ** (high + after * span + slack),
                   start, end)  # fmt: skip

    def at(self, value: float) -> float:
        """Return the position of ``value``, at the nearer end where it lies outside."""
        inside = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(inside / self.low) / math.log(self.high / self.low)
        else:
            share = (inside - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        """Round numbers on the axis, four to ten where there are such."""
        return ticks(self.low, self.high) if self.log else steps(self.low, self.high)


def ticks(low: float, high: float) -> list[float]:
    """Return round numbers for a logarithmic axis.

    Powers of ten; 1, 2 and 5 times them; some more; where even those are rare, equal steps.
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for leads in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        numbers = [float(f"{lead}e{ten}") for ten in decades for lead in leads]
        inside = [number for number in numbers if low <= number <= high]
        if len(inside) >= 4:
            return inside
    return steps(low, high)


def steps(low: float, high: float) -> list[float]:
    """Return multiples of a round step between ``low`` and ``high``."""
    rough = (high - low) / 8
    ten = math.floor(math.log10(rough))
    step = next(s for lead in (1, 2, 5, 10) if (s := lead * 10.0**ten) >= rough * 0.999)
    return [float(f"{i * step:.12g}") for i in range(math.ceil(low / step), int(high / step) + 1)]
