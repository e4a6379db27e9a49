"""A report as one HTML file that needs nothing else: no network, no server, no other file.

The policy in its head lets a browser run the page's own script and nothing more. The report itself
is in the page, unchanged, so that the page can be read back. The charts are drawings of
`headway.report.figure`; the script adds hands to them and draws nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from html import escape
from importlib.resources import files
from string import Template

from headway.report.bars import bars_of, draw_bars
from headway.report.captions import point_words, series_name
from headway.report.chart import Bars, Chart
from headway.report.figure import figure_of
from headway.report.grid import Grid
from headway.report.labels import Box
from headway.report.picture import FAMILY, Picture
from headway.report.svg import DARK_ROLES, ROLES, element
from headway.report.table import exact, linked, table, terms

WIDTH, HEIGHT = 900.0, 540.0
BOX = Box(left=0.0, top=0.0, right=WIDTH, bottom=HEIGHT)
BAR_HEIGHT = 34.0
_ASSETS = files("headway.report") / "assets"


def page(
    *,
    kind: str,
    picture: Picture,
    question: Mapping[str, object],
    sources: Mapping[str, str],
    json_text: str,
    more: Sequence[Picture] = (),
) -> str:
    """Return a whole report as one self-contained HTML file.

    Args:
        kind: which command made the report.
        picture: its title, rows, charts and notes.
        question: what was asked.
        sources: where the inputs come from.
        json_text: the report as it can be read back.
        more: titles and rows of reports that belong to it.

    """
    grid, chart = picture.grid, _first_chart(picture)
    style = _colours() + _asset("style.css")
    script = "\n".join(map(_asset, ("table.js", *(("chart.js",) if chart else ()))))
    num_rows = len(grid.rows)

    html = Template(_asset("page.html")).substitute(
        policy="default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src {_hash(style)}; script-src {_hash(script)}",
        title=escape(picture.title),
        kind=escape(kind),
        num_rows=f"{num_rows:,} row" + "s" * (num_rows != 1),
        style=style,
        script=script,
        chart=_charts(picture, chart),
        table=table(grid, (chart.series, chart.x, chart.y) if chart else ()),
        more="".join(map(_more, more)),
        notes=_notes(picture, sources),
        question=terms([(escape(k), escape(exact(v))) for k, v in question.items()]),
        report=_inert(json_text),
        spec=_inert(json.dumps(_spec(grid, chart) if chart else None)),
    )
    return html.encode("utf-8", "replace").decode()  # half of a surrogate pair is no letter


def notebook(picture: Picture) -> str:
    """Return the picture (where there is a chart) and the rows, for a notebook's cell."""
    drawing = picture.svg() if picture.charts else ""
    notes = "".join(f"<li>{linked(note)}</li>" for note in picture.notes)
    title = "" if drawing else f"<p><b>{escape(picture.title)}</b></p>"
    rows = f"<details{'' if drawing else ' open'}><summary>Rows</summary>{table(picture.grid, ())}"
    text = f"<div>{title}{drawing}{rows}<ul>{notes}</ul></details></div>"
    return text.encode("utf-8", "replace").decode()


def _first_chart(picture: Picture) -> Chart | None:
    """Return the chart that the controls are for."""
    charts = (chart for chart in picture.charts if isinstance(chart, Chart))
    return next((chart for chart in charts if figure_of(picture.grid, chart, box=BOX)), None)


def _charts(picture: Picture, first: Chart | None) -> str:
    """Return every chart as a figure, the first one with its controls."""
    drawings = [*_drawings(picture)]
    if first is None:
        return "".join(f"<figure>{drawing}</figure>" for drawing in drawings)

    columns = picture.grid.columns
    keys = "Arrow keys move from point to point, Enter pins one, Escape lets it go."
    return Template(_asset("chart.html")).substitute(
        series=escape(columns[first.series].heading),
        x=escape(columns[first.x].heading),
        unit=escape(columns[first.x].unit),
        label=escape(f"{picture.title} {keys}"),
        linear="" if first.log else " hidden",
        drawings="".join(drawings),
    )


def _drawings(picture: Picture) -> Iterator[str]:
    """Yield each chart as SVG; one with logarithmic axes a second time with plain ones."""
    grid = picture.grid
    for chart in picture.charts:
        if isinstance(chart, Bars):
            height = (len(bars_of(grid, chart)) + 1) * BAR_HEIGHT
            if drawing := draw_bars(grid, chart, box=replace(BOX, bottom=height)):
                yield _embedded(drawing, height, "bars")
            continue
        for log in (True, False) if chart.log else (False,):
            if figure := figure_of(grid, chart, box=BOX, log=log):
                scale = "log" if log else "linear" if chart.log else "only"
                yield _embedded(figure.draw(), HEIGHT, scale)


def _embedded(drawing: str, height: float, scale: str) -> str:
    return element(
        "svg",
        drawing,
        class_=f"drawing {scale}",
        viewBox=f"0 0 {WIDTH:g} {height:g}",
        font_family=FAMILY,
        role="img",
    )


def _spec(grid: Grid, chart: Chart) -> dict[str, object]:
    """Return what the script does not find in the page: places, words and parts of each point."""
    figure = figure_of(grid, chart, box=BOX)
    assert figure is not None  # the chart was chosen because it can be drawn
    return {
        "curves": [[name, numbers] for name, numbers in figure.curves.items()],
        "points": {number: list(values) for number, values in figure.values.items()},
        "start": grid.marks.get("preferred", next(iter(figure.values))),
        "words": [
            [series_name(grid, chart, n), *point_words(grid, chart, n)]
            for n in range(len(grid.rows))
        ],
        "parts": [
            [grid.columns[name].heading, [grid.number(n, name) or 0 for n in range(len(grid.rows))],
             grid.columns[name].unit]
            for name in chart.parts
        ],
    }  # fmt: skip


def _more(picture: Picture) -> str:
    notes = "".join(f"<li>{linked(note)}</li>" for note in picture.notes)
    rows = table(picture.grid, ())
    return f"<section><h2>{escape(picture.title)}</h2>{rows}<ul>{notes}</ul></section>"


def _notes(picture: Picture, sources: Mapping[str, str]) -> str:
    notes = "".join(f"<li>{linked(note)}</li>" for note in picture.notes)
    origins = terms([(escape(k), linked(str(v))) for k, v in sources.items()])
    return (f"<section><h2>Notes</h2><ul>{notes}</ul></section>" if notes else "") + (
        f"<section><h2>Sources</h2>{origins}</section>" if sources else ""
    )


def _colours() -> str:
    """Return the colours of the drawings as variables of the page, by the reader's scheme."""
    light, dark = (
        "".join(f"--{role}:{colour};" for role, colour in roles.items())
        for roles in (ROLES, DARK_ROLES)
    )
    names = "".join(f".hw-{role}{{color:var(--{role})}}" for role in ROLES)
    return (
        f":root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"
        f"{names}.hw-hollow{{fill:var(--page)}}.hw-halo{{stroke:var(--page)}}\n"
    )


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text("utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _inert(text: str) -> str:
    """Return JSON that cannot end the element it stands in and reads back the same."""
    return re.sub("[<\u2028\u2029\ud800-\udfff]", lambda match: f"\\u{ord(match[0]):04x}", text)
