"""The words of a chart's points: the names of its series, and what is said of one point."""

from __future__ import annotations

from collections.abc import Iterator

from headway.report.chart import Chart
from headway.report.grid import Grid


def series_name(grid: Grid, chart: Chart, number: int) -> str:
    """Return the name of the series that a row belongs to."""
    cell = grid.rows[number].get(chart.series)
    return "unnamed" if cell is None else grid.columns[chart.series].format(cell)


def point_words(grid: Grid, chart: Chart, number: int) -> list[str]:
    """Return what is said of one point: its place on both axes, and its details."""
    details = (name for name in chart.details if grid.rows[number].get(name) is not None)
    return [grid.phrase(number, name) for name in (chart.x, chart.y, *details)]


def callouts(grid: Grid, chart: Chart) -> Iterator[tuple[int, list[str]]]:
    """Yield the marked rows, and what is said of them in short parts.

    Marks of one series alone ("preferred:h200") are drawn but not written.
    """
    for number in dict.fromkeys(grid.marks.values()):
        marks = [mark for mark in grid.marks_of(number) if ":" not in mark]
        names = ["★ preferred" if mark == "preferred" else mark for mark in marks]
        if names:
            yield number, [" and ".join(names), *point_words(grid, chart, number)]
