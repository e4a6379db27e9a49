"""A report as plain text: a table, the facts of one row, or CSV."""

from __future__ import annotations

import csv as csv_format
import io
from collections.abc import Iterable, Mapping, Sequence

from headway.report.column import Value
from headway.report.estimate import Estimate
from headway.report.grid import Grid

GAP = "  "


def table(grid: Grid, numbers: Iterable[int] | None = None) -> str:
    """Return the rows ``numbers`` (all by default) under their headings, their marks at the end.

    Columns that no row fills and columns of detail are left out; an interval stands beside its
    value.
    """
    numbers = range(len(grid.rows)) if numbers is None else list(numbers)
    lines: list[list[str]] = []
    for name, column in grid.columns.items():
        values = [grid.rows[number][name] for number in numbers]
        if column.detail or all(value is None for value in values):
            continue

        is_text = all(isinstance(value, str | None) for value in values)
        lines.append(_aligned([column.title, *map(column.format, values)], to_left=is_text))
        if any(isinstance(value, Estimate) for value in values):
            lines.append(_aligned(["range", *map(column.format_range, values)], to_left=False))

    if grid.marks:
        lines.append(["", *(", ".join(grid.marks_of(number)) for number in numbers)])
    return "\n".join(GAP.join(cells).rstrip() for cells in zip(*lines, strict=True))


def facts(grid: Grid) -> str:
    """Return the first row, a line for each column it fills: label, value, range, meaning."""
    lines = []
    for name, column in grid.columns.items():
        value = grid.rows[0][name]
        if value is None:
            continue
        between = column.format_range(value)
        remark = f"range {between}; {column.meaning}" if between else column.meaning
        lines.append((column.heading, grid.text(0, name), remark))

    # Long texts do not push every remark away.
    label_width = max((len(label) for label, _, _ in lines), default=0)
    value_width = min(28, max((len(value) for _, value, _ in lines), default=0))
    return "\n".join(
        GAP.join((label.ljust(label_width), value.ljust(value_width), remark)).rstrip()
        for label, value, remark in lines
    )


def csv(rows: Sequence[Mapping[str, Value]]) -> str:
    """Return ``rows`` as CSV; an unknown value is an empty cell."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv_format.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _aligned(cells: Sequence[str], to_left: bool) -> list[str]:
    width = max(map(len, cells))
    return [cell.ljust(width) if to_left else cell.rjust(width) for cell in cells]
