"""A report as one HTML file that needs nothing else: no network, no server, no other file.

The policy in its head lets a browser run the page's own script and nothing more. The report itself
is in the page, unchanged, so that the page can be read back.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from headway.report.bars import Bar, bars_of, svg
from headway.report.kinds import COMPONENTS, Chart, callouts, chart_of, layout, plain
from headway.report.report import Report
from headway.report.table import exact, linked, table, terms
from headway.report.words import heading

_ASSETS = files("headway.report") / "assets"


def page(report: Report[Any]) -> str:
    """The whole of ``report`` as one self-contained HTML file; a chart where its kind has one."""
    text, chart = report.to_json(), chart_of(report)
    bars = bars_of(report)
    report = plain(report)
    style = _asset("style.css") + (_asset("uPlot.min.css") if chart else "")
    scripts = [
        "table.js",
        *(("uPlot.iife.min.js", "draw.js", "detail.js", "app.js") if chart else ()),
    ]
    script = "\n".join(map(_asset, scripts))
    kept = (chart.series, chart.x.key, chart.y.key) if chart else ()
    num_rows = len(report.rows)
    html = Template(_asset("page.html")).substitute(
        policy="default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src {_hash(style)}; script-src {_hash(script)}",
        title=escape(report.title),
        kind=escape(report.kind),
        num_rows=f"{num_rows:,} row" + "s" * (num_rows != 1),
        style=style,
        script=script,
        licence=f"<!-- uPlot\n{_asset('uPlot.LICENSE')}-->" if chart else "",
        chart=_chart(report, chart) if chart else _bars(bars),
        table=table(report, kept),
        notes=_notes(report),
        question=terms([(escape(k), escape(exact(v))) for k, v in report.question.items()]),
        report=_inert(text),
        spec=_inert(json.dumps(_spec(report, chart) if chart else None)),
    )
    return html.encode("utf-8", "replace").decode()  # half of a surrogate pair is no letter


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text("utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _inert(text: str) -> str:
    """JSON that cannot end the element it stands in and reads back the same."""
    return re.sub("[<\u2028\u2029\ud800-\udfff]", lambda match: f"\\u{ord(match[0]):04x}", text)


def _chart(report: Report, chart: Chart) -> str:
    keys = "Arrow keys move from point to point, Enter pins one, Escape lets it go."
    return Template(_asset("chart.html")).substitute(
        legend=escape(chart.legend_of(report)),
        series=escape(heading(chart.series)),
        x=escape(chart.x.label.partition(",")[0]),
        y=escape(chart.y.label.partition(",")[0]),
        y_label=escape(chart.y.label),
        unit=escape(chart.x.after.strip()),
        label=escape(f"{report.title} {keys}"),
    )


def _bars(bars: tuple[Bar, ...]) -> str:
    says = "each part begins where the one above it ends; lines: 90% intervals"
    return (
        f'<figure><figcaption class="quiet">{says}</figcaption>{svg(bars)}</figure>' if bars else ""
    )


def _notes(report: Report) -> str:
    notes = "".join(f"<li>{linked(note)}</li>" for note in report.notes)
    sources = terms([(escape(k), linked(str(v))) for k, v in report.sources.items()])
    return (f"<section><h2>Notes</h2><ul>{notes}</ul></section>" if notes else "") + (
        f"<section><h2>Sources</h2>{sources}</section>" if report.sources else ""
    )


def _spec(report: Report, chart: Chart) -> dict[str, object]:
    """What the script does not find in the report: columns, order and words."""
    present = {key for row in report.rows for key in row}
    axes = {"x": chart.x, "y": chart.y}
    return {
        name: {"key": axis.key, "label": axis.label, "before": axis.before}
        for name, axis in axes.items()
    } | {
        "curves": list(chart.curves(report).items()),
        "front": chart.front_of(report),
        "doubts": chart.doubts,
        "callouts": callouts(report, chart),
        "words": [(chart.name(row), chart.say(row), layout(row)) for row in report.rows],
        "parts": [(key, heading(key)) for key in COMPONENTS if key in present],
    }
