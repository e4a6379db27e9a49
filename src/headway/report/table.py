"""The rows of a report as an HTML table, whole and escaped."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from html import escape

from headway.report.kinds import marks_by_row
from headway.report.report import Report, Row, Value
from headway.report.words import UNKNOWN, columns, heading, shown, with_interval

FEW = 3
ENDS = ("", "_lower", "_upper")
_LINK = re.compile(r"https?://[^\s<>\"'`]*[^\s<>\"'`.,;:!?)\]]")


def table(report: Report, kept: Collection[str]) -> str:
    """All rows; an interval stands beside its value, and what never varies once above the table.

    Few rows that no chart refers to stand side by side, their columns one below another.

    Args:
        report: whose rows they are.
        kept: the columns that stay in the table even if they never vary.

    """
    keys = columns(report.rows)
    if not keys:
        return "<p>No rows.</p>"
    if len(report.rows) <= FEW and not kept:
        return _upright(report, keys)
    same = [key for key in keys if key not in kept and _constant(report, key)]
    keys = [key for key in keys if key not in same]
    head = "".join(_heading(heading(key), key) for key in keys)
    marks = marks_by_row(report)
    body = "\n".join(
        f'<tr data-row="{n}"><th scope="row"><span class="number">{n}</span>'
        f"{_badges(marks.get(n, ()))}</th>{''.join(_cell(row, key) for key in keys)}</tr>"
        for n, row in enumerate(report.rows)
    )
    return (
        _once(report, same)
        + '<div class="scroll" tabindex="0" role="region" aria-labelledby="rows-title"><table>'
        f"<thead><tr>{_heading('row', 'row', 'ascending')}{head}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def terms(pairs: Iterable[tuple[str, str]]) -> str:
    """A list of what is called what, both already HTML."""
    return "<dl>" + "".join(f"<dt>{a}</dt><dd>{b}</dd>" for a, b in pairs) + "</dl>"


def linked(text: str) -> str:
    """``text`` as HTML in which web addresses can be followed."""
    parts, end = [], 0
    for match in _LINK.finditer(text):
        address = escape(match[0])
        parts.append(escape(text[end : match.start()]))
        parts.append(f'<a href="{address}" rel="noopener noreferrer">{address}</a>')
        end = match.end()
    return "".join([*parts, escape(text[end:])])


def exact(value: Value) -> str:
    """The value as it is, for whoever asks the question again."""
    return UNKNOWN if value is None else value if isinstance(value, str) else json.dumps(value)


def _constant(report: Report, key: str) -> bool:
    """Whether all of several rows say the same under ``key`` and its interval."""
    kinds = {json.dumps([row.get(f"{key}{end}") for end in ENDS]) for row in report.rows}
    return len(report.rows) > 1 and len(kinds) == 1


def _upright(report: Report, keys: Iterable[str]) -> str:
    marks = marks_by_row(report)
    numbers = "".join(
        f'<th scope="col">row {n}{_badges(marks.get(n, ()))}</th>' for n in range(len(report.rows))
    )
    lines = "\n".join(
        f'<tr><th scope="row" title="{escape(key)}">{escape(heading(key))}</th>'
        f"{''.join(_cell(row, key) for row in report.rows)}</tr>"
        for key in keys
    )
    head = f"<thead><tr><td></td>{numbers}</tr></thead>" if len(report.rows) > 1 or marks else ""
    return (
        f'<div class="scroll"><table class="upright">{head}\n<tbody>{lines}</tbody></table></div>'
    )


def _once(report: Report, keys: Iterable[str]) -> str:
    terms_ = "".join(
        f"<div><dt>{escape(heading(key))}</dt>"
        f"<dd>{escape(with_interval(report.rows[0], key))}</dd></div>"
        for key in keys
    )
    said = f'<p class="quiet">The same in every row:</p><dl class="same">{terms_}</dl>'
    return said if terms_ else ""


def _heading(text: str, key: str, sort: str = "none") -> str:
    return (
        f'<th scope="col" aria-sort="{sort}" title="{escape(key)}">'
        f'<button type="button">{escape(text)}</button></th>'
    )


def _badges(marks: Iterable[str]) -> str:
    """The marks of a row; "preferred:h200" reads "★ h200"."""
    badges = (re.sub("^preferred:?", "★ ", mark) for mark in marks)
    named = (badge if badge != "★ " else "★ preferred" for badge in badges)
    return "".join(f' <span class="badge">{escape(badge)}</span>' for badge in named)


def _cell(row: Row, key: str) -> str:
    value = row.get(key)
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    ends = {end: row[name] for end in ("lower", "upper") if (name := f"{key}_{end}") in row}
    exactly = ({"v": value} if numeric else {}) | {k: v for k, v in ends.items() if v is not None}
    attributes = "".join(f' data-{name}="{escape(exact(v))}"' for name, v in exactly.items())
    text, interval = shown(key, value), with_interval(row, key).removeprefix(shown(key, value))
    small = f" <small>{escape(interval.strip())}</small>" if interval else ""
    return f"<td{' class=num' if numeric else ''}{attributes}>{escape(text)}{small}</td>"
