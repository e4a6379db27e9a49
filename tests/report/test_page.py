import dataclasses
import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.report.page import page
from headway.report.report import Report
from headway.report.words import UNKNOWN, shown

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

    def report(self) -> Report:
        return Report.from_json("".join(self.text["report"]))


def hostile(frontier: Report, text: str) -> Report:
    rows = tuple({**row, "accelerator": text, text: text} for row in frontier.rows[:3])
    marks = {text: 0, f"preferred:{text}": 1, "preferred": 2}
    return Report(text, text, {text: text}, rows, marks, (text,), {text: text})


def test_a_page_holds_the_report_unchanged(frontier: Report, estimate: Report) -> None:
    for report in (frontier, estimate):
        assert Parsed(page(report)).report() == report


def test_a_page_shows_every_number_of_every_row(frontier: Report) -> None:
    html = page(frontier)
    lines = re.findall(r"<tr data-row.*?</tr>", html, re.DOTALL)
    same = html[html.index('<dl class="same">') : html.index("<table>")]
    assert len(lines) == len(frontier.rows)
    for n, (row, line) in enumerate(zip(frontier.rows, lines, strict=True)):
        assert f'data-row="{n}"' in line
        for key, value in row.items():
            assert shown(key, value) in line + same, key
            if isinstance(value, float):
                assert f'="{value!r}"' in line, key


def test_a_page_shows_marks_notes_sources_and_the_question(frontier: Report) -> None:
    html = page(frontier)
    for text in ("★ preferred", "★ h200-sxm", "cheapest", "fastest", "config.json of the model"):
        assert text in html
    for note in frontier.notes:
        assert note.split(", see")[0].replace("'", "&#x27;") in html
    for key, value in frontier.question.items():
        assert f"<dt>{key}</dt><dd>{UNKNOWN if value is None else value}</dd>" in html
    links = {attrs["href"] for attrs in Parsed(html).all("a")}
    assert links == {
        "https://example.org/notes?a=1&b=2",
        "https://example.org/h200-datasheet",
        "https://example.org/pricing",
    }


def test_a_page_needs_nothing_else(frontier: Report, estimate: Report) -> None:
    for html in (page(frontier), page(estimate)):
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
def test_hostile_text_is_inert(frontier: Report, text: str) -> None:
    for kind in ("frontier", "another"):
        report = dataclasses.replace(hostile(frontier, text), kind=kind)
        plain = dataclasses.replace(hostile(frontier, "plain"), kind=kind)
        parsed, expected = Parsed(page(report)), Parsed(page(plain))
        tags = [tag for tag, _ in parsed.elements if tag != "a"]
        assert tags == [tag for tag, _ in expected.elements]
        assert not [key for _, attrs in parsed.elements for key in attrs if key.startswith("on")]
        assert all(str(attrs["href"]).startswith("https://") for attrs in parsed.all("a"))
        assert parsed.report() == report


VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)
ROWS = st.lists(
    st.dictionaries(
        st.sampled_from(["accelerator", "usd_per_mtok", "tok_per_s_per_user", "on_front", "step_s"])
        | st.text(max_size=8),
        VALUES | st.text(max_size=8),
        max_size=6,
    ),
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["frontier", "estimate", "laws"]), st.text(max_size=20), ROWS)
def test_any_report_makes_a_page_that_reads_back(
    kind: str, title: str, rows: list[dict[str, str | int | float | bool | None]]
) -> None:
    report = Report(kind, title, {}, tuple(rows), {"preferred": 0} if rows else {})
    assert Parsed(page(report)).report() == report


def test_reports_without_a_chart_render_plainly(estimate: Report) -> None:
    bare: Report = Report("laws", "t", {}, ({},))
    for report in (estimate, dataclasses.replace(estimate, rows=()), bare):
        html = page(report)
        assert "uPlot" not in html
        assert json.loads("".join(Parsed(html).text["chart-spec"])) is None
    assert "12.3 ms" in page(estimate)


def test_few_rows_stand_side_by_side_and_lose_nothing(frontier: Report) -> None:
    report = dataclasses.replace(frontier, kind="estimate", rows=frontier.rows[:3], marks={"a": 1})
    html = page(report)
    for row in report.rows:
        for value in row.values():
            assert not isinstance(value, float) or f'="{value!r}"' in html
    assert "row 1 <span" in html
