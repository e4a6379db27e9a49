from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields, replace
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.report.chart import Chart
from headway.report.column import column
from headway.report.estimate import Estimate
from headway.report.report import Report

HOSTILE = (
    "</script><script>window.hit=1</script>",
    '"><img src=x onerror=window.hit=1>',
    "'\"<!--<script>-->",
    "</title></style></textarea><svg onload=window.hit=1>",
    "javascript:window.hit=1",
    'https://example.org/"onmouseover="window.hit=1',
    "${title} $policy $$ {0} %s \\u003c",
    "\u2028\u2029\x00\ud800\u202e<b>",
)


class Parsed(HTMLParser):
    """The elements of a page, and the text of those that hold any."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        tag, attrs = self.elements[-1] if self.elements else ("", {})
        self.text.setdefault(str(attrs.get("id") or tag), []).append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]

    def report_text(self) -> str:
        return "".join(self.text["report"])


def hostile(frontier: Report[Any], text: str, is_drawn: bool) -> Report[Any]:
    rows = tuple(replace(row, accelerator=text, model=text) for row in frontier.rows[:3])
    return Report(
        kind=text,
        title=text,
        question={text: text},
        rows=rows,
        marks={text: 0, f"preferred:{text}": 1, "preferred": 2},
        notes=(text,),
        sources={text: text},
        charts=frontier.charts if is_drawn else (),
    )


def test_a_page_holds_the_report_unchanged(frontier: Report[Any], estimate: Report[Any]) -> None:
    for report in (frontier, estimate):
        text = Parsed(report.html()).report_text()
        assert json.loads(text) == json.loads(report.to_json())
        assert Report.from_json(text).html() == report.html()


def test_a_page_shows_every_number_of_every_row(frontier: Report[Any]) -> None:
    html = frontier.html()
    lines = re.findall(r"<tr data-row.*?</tr>", html, re.DOTALL)
    same = html[html.index('<dl class="same">') : html.index("<table>")]
    assert len(lines) == len(frontier.rows)
    for n, (row, line) in enumerate(zip(frontier.rows, lines, strict=True)):
        assert f'data-row="{n}"' in line
        for name, own in frontier.columns.items():
            value = getattr(row, name)
            assert own.format(value) in line + same, name
            if isinstance(value, float):
                assert f'="{value!r}"' in line, name
            if isinstance(value, Estimate):
                assert own.format_range(value) in line + same
                assert f'="{value.lower!r}"' in line


def test_a_page_shows_marks_notes_sources_and_the_question(frontier: Report[Any]) -> None:
    html = frontier.html()
    for text in ("★ preferred", "★ h200-sxm", "cheapest", "fastest", "config.json of the model"):
        assert text in html
    for note in frontier.notes:
        assert note.split(", see")[0].replace("'", "&#x27;") in html
    for key, value in frontier.question.items():
        assert f"<dt>{key}</dt><dd>{'-' if value is None else value}</dd>" in html
    links = {attrs["href"] for attrs in Parsed(html).all("a")}
    assert links == {
        "https://example.org/notes?a=1&b=2",
        "https://example.org/h200-datasheet",
        "https://example.org/pricing",
    }


def test_a_page_explains_its_columns(frontier: Report[Any]) -> None:
    html = frontier.html()
    for own in frontier.columns.values():
        assert f'title="{own.meaning}"' in html


def test_a_page_needs_nothing_else(frontier: Report[Any], estimate: Report[Any]) -> None:
    for html in (frontier.html(), estimate.html()):
        parsed = Parsed(html)
        for tag, attrs in parsed.elements:
            assert not {"src", "srcset", "data", "action", "poster", "style"} & attrs.keys(), tag
            assert tag == "a" or attrs.get("href") in (None, "data:,")
        assert {"iframe", "object", "embed", "base", "img"}.isdisjoint(
            t for t, _ in parsed.elements
        )
        style, script = "".join(parsed.text["style"]), "".join(parsed.text["script"])
        assert not re.search(r"@import|url\(", style)
        assert not re.search(
            r"\bfetch\(|XMLHttpRequest|WebSocket|EventSource|sendBeacon|import\(", script
        )
        (policy,) = [
            str(a["content"]) for a in parsed.all("meta") if "content" in a and "http-equiv" in a
        ]
        assert policy.startswith("default-src 'none'; img-src data:;")
        assert "unsafe" not in policy


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_inert(frontier: Report[Any], text: str) -> None:
    for is_drawn in (True, False):
        report = hostile(frontier, text, is_drawn)
        parsed = Parsed(report.html())
        expected = Parsed(hostile(frontier, "plain", is_drawn).html())
        drawn = ("a", "tspan", "text", "polyline", "g")  # labels go where there is room
        tags = [tag for tag, _ in parsed.elements if tag not in drawn]
        assert tags == [tag for tag, _ in expected.elements if tag not in drawn]
        assert not [key for _, attrs in parsed.elements for key in attrs if key.startswith("on")]
        assert all(str(attrs["href"]).startswith("https://") for attrs in parsed.all("a"))
        assert Report.from_json(parsed.report_text()).to_json() == report.to_json()


@dataclass(frozen=True, slots=True)
class AnyRow:
    series: str | None = column("series", "a line")
    x: Estimate | float | int | None = column("x", "across")
    y: Estimate | float | int | None = column("y", "up")
    is_front: bool | None = column("front", "none beats it")


NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.none()
ROWS = st.lists(
    st.builds(AnyRow, st.none() | st.text(max_size=8), NUMBERS, NUMBERS, st.none() | st.booleans()),
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=20), ROWS, st.booleans())
def test_any_report_makes_a_page_that_reads_back(title: str, rows: list[AnyRow], log: bool) -> None:
    report = Report(
        kind="k",
        title=title,
        question={},
        rows=tuple(rows),
        marks={"preferred": 0} if rows else {},
        charts=(Chart(x="x", y="y", series="series", front="is_front", log=log),),
    )
    assert json.loads(Parsed(report.html()).report_text()) == json.loads(report.to_json())


def test_reports_without_a_chart_render_plainly(estimate: Report[Any]) -> None:
    for report in (estimate, replace(estimate, rows=())):
        html = report.html()
        assert "<svg" not in html
        assert json.loads("".join(Parsed(html).text["chart-spec"])) is None
    assert ">12.3</td>" in estimate.html()


def test_few_rows_stand_side_by_side_and_lose_nothing(frontier: Report[Any]) -> None:
    report = replace(frontier, rows=frontier.rows[:3], marks={"a": 1}, charts=())
    html = report.html()
    for row in report.rows:
        for f in fields(row):
            value = getattr(row, f.name)
            assert not isinstance(value, float) or f'="{value!r}"' in html
    assert "row 1 <span" in html


def test_a_notebook_shows_the_picture_and_the_rows(
    frontier: Report[Any], estimate: Report[Any]
) -> None:
    assert frontier.svg() in frontier._repr_html_()
    assert "<table" in frontier._repr_html_()
    assert "<svg" not in estimate._repr_html_()
    assert estimate.title in estimate._repr_html_()
