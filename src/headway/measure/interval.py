"""A number with its doubt."""

from __future__ import annotations

from dataclasses import dataclass

from headway.errors import InputError


@dataclass(frozen=True, slots=True)
class Interval:
    """``expected``, and what it lies between; the unit is that of the name it is bound to."""

    lower: float
    expected: float
    upper: float

    def __post_init__(self) -> None:
        # The slack is for sums of floats.
        slack = 1e-9 * max(abs(self.lower), abs(self.upper), 1e-300)
        if not self.lower - slack <= self.expected <= self.upper + slack:
            raise InputError(
                f"an interval needs lower <= expected <= upper, not {self.lower:g}, "
                f"{self.expected:g}, {self.upper:g}"
            )

    @classmethod
    def exactly(cls, value: float) -> Interval:
        """``value`` without doubt."""
        return cls(value, value, value)

    def holds(self, value: float) -> bool:
        """Whether ``value`` lies within."""
        return self.lower <= value <= self.upper
