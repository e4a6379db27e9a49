"""Bars with their intervals: fleets side by side, or where the time of an endpoint goes."""

from __future__ import annotations

from dataclasses import dataclass

from headway.report.chart import Bars
from headway.report.estimate import Estimate
from headway.report.figure import SIZE
from headway.report.grid import Grid
from headway.report.labels import Box
from headway.report.letters import shortened, text_width
from headway.report.svg import coloured, element, path, text

GAP = 10.0
MAX_BAR = 54.0
NAME_LETTERS = 32
LEAST_HEIGHT = 13.0  # of a bar, so that words do not touch


@dataclass(frozen=True, slots=True)
class _Bar:
    """A bar from ``start`` on with the ends of its interval, on the shown scale."""

    row: int
    name: str
    start: float
    value: float
    lower: float
    upper: float
    is_part: bool
    role: str
    words: str


def bars_of(grid: Grid, chart: Bars) -> list[_Bar]:
    """Return the rows that have a value; each part begins where the one before it ends."""
    first_mark = next(iter(grid.marks.values()), None)
    bars, end = [], 0.0
    for number, row in enumerate(grid.rows):
        value = grid.number(number, chart.value)
        if value is None:
            continue

        is_part = chart.total != "" and row[chart.total] is not True
        stands_out = is_part if chart.total else number == first_mark
        lower, upper = grid.interval(number, chart.value) or (value, value)
        words = grid.text(number, chart.value)
        cell = row[chart.value]
        if isinstance(cell, Estimate) and lower < upper:
            words += f" ({grid.columns[chart.value].format_range(cell)})"
        details = [grid.phrase(number, name) for name in chart.details if row[name] is not None]
        names = [str(row[name]) for name in chart.names if row[name] not in (None, "-")]
        bars.append(
            _Bar(
                row=number,
                name=" ".join(names),
                start=end if is_part else 0.0,
                value=value,
                lower=lower,
                upper=upper,
                is_part=is_part,
                role="s0" if stands_out else "front",
                words=" · ".join([words, *details]),
            )
        )
        end += value if is_part else 0.0
    return bars


def height_of(grid: Grid, chart: Bars) -> float:
    """Return the height that the bars of ``chart`` need at least."""
    return 2.5 * SIZE + len(bars_of(grid, chart)) * LEAST_HEIGHT


def draw_bars(grid: Grid, chart: Bars, *, box: Box) -> str:
    """Return the bars of ``chart`` in ``box``; empty without values."""
    bars = bars_of(grid, chart)
    if not bars:
        return ""
    legend = coloured("quiet", text(chart.legend, (box.left, box.top + SIZE), SIZE * 0.85))
    names_width = max(text_width(shortened(b.name, NAME_LETTERS), SIZE) for b in bars) + GAP
    words_width = max(text_width(bar.words, SIZE * 0.85) for bar in bars) + GAP
    start = box.left + names_width
    longest = max(bar.start + max(bar.value, bar.upper, 0.0) for bar in bars) or 1.0
    scale = max(50.0, box.right - words_width - start) / longest

    first = box.top + 1.8 * SIZE
    height = min(MAX_BAR, (box.bottom - 0.6 * SIZE - first) / len(bars))
    parts = [legend]
    for i, bar in enumerate(bars):
        middle = first + (i + 0.5) * height
        begin, end = (start + scale * max(0.0, v) for v in (bar.start, bar.start + bar.value))
        low, high = (start + scale * max(0.0, bar.start + v) for v in (bar.lower, bar.upper))

        rectangle = element(
            "rect",
            x=min(begin, end),
            y=middle - height * 0.32,
            width=max(abs(end - begin), 1.0),
            height=height * 0.64,
            fill="currentColor",
            data_row=bar.row,
        )
        name_at, words_at = (start - GAP, middle + 4), (max(begin, end, high) + 8, middle + 4)
        name = text(shortened(bar.name, NAME_LETTERS), name_at, SIZE, anchor="end")
        interval = path([(low, middle), (high, middle)], 1.5) if low < high else ""
        parts += [
            coloured(bar.role, rectangle),
            coloured("ink", name + interval),
            coloured("quiet", text(bar.words, words_at, SIZE * 0.85)),
        ]
    return "".join(parts)
