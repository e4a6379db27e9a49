"""How one field of a row is shown: every view of an answer reads this and nothing else.

A row type is a frozen dataclass whose fields are declared with `column`::

    @dataclass(frozen=True, slots=True)
    class ServingRow:
        deployment: str = column("deployment", "model, accelerators and layout")
        tpot_s: Estimate = column("TPOT", "time per output token", unit="ms", scale=1e3)
        mfu: float | None = column("MFU", "model FLOP/s over peak", unit="%", scale=100, digits=2)
"""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass, field
from typing import Any

from headway.report.estimate import Estimate

Value = str | int | float | bool | None
Cell = Value | Estimate
UNKNOWN = "-"
RANGE_DIGITS = 2


@dataclass(frozen=True, slots=True)
class Column:
    """How one field of a row is shown.

    Attributes:
        heading: at most a few letters, above a table and beside an axis.
        meaning: one phrase that explains the quantity to whoever sees it for the first time.
        unit: of the number that is shown.
        digits: significant digits that are shown.
        scale: shown number over the number in SI units that the row holds.
        detail: whether tables in a terminal leave the column out; files and pages never do.

    """

    heading: str
    meaning: str
    unit: str = ""
    digits: int = 3
    scale: float = 1.0
    detail: bool = False

    @property
    def title(self) -> str:
        """The heading with its unit: ``TPOT (ms)``."""
        return self.titled(self.heading)

    def titled(self, words: str) -> str:
        """Return ``words`` (the heading if there are none) with the unit."""
        words = words or self.heading
        return f"{words} ({self.unit})" if self.unit else words

    def format(self, value: Cell) -> str:
        """Return ``value`` as a person reads it; an unknown value is a dash, never a zero."""
        if value is None:
            return UNKNOWN
        if isinstance(value, str):
            return value
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, Estimate):
            return rounded(value.expected * self.scale, self.digits)
        if isinstance(value, int) and self.scale == 1:
            return f"{value:,}"
        return rounded(value * self.scale, self.digits)

    def format_range(self, value: Cell) -> str:
        """Return the interval of ``value`` (``0.61..1.2``); empty where it has none."""
        if not isinstance(value, Estimate):
            return ""
        lower, upper = (
            rounded(end * self.scale, RANGE_DIGITS) for end in (value.lower, value.upper)
        )
        return f"{lower}..{upper}"


def column(
    heading: str,
    meaning: str,
    *,
    unit: str = "",
    digits: int = 3,
    scale: float = 1.0,
    detail: bool = False,
    default: Any = MISSING,
) -> Any:
    """Declare a field of a row together with its `Column`."""
    own = Column(heading, meaning, unit=unit, digits=digits, scale=scale, detail=detail)
    if default is MISSING:
        return field(metadata={"column": own})
    return field(default=default, metadata={"column": own})


def rounded(value: float, digits: int = 3) -> str:
    """Return ``value`` with ``digits`` significant digits: ``0.0123``, ``1.20``, ``12,346``."""
    if value == 0:
        return "0"
    size = abs(value)
    if not 1e-3 <= size < 1e9:
        return f"{value:.{digits - 1}e}"
    if size >= 10 ** (digits - 1):
        return f"{value:,.0f}"

    # Round first: 9.996 has one digit more before the point once it is rounded.
    nearest = float(f"{value:.{digits}g}")
    decimals = digits - 1 - math.floor(math.log10(abs(nearest)))
    return f"{nearest:.{max(0, decimals)}f}"
