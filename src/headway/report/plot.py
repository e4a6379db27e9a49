"""A report as a picture, for a README: matplotlib, from the extra ``plot``, imported where used."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from headway.errors import InputError, MissingExtraError
from headway.report.bars import Bar, bars_of
from headway.report.kinds import Chart, callouts, marks_by_row, panels_of, plain
from headway.report.labels import AROUND, AT_END, Box, Label, Point, place, sampled
from headway.report.report import Report
from headway.report.words import columns, heading, printable, with_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

# Okabe and Ito's colours, told apart by all kinds of colour vision; beyond seven, shapes differ.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#555555")
SHAPES = "osD^vPX"
INK, GREY, PALE, FRONT = "#1b1f24", "#5b636d", "#e6e9ed", "#cfd4da"
WIDTH, HEIGHT = 8.0, 4.6  # inches at least, which all sizes below are made for
MARGIN = 0.14
WIDTHS = (27, 19, 50)  # letters a line, of what is written beside a marked point


def png(report: Report[Any], width_px: int = 1200, height_px: int = 750) -> bytes:
    """Draw ``report`` as a PNG of exactly ``width_px`` by ``height_px``.

    Letters grow with the picture. A report that has no chart becomes a sheet of its first rows.

    Raises:
        InputError: a side is not between 300 and 10,000 pixels.
        MissingExtraError: matplotlib is not installed.

    """
    if not (300 <= width_px <= 10_000 and 300 <= height_px <= 10_000):
        raise InputError(f"a PNG is 300 to 10000 pixels a side, not {width_px} by {height_px}")
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("a PNG", "plot") from None
    dpi = min(width_px / WIDTH, height_px / HEIGHT)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"font.size": 9, "text.parse_math": False, "text.color": INK})
        # Without the hundredth of a pixel, rounding in inches may cost a whole one.
        figure = Figure(((width_px + 0.01) / dpi, (height_px + 0.01) / dpi), dpi=dpi)
        FigureCanvasAgg(figure)
        panels, bars = panels_of(report), bars_of(report)
        report = plain(report)
        top, bottom = _frame(figure, report)
        high = (top - bottom) / max(len(panels), 1)
        for i, chart in enumerate(panels):
            _draw(figure, report, chart, top - i * high, top - (i + 1) * high)
        if bars:
            _bars(figure, bars, top, bottom)
        elif not panels:
            _sheet(figure, report, top, bottom)
        out = io.BytesIO()
        figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def ticks(low: float, high: float) -> list[float]:
    """Round numbers between ``low`` and ``high``, four to ten where there are such.

    Powers of ten; 1, 2 and 5 times them; some more; where even those are rare, equal steps.
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    chosen: list[float] = []
    for leads in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        chosen = [float(f"{lead}e{ten}") for ten in decades for lead in leads]
        chosen = [tick for tick in chosen if low <= tick <= high]
        if len(chosen) >= 4:
            return chosen
    rough = (high - low) / 8
    ten = math.floor(math.log10(rough))
    step = next(s for lead in (1, 2, 5, 10) if (s := lead * 10.0**ten) >= rough * 0.999)
    return [float(f"{i * step:.12g}") for i in range(math.ceil(low / step), int(high / step) + 1)]


def _frame(figure: Figure, report: Report) -> tuple[float, float]:
    """Write the title above and the notes below; return where they end, in inches."""
    width, height = figure.get_size_inches()
    title = _wrapped(report.title, int(9.7 * width), 2)
    figure.text(MARGIN / width, 1 - 0.12 / height, title, size=12, weight="bold", va="top")
    bases = sorted({str(row["basis"]) for row in report.rows if row.get("basis") is not None})
    said = [f"Basis: {', '.join(bases)}.", *report.notes] if bases else report.notes
    notes = _wrapped("  ".join(said), int(17 * width), 3)
    at = (MARGIN / width, 0.1 / height)
    figure.text(*at, notes, size=7.5, color=GREY, va="bottom", linespacing=1.35)
    below = 0.2 + 0.145 * (notes.count("\n") + 1) if notes else 0.1
    return height - 0.4 - 0.21 * title.count("\n"), below


def _draw(figure: Figure, report: Report, chart: Chart, top: float, bottom: float) -> None:
    """Draw the lines, the front, the marks and what they are called."""
    width, height = figure.get_size_inches()
    left, legend = MARGIN / width, chart.legend_of(report)
    figure.text(left, top / height, legend, size=8, color=GREY, va="top")
    figure.text(left, (top - 0.25) / height, chart.y.label, va="top")
    top, bottom = top - 0.46, bottom + 0.38
    size = (1 - 1.85 / width, (top - bottom) / height)
    axes = figure.add_axes((0.62 / width, bottom / height, *size))
    at = chart.points(report)
    ends = [end for line in _whiskers(report, chart, at) for end in line] if chart.doubts else []
    _scale(axes, chart, [*at.values(), *ends])
    _lines(axes, report, chart, at)
    _labels(axes, report, chart, at)


