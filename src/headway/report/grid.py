"""The cells of a report beside the description of their columns: all that a view reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from headway.report.column import Cell, Column
from headway.report.estimate import Estimate


@dataclass(frozen=True, slots=True)
class Grid:
    """Rows of one type.

    Attributes:
        columns: how each column is shown, by name and in order.
        rows: the cells of each row by column, in SI units.
        marks: row numbers by what they are ("preferred", "cheapest", "preferred:h200").

    """

    columns: Mapping[str, Column]
    rows: tuple[Mapping[str, Cell], ...]
    marks: Mapping[str, int] = field(default_factory=dict)

    def marks_of(self, number: int) -> list[str]:
        """Return the names of the marks on row ``number``, in the order of the report."""
        return [mark for mark, marked in self.marks.items() if marked == number]

    def text(self, number: int, name: str) -> str:
        """Return one cell for people, with its unit where it has a number."""
        column, cell = self.columns[name], self.rows[number].get(name)
        text = column.format(cell)
        is_number = isinstance(cell, int | float | Estimate) and not isinstance(cell, bool)
        return f"{text} {column.unit}".rstrip() if is_number else text

    def phrase(self, number: int, name: str) -> str:
        """Return one cell as in a sentence: ``71.0 tok/s/user``, ``TPOT 12 ms``, ``batch 8``."""
        column, cell = self.columns[name], self.rows[number].get(name)
        if isinstance(cell, str):
            return cell
        if column.unit or isinstance(cell, int):
            return f"{column.heading} {self.text(number, name)}"
        return f"{column.format(cell)} {column.heading}"

    def number(self, number: int, name: str) -> float | None:
        """Return one cell as it is drawn, on the scale that is shown; ``None`` where unknown."""
        cell = self.rows[number].get(name)
        if isinstance(cell, Estimate):
            cell = cell.expected
        if isinstance(cell, bool) or not isinstance(cell, int | float) or abs(cell) > 1e30:
            return None
        return float(cell) * self.columns[name].scale

    def interval(self, number: int, name: str) -> tuple[float, float] | None:
        """Return the interval of one cell as it is drawn, if it has one."""
        cell = self.rows[number].get(name)
        if not isinstance(cell, Estimate):
            return None
        scale = self.columns[name].scale
        return cell.lower * scale, cell.upper * scale
