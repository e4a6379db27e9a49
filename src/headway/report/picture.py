"""A whole report as one picture: title, charts (or its first rows) and notes, as SVG and PNG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files

from headway.errors import InputError, MissingExtraError
from headway.report.bars import draw_bars, height_of
from headway.report.chart import Bars, Chart
from headway.report.figure import figure_of
from headway.report.grid import Grid
from headway.report.labels import Box
from headway.report.letters import LINE, printable, shortened, text_width, wrapped
from headway.report.svg import DARK_ROLES, coloured, element, rules, text

WIDTH, HEIGHT = 768.0, 442.0  # at least: all sizes are made for it
MARGIN = 14.0
TITLE_SIZE, NOTE_SIZE, CELL_SIZE = 16.0, 10.0, 10.0
MAX_FACTS = 3  # rows that stand side by side, their columns one below another
CELL_LETTERS = 34
FONTS = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf")
OWN = frozenset("★–—‘’“”•…←↑→↓−≈≠≤≥") | frozenset(map(chr, range(0x391, 0x3CA)))
FAMILY = "DejaVu Sans, Verdana, sans-serif"


@dataclass(frozen=True, slots=True)
class Picture:
    """What a picture shows of a report.

    Attributes:
        title: above all.
        grid: the rows.
        charts: what is drawn, one above another; without any, the first rows are written.
        notes: below all, as far as there is room.

    """

    title: str
    grid: Grid
    charts: Sequence[Chart | Bars]
    notes: Sequence[str]

    def svg(self, width: float = WIDTH, height: float = HEIGHT) -> str:
        """Return the picture as one SVG element that follows the reader's colour scheme.

        Lengths are in pixels, of which letters have about 12.
        """
        dark = f"@media (prefers-color-scheme:dark){{{rules(DARK_ROLES)}}}"
        return self._element(width, height, size=(width, height), style=element("style", dark))

    def _element(
        self, width: float, height: float, *, size: tuple[float, float], style: str = ""
    ) -> str:
        """Return the drawing of ``width`` by ``height``, shown at ``size``."""
        title = wrapped(self.title, width - 2 * MARGIN, TITLE_SIZE, max_lines=3, bold=True)
        notes = self._notes(width)
        top = MARGIN + len(title) * TITLE_SIZE * LINE + 6
        bottom = height - MARGIN - len(notes) * NOTE_SIZE * LINE
        title_at = (MARGIN, MARGIN + 0.8 * TITLE_SIZE)
        title_text = text(title, title_at, TITLE_SIZE, bold=True)
        parts = [
            element("rect", width="100%", height="100%", fill="currentColor"),
            coloured("ink", title_text),
            *self._panels(Box(left=MARGIN, top=top, right=width - MARGIN, bottom=bottom)),
            coloured("quiet", text(notes, (MARGIN, bottom + NOTE_SIZE * LINE), NOTE_SIZE)),
        ]

        page = coloured("page", parts[0])
        return element(
            "svg",
            style + page + "".join(parts[1:]),
            xmlns="http://www.w3.org/2000/svg",
            viewBox=f"0 0 {width:g} {height:g}",
            width=size[0],
            height=size[1],
            font_family=FAMILY,
        )

    def png(self, width_px: int = 1200, height_px: int = 750) -> bytes:
        """Return the picture as a PNG of exactly this size; letters grow with it.

        Raises:
            InputError: a side is not between 300 and 10,000 pixels.
            MissingExtraError: the library that renders SVG is not installed.

        """
        if not (300 <= width_px <= 10_000 and 300 <= height_px <= 10_000):
            raise InputError(f"a PNG is 300 to 10000 pixels a side, not {width_px} by {height_px}")
        try:
            from resvg_py import svg_to_bytes
        except ImportError:
            raise MissingExtraError("a PNG", "plot") from None

        scale = min(width_px / WIDTH, height_px / HEIGHT)
        size = (width_px, height_px)
        drawing = self._element(width_px / scale, height_px / scale, size=size)
        with as_file(files("headway.report") / "assets" / "fonts") as fonts:
            rendered = svg_to_bytes(
                svg_string=drawing,
                font_files=[str(fonts / name) for name in FONTS],
                # The same bytes on every machine, unless a letter is in none of our fonts.
                skip_system_fonts=all(ord(letter) < 0x180 or letter in OWN for letter in drawing),
            )
        return bytes(rendered)

    def _notes(self, width: float) -> list[str]:
        """Return the basis and the notes on at most three lines."""
        grid = self.grid
        bases = {row["basis"]: None for row in grid.rows if row.get("basis") is not None}
        names = sorted(map(str, bases))
        basis = [f"basis: {', '.join(names)}"] if names else []
        words = " · ".join([*basis, *self.notes])
        return wrapped(words, width - 2 * MARGIN, NOTE_SIZE, max_lines=3)

    def _panels(self, area: Box) -> Iterator[str]:
        """Yield the charts in equal parts of the height, or the rows where none can be drawn.

        Of bars, only as many charts are drawn as leave room for their words.
        """
        panels = []
        heights = [height_of(self.grid, chart) for chart in self.charts if isinstance(chart, Bars)]
        charts = self.charts[: max(1, int(area.height / max(heights, default=1.0)))]
        height = area.height / max(1, len(charts))
        for i, chart in enumerate(charts):
            top = area.top + i * height
            box = Box(left=area.left, top=top, right=area.right, bottom=top + height)
            if isinstance(chart, Bars):
                panels.append(draw_bars(self.grid, chart, box=box))
            elif figure := figure_of(self.grid, chart, box=box):
                panels.append(figure.draw())

        drawn = [panel for panel in panels if panel]
        yield from drawn or [_cells(self.grid, area)]


def _cells(grid: Grid, area: Box) -> str:
    """Return the first rows as text; a few rows have their columns one below another."""
    names = list(grid.columns)
    headings = [grid.columns[name].title for name in names]
    rows = [[_cell(grid, n, name) for name in names] for n in range(len(grid.rows))]
    table = [headings, *rows]
    if len(rows) <= MAX_FACTS:
        table = [list(line) for line in zip(*table, strict=True)]
    if not rows or not names:
        table = [["No rows."]]

    line_height = CELL_SIZE * 1.4
    max_lines = max(2, int(area.height / line_height))
    more = len(table) > max_lines
    parts: list[str] = []
    x = area.left
    for cells in zip(*table[: max_lines - more], strict=True):
        texts = [shortened(cell, CELL_LETTERS) for cell in cells]
        width = max(text_width(cell, CELL_SIZE) for cell in texts)
        if x + width > area.right and parts:
            parts.append(text("…", (x, area.top + CELL_SIZE), CELL_SIZE))
            break
        parts += [
            text(cell, (x, area.top + CELL_SIZE + i * line_height), CELL_SIZE)
            for i, cell in enumerate(texts)
        ]
        x += width + 14
    if more:
        parts.append(text("…", (area.left, area.bottom - 4), CELL_SIZE))
    return coloured("ink", "".join(parts))


def _cell(grid: Grid, number: int, name: str) -> str:
    column, cell = grid.columns[name], grid.rows[number].get(name)
    between = column.format_range(cell)
    return printable(column.format(cell)) + (f" ({between})" if between else "")