def _scale(axes: Axes, chart: Chart, points: list[Point]) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator

    sides = (("x", chart.x, axes.xaxis, 0.04, 0.03), ("y", chart.y, axes.yaxis, 0.16, 0.10))
    for i, (letter, column, axis, before, after) in enumerate(sides):
        logs = [math.log10(point[i]) for point in points]
        slack = max(0.0, 0.5 - max(logs) + min(logs)) / 2  # one point is no axis
        span = max(logs) - min(logs) + 2 * slack
        low = 10 ** (min(logs) - before * span - slack)
        high = 10 ** (max(logs) + after * span + slack)
        axes.set(**{f"{letter}scale": "log", f"{letter}lim": (low, high)})
        at = ticks(low, high)
        axis.set_major_locator(FixedLocator(at))
        axis.set_minor_locator(NullLocator())
        axis.set_ticklabels([f"{column.before}{tick:,.12g}" for tick in at])
    axes.set_xlabel(chart.x.label, labelpad=4)
    axes.grid(color=PALE, lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelcolor=GREY)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(GREY)


def _lines(axes: Axes, report: Report, chart: Chart, at: dict[int, Point]) -> None:
    marks = marks_by_row(report)
    if front := chart.front_of(report):
        x, y = zip(*(at[n] for n in front), strict=True)
        axes.plot(x, y, color=FRONT, lw=7, solid_capstyle="round", zorder=1)
    for i, numbers in enumerate(chart.curves(report).values()):
        colour, shape = COLOURS[i % len(COLOURS)], SHAPES[i // len(COLOURS) % len(SHAPES)]
        x, y = zip(*(at[n] for n in numbers), strict=True)
        axes.plot(x, y, color=colour, lw=1.3, zorder=2)
        on_front = [n for n in numbers if report.rows[n].get(chart.front) is True]
        stars = [n for n in numbers if any(m.startswith("preferred:") for m in marks.get(n, ()))]
        preferred = [n for n in numbers if "preferred" in marks.get(n, ())]
        for chosen, marker, points, fill, edge, layer in (
            (numbers, shape, 4.5, "white", colour, 3),
            (on_front, shape, 4.5, colour, colour, 3),
            (stars, "*", 10, colour, "white", 4),
            (preferred, "*", 18, colour, INK, 5),
        ):
            xs, ys = ([at[n][side] for n in chosen] for side in (0, 1))
            marks_ = axes.plot(xs, ys, marker, ms=points, mfc=fill, mec=edge, mew=0.8)
            marks_[0].set_zorder(layer)
    for line in _whiskers(report, chart, at):
        axes.plot(*zip(*line, strict=True), color=INK, lw=0.9, alpha=0.55, zorder=2.5)


def _whiskers(report: Report, chart: Chart, at: dict[int, Point]) -> Iterator[list[Point]]:
    """The intervals of the preferred point, or of all where the chart is about doubt."""
    shown = at if chart.doubts else [n for n in (report.marks.get("preferred"),) if n in at]
    for n in shown:
        x, y = at[n]
        if across := chart.x.interval(report.rows[n]):
            yield [(end, y) for end in across]
        if up := chart.y.interval(report.rows[n]):
            yield [(x, end) for end in up]


class _Words(NamedTuple):
    rows: tuple[int, ...]  # beside the first of these where there is room
    texts: tuple[str, ...]  # the same words on few long or many short lines
    colour: str
    size: float
    directions: Sequence[Point]


def _names(report: Report, chart: Chart, at: dict[int, Point]) -> Iterator[_Words]:
    """What is written beside points: the marks first, they say more, then the ends of the lines."""
    for n, parts in callouts(report, chart):
        texts = tuple("\n".join(_filled(parts, width)) for width in WIDTHS)
        yield _Words((n,), texts, INK, 8.5 if n == report.marks.get("preferred") else 7.5, AROUND)
    curves = enumerate(chart.curves(report).items())
    for i, (name, numbers) in sorted(curves, key=lambda c: -at[c[1][1][-1]][0]):
        short = textwrap.shorten(printable(name), 28, placeholder="…")
        yield _Words((numbers[-1], numbers[0]), (short,), COLOURS[i % len(COLOURS)], 9, AT_END)


def _labels(axes: Axes, report: Report, chart: Chart, at: dict[int, Point]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patheffects import withStroke
    from matplotlib.transforms import IdentityTransform

    figure = axes.figure
    unit = figure.dpi / 72  # pixels of a point, in which places are measured

    def seen(points: Sequence[Point]) -> list[Point]:
        return [(float(x), float(y)) for x, y in axes.transData.transform(points) / unit]

    def write(name: _Words, text: str) -> Text:
        return figure.text(
            0, 0, text, size=name.size, color=name.colour, va="bottom", linespacing=1.3, zorder=10,
            weight="bold" if name.directions is AT_END else "normal",
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )  # fmt: skip

    names = list(_names(report, chart, at))
    texts = [[write(name, text) for text in name.texts] for name in names]
    labels = []
    for name, shapes in zip(names, texts, strict=True):
        extents = [text.get_window_extent() for text in shapes]
        sizes = [(extent.width / unit, extent.height / unit) for extent in extents]
        labels.append(Label(seen([at[n] for n in name.rows]), sizes, name.directions))
    curves = [[at[n] for n in numbers] for numbers in chart.curves(report).values()]
    lines = [sampled(seen(line)) for line in (*curves, *_whiskers(report, chart, at))]
    area, width, height = axes.get_window_extent(), figure.bbox.width, figure.bbox.height
    frame = Box(area.x0 / unit, area.y0 / unit, width / unit - 6, area.y1 / unit + 10)
    places = place(labels, [point for line in lines for point in line], frame)
    for name, shapes, spot in zip(names, texts, places, strict=True):
        for text in shapes[: spot.shape] + shapes[spot.shape + 1 :]:
            text.remove()
        left, bottom = spot.box.left * unit / width, spot.box.bottom * unit / height
        shapes[spot.shape].set_position((left, bottom))
        if math.dist(*spot.leader) > 11:
            xs, ys = ([side * unit for side in sides] for sides in zip(*spot.leader, strict=True))
            stroke = Line2D(xs, ys, color=name.colour, lw=0.7, transform=IdentityTransform())
            figure.add_artist(stroke)


def _bars(figure: Figure, bars: Sequence[Bar], top: float, bottom: float) -> None:
    """Draw parts of a whole from top to bottom, each begun where the one before it ends."""
    width, height = figure.get_size_inches()
    low = bottom + 0.42
    axes = figure.add_axes((1.5 / width, low / height, 1 - 3.1 / width, (top - low) / height))
    for i, bar in enumerate(bars):
        colour = FRONT if bar.whole else COLOURS[0]
        axes.barh(i, bar.value_s, left=bar.start_s, color=colour, height=0.62)
        ends = [bar.start_s + end for end in (bar.lower_s, bar.upper_s)]
        axes.plot(ends, (i, i), color=INK, lw=1.2)
        at = max(*ends, bar.start_s + bar.value_s)
        axes.annotate(
            bar.said, (at, i), (5, 0), textcoords="offset points", va="center", size=7.5, color=GREY
        )
    axes.set_yticks(range(len(bars)), [bar.name for bar in bars])
    axes.invert_yaxis()
    axes.set_xlabel("seconds of a request, mean")
    axes.tick_params(length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _sheet(figure: Figure, report: Report, top: float, bottom: float) -> None:
    """Write the first rows as a table; a report of few rows has its columns one below another."""
    width, height = figure.get_size_inches()
    lines, letters = int((top - bottom) / 0.155), int(14.2 * width)
    table = [
        [heading(key), *(with_interval(row, key) for row in report.rows)]
        for key in columns(report.rows)
    ]
    if len(report.rows) > 3:
        table = [list(row) for row in zip(*table, strict=True)]
    cells = [[textwrap.shorten(printable(c), 34, placeholder="…") for c in row] for row in table]
    widths = [max(map(len, column)) + 2 for column in zip(*cells, strict=True)]
    rows = ["".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells]
    pages = [rows[i : i + lines] for i in range(0, len(rows), lines)] or [["No rows."]]
    fit = max(1, letters // max(1, sum(widths)))
    for i, page in enumerate(pages[:fit]):
        shown = [row[:letters] + "…" * (len(row.rstrip()) > letters) for row in page]
        if i == fit - 1 and len(pages) > fit:
            shown[-1] = "…"
        x = (MARGIN + i * sum(widths) * width / letters * 0.97) / width
        text = figure.text(x, top / height, "\n".join(shown), size=7.5, va="top")
        text.set(family="monospace", linespacing=1.35)


def _wrapped(text: str, width: int, lines: int) -> str:
    return "\n".join(textwrap.wrap(printable(text), width, max_lines=lines, placeholder=" …"))


def _filled(parts: Sequence[str], width: int) -> list[str]:
    """``parts`` joined by middle dots on lines of at most ``width`` where parts allow it."""
    lines: list[str] = []
    for part in filter(None, map(printable, parts)):
        if lines and len(lines[-1]) + len(part) + 3 <= width:
            lines[-1] += f" · {part}"
        else:
            lines.append(part)
    return lines
