"""A chart of a report as SVG: the one drawing that a page, a notebook and a PNG show."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from headway.report.axis import Axis
from headway.report.captions import callouts, series_name
from headway.report.chart import Chart
from headway.report.grid import Grid
from headway.report.labels import AROUND, AT_END, Box, Label, Place, place, sampled
from headway.report.letters import LINE, block_size, joined, shortened, wrapped
from headway.report.svg import ROLES, SERIES, SHAPES, Point, coloured, marker, path, text

SIZE = 12.0  # of the letters, on pictures of about 768 by 442
LEFT, RIGHT, BELOW = 62.0, 148.0, 44.0  # around the axes: tick labels, names, the x axis
NAME_LETTERS = 28
CALLOUT_LETTERS = (27, 19, 50)  # a line of a callout: the shape that fits best is taken


@dataclass(frozen=True, slots=True)
class _Words:
    """What is written beside one of several points, in one of several shapes.

    Attributes:
        rows: whose points it may stand beside, the best first.
        shapes: the same words on few long or on many short lines.
        role: the colour.
        series: the number of the series that it names, if it names one.

    """

    rows: tuple[int, ...]
    shapes: tuple[tuple[str, ...], ...]
    role: str
    size: float
    series: int | None = None


@dataclass(frozen=True)  # no slots: parts are computed once
class LineFigure:
    """The drawing of one `Chart` in a rectangle of a picture; ``y`` grows downwards."""

    grid: Grid
    chart: Chart
    box: Box
    log: bool = True

    @cached_property
    def values(self) -> dict[int, Point]:
        """The numbers of both axes by row; without rows that have no place on the axes."""
        values = {}
        for number in range(len(self.grid.rows)):
            x = self.grid.number(number, self.chart.x)
            y = self.grid.number(number, self.chart.y)
            if x is None or y is None or (self.chart.log and min(x, y) < 1e-30):
                continue
            values[number] = (x, y)
        return values

    @cached_property
    def curves(self) -> dict[str, list[int]]:
        """The rows of each series along the horizontal axis."""
        names = {number: series_name(self.grid, self.chart, number) for number in self.values}
        return {
            name: sorted((n for n in names if names[n] == name), key=lambda n: self.values[n])
            for name in dict.fromkeys(names.values())
        }

    @cached_property
    def front(self) -> list[int]:
        """The rows on the front over all series, along the horizontal axis."""
        rows = self.grid.rows
        on_front = [n for n in self.values if rows[n].get(self.chart.front) is True]
        return sorted(on_front, key=lambda n: self.values[n])

    @cached_property
    def legend(self) -> list[str]:
        """What the eye cannot guess, on lines."""
        few = any(mark.startswith("preferred:") for mark in self.grid.marks)
        star = f"small ★: of one {self.grid.columns[self.chart.series].heading}" if few else ""
        words = "  ·  ".join(filter(None, (self.chart.legend, star)))
        return wrapped(words, self.box.width, SIZE * 0.85, max_lines=2)

    @cached_property
    def axes(self) -> tuple[Axis, Axis]:
        """The horizontal and the vertical axis."""
        ends = [end for n in self.values if self._has_range(n) for end in self._range_ends(n)]
        points = [*self.values.values(), *ends]

        top = self.box.top + 20 + len(self.legend) * SIZE * LINE + 12
        x = Axis.around(
            (point[0] for point in points),
            start=self.box.left + LEFT,
            end=self.box.right - RIGHT,
            before=0.04,
            after=0.03,
            log=self.log,
        )

        y = Axis.around(
            (point[1] for point in points),
            start=self.box.bottom - BELOW,
            end=top,
            before=0.16,
            after=0.10,
            log=self.log,
        )
        return x, y

    def at(self, number: int) -> Point:
        """Return where the point of a row is."""
        (x, y), (x_value, y_value) = self.axes, self.values[number]
        return x.at(x_value), y.at(y_value)

    def draw(self) -> str:
        """Return the chart: legend, axes, front, intervals, lines, points and names."""
        return "".join(
            [
                self._legend(),
                self._axes(),
                self._front(),
                *(self._range(number) for number in self.values),
                *map(self._curve, range(len(self.curves)), self.curves.values()),
                self._stars(),
                *self._names(),
            ]
        )

    def _legend(self) -> str:
        y_column = self.grid.columns[self.chart.y]
        top = self.box.top + SIZE
        lines = coloured("quiet", text(self.legend, (self.box.left, top), SIZE * 0.85))
        title_y = top + len(self.legend) * SIZE * LINE + 4
        title = y_column.titled(self.chart.y_label)
        return lines + coloured("ink", text(title, (self.box.left, title_y), SIZE))

    def _axes(self) -> str:
        """Return the grid, the ticks and the name of the horizontal axis."""
        (x, y), x_column = self.axes, self.grid.columns[self.chart.x]
        lines, numbers = [], []
        for tick in y.ticks:
            at = y.at(tick)
            lines.append(path([(x.start, at), (x.end, at)], 0.8))
            numbers.append(text(f"{tick:,.12g}", (x.start - 8, at + 4), SIZE, anchor="end"))
        for tick in x.ticks:
            at = x.at(tick)
            lines.append(path([(at, y.start), (at, y.end)], 0.8))
            numbers.append(text(f"{tick:,.12g}", (at, y.start + 17), SIZE, anchor="middle"))

        title_at = ((x.start + x.end) / 2, y.start + 35)
        title = text(x_column.titled(self.chart.x_label), title_at, SIZE, anchor="middle")
        foot = path([(x.start, y.start), (x.end, y.start)], 1.0)
        return (
            coloured("grid", "".join(lines))
            + coloured("quiet", foot + "".join(numbers))
            + coloured("ink", title)
        )

    def _front(self) -> str:
        if not self.front:
            return ""
        return coloured("front", path([*map(self.at, self.front)], 8.0), class_="hw-front-line")

    def _curve(self, series: int, numbers: list[int]) -> str:
        """Return the line of one series with its points, the ones on the front filled."""
        shape = SHAPES[series // len(SERIES) % len(SHAPES)]
        parts = [path([*map(self.at, numbers)], 1.6)]
        for number in numbers:
            is_on_front = number in self.front
            parts.append(
                marker(
                    shape,
                    self.at(number),
                    3.2,
                    class_="hw-point" if is_on_front else "hw-point hw-hollow",
                    fill="currentColor" if is_on_front else ROLES["page"],
                    stroke="currentColor",
                    stroke_width=1.1,
                    data_row=number,
                )
            )
        return coloured(f"s{series % len(SERIES)}", "".join(parts), data_series=series)

    def _stars(self) -> str:
        """Return the preferred points, the one over all series last and largest."""
        series_of = {n: i for i, curve in enumerate(self.curves.values()) for n in curve}
        stars = []
        for number in self.values:
            marks = self.grid.marks_of(number)
            is_preferred = "preferred" in marks
            if is_preferred or any(mark.startswith("preferred:") for mark in marks):
                stars.append((is_preferred, number))

        parts = []
        for is_preferred, number in sorted(stars):
            edge = "ink" if is_preferred else "page"
            star = marker(
                "star",
                self.at(number),
                11.0 if is_preferred else 7.0,
                class_=None if is_preferred else "hw-halo",
                fill="currentColor",
                stroke=ROLES[edge],
                stroke_width=1.0,
                data_row=number,
            )
            series = series_of[number]
            parts.append(coloured(f"s{series % len(SERIES)}", star, data_series=series))
        return "".join(parts)

    def _has_range(self, number: int) -> bool:
        return self.chart.intervals or "preferred" in self.grid.marks_of(number)

    def _range_ends(self, number: int) -> Iterator[Point]:
        """Yield what the values of a row lie between, where they have a place on the axes."""
        x, y = self.values[number]
        x_range = self.grid.interval(number, self.chart.x)
        y_range = self.grid.interval(number, self.chart.y)
        yield from ((end, y) for end in x_range or () if end > 0 or not self.chart.log)
        yield from ((x, end) for end in y_range or () if end > 0 or not self.chart.log)

    def _range_paths(self, number: int) -> list[list[Point]]:
        x, y = self.axes
        at_x, at_y = self.at(number)
        paths = []
        if x_range := self.grid.interval(number, self.chart.x):
            paths.append([(x.at(end), at_y) for end in x_range])
        if y_range := self.grid.interval(number, self.chart.y):
            paths.append([(at_x, y.at(end)) for end in y_range])
        return paths

    def _range(self, number: int) -> str:
        """Return the interval of one row; only some are visible, a page shows the others."""
        lines = "".join(path(line, 1.1) for line in self._range_paths(number))
        if not lines:
            return ""
        hidden = None if self._has_range(number) else "hidden"
        return coloured("quiet", lines, class_="hw-range", data_row=number, visibility=hidden)

    def _words(self) -> Iterator[_Words]:
        """Yield what is written beside points: the marks first, then the names of the lines."""
        for number, parts in callouts(self.grid, self.chart):
            if number not in self.values:
                continue
            is_preferred = "preferred" in self.grid.marks_of(number)
            yield _Words(
                rows=(number,),
                shapes=tuple(tuple(joined(parts, letters)) for letters in CALLOUT_LETTERS),
                role="ink",
                size=SIZE * (0.95 if is_preferred else 0.85),
            )

        # Lines that end far to the right have the least room.
        ends = sorted(
            enumerate(self.curves.items()), key=lambda curve: -self.values[curve[1][1][-1]][0]
        )
        for series, (name, numbers) in ends:
            yield _Words(
                rows=(numbers[-1], numbers[0]),
                shapes=((shortened(name, NAME_LETTERS),),),
                role=f"s{series % len(SERIES)}",
                size=SIZE,
                series=series,
            )

    def _names(self) -> Iterator[str]:
        """Yield the texts beside points, where they cover neither lines nor each other."""
        words = list(self._words())
        labels = [
            Label(
                anchors=[self.at(number) for number in word.rows],
                sizes=[block_size(s, word.size, word.series is not None) for s in word.shapes],
                directions=AROUND if word.series is None else AT_END,
            )
            for word in words
        ]

        obstacles = [[self.at(number) for number in curve] for curve in self.curves.values()]
        for number in self.values:
            if self._has_range(number):
                obstacles += self._range_paths(number)
        points = [point for line in obstacles for point in sampled(line)]

        x, y = self.axes
        frame = Box(left=x.start, top=y.end - 10, right=self.box.right, bottom=y.start)
        for word, spot in zip(words, place(labels, points, frame), strict=True):
            yield self._name(word, spot)

    def _name(self, word: _Words, spot: Place) -> str:
        parts = ""
        if math.dist(*spot.leader) > 13:
            parts = path(spot.leader, 0.8)
        at = (spot.box.left, spot.box.top + word.size)
        parts += text(
            word.shapes[spot.shape], at, word.size, bold=word.series is not None, halo=True
        )
        return coloured(word.role, parts, class_="hw-name", data_series=word.series)


def figure_of(grid: Grid, chart: Chart, *, box: Box, log: bool | None = None) -> LineFigure | None:
    """Return the drawing of ``chart`` in ``box``; ``None`` where no row has a place on the axes.

    Args:
        grid: the rows.
        chart: what is drawn of them.
        box: where, on a picture.
        log: whether the axes are logarithmic; as the chart says by default.

    """
    if not set(chart.columns) <= set(grid.columns):
        return None
    figure = LineFigure(grid=grid, chart=chart, box=box, log=chart.log if log is None else log)
    return figure if figure.values else None
