"""The rows of a report as an HTML table, whole and escaped."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from html import escape

from headway.report.column import UNKNOWN, Cell
from headway.report.estimate import Estimate
from headway.report.grid import Grid

FEW = 3
_LINK = re.compile(r"https?://[^\s<>\"'`]*[^\s<>\"'`.,;:!?)\]]")


def table(grid: Grid, chart_columns: Collection[str]) -> str:
    """Return all rows; what never varies stands once above the table.

    Few rows that no chart refers to stand side by side, their columns one below another.

    Args:
        grid: the rows.
        chart_columns: the columns that stay in the table even if they never vary.

    """
    if not grid.columns:
        return "<p>No rows.</p>"
    if len(grid.rows) <= FEW and not chart_columns:
        return _upright(grid)

    constant = [n for n in grid.columns if n not in chart_columns and _is_constant(grid, n)]
    names = [name for name in grid.columns if name not in constant]
    head = "".join(_heading(grid, name) for name in names)
    body = "\n".join(
        f'<tr data-row="{n}"><th scope="row"><span class="number">{n}</span>'
        f"{_badges(grid.marks_of(n))}</th>{''.join(_cell(grid, n, name) for name in names)}</tr>"
        for n in range(len(grid.rows))
    )
    return (
        _once(grid, constant)
        + '<div class="scroll" tabindex="0" role="region" aria-labelledby="rows-title"><table>'
        '<thead><tr><th scope="col" aria-sort="ascending"><button type="button">row</button></th>'
        f"{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def terms(pairs: Iterable[tuple[str, str]]) -> str:
    """Return a list of what is called what, both already HTML."""
    return "<dl>" + "".join(f"<dt>{a}</dt><dd>{b}</dd>" for a, b in pairs) + "</dl>"


def linked(text: str) -> str:
    """Return ``text`` as HTML in which web addresses can be followed."""
    parts, end = [], 0
    for match in _LINK.finditer(text):
        address = escape(match[0])
        parts.append(escape(text[end : match.start()]))
        parts.append(f'<a href="{address}" rel="noopener noreferrer">{address}</a>')
        end = match.end()
    return "".join([*parts, escape(text[end:])])


def exact(value: object) -> str:
    """Return a value as it is, for whoever asks the question again."""
    return UNKNOWN if value is None else value if isinstance(value, str) else json.dumps(value)


def _is_constant(grid: Grid, name: str) -> bool:
    """Return whether all of several rows have the same cell, intervals included."""
    return len(grid.rows) > 1 and len({repr(row.get(name)) for row in grid.rows}) == 1


def _upright(grid: Grid) -> str:
    numbers = range(len(grid.rows))
    heads = "".join(f'<th scope="col">row {n}{_badges(grid.marks_of(n))}</th>' for n in numbers)
    lines = "\n".join(
        f'<tr><th scope="row" title="{escape(column.meaning)}">{escape(column.title)}</th>'
        f"{''.join(_cell(grid, n, name) for n in numbers)}</tr>"
        for name, column in grid.columns.items()
    )
    has_head = len(grid.rows) > 1 or grid.marks
    head = f"<thead><tr><td></td>{heads}</tr></thead>" if has_head else ""
    return (
        f'<div class="scroll"><table class="upright">{head}\n<tbody>{lines}</tbody></table></div>'
    )


def _once(grid: Grid, names: Iterable[str]) -> str:
    """Return the columns that never vary, each once."""
    pairs = "".join(
        f'<div><dt title="{escape(grid.columns[name].meaning)}">'
        f"{escape(grid.columns[name].heading)}</dt><dd>{escape(grid.text(0, name))}"
        f"{_range(grid, 0, name)}</dd></div>"
        for name in names
    )
    intro = '<p class="quiet">The same in every row:</p>'
    return f'{intro}<dl class="same">{pairs}</dl>' if pairs else ""


def _heading(grid: Grid, name: str) -> str:
    column = grid.columns[name]
    return (
        f'<th scope="col" aria-sort="none" title="{escape(column.meaning or name)}">'
        f'<button type="button">{escape(column.title)}</button></th>'
    )


def _badges(marks: Iterable[str]) -> str:
    """Return the marks of a row; "preferred:h200" reads "★ h200"."""
    badges = (re.sub("^preferred:?", "★ ", mark) for mark in marks)
    names = (badge if badge != "★ " else "★ preferred" for badge in badges)
    return "".join(f' <span class="badge">{escape(name)}</span>' for name in names)


def _cell(grid: Grid, number: int, name: str) -> str:
    """Return one cell: rounded for people, exact in SI units for the script and the curious."""
    cell = grid.rows[number].get(name)
    exactly = _exact_numbers(cell)
    attributes = "".join(f' data-{key}="{escape(exact(v))}"' for key, v in exactly.items())
    kind = " class=num" if exactly else ""
    text = escape(grid.columns[name].format(cell))
    return f"<td{kind}{attributes}>{text}{_range(grid, number, name)}</td>"


def _exact_numbers(cell: Cell) -> dict[str, float]:
    if isinstance(cell, Estimate):
        return {"v": cell.expected, "lower": cell.lower, "upper": cell.upper}
    is_number = isinstance(cell, int | float) and not isinstance(cell, bool)
    return {"v": cell} if is_number and isinstance(cell, int | float) else {}


def _range(grid: Grid, number: int, name: str) -> str:
    between = grid.columns[name].format_range(grid.rows[number].get(name))
    return f" <small>({escape(between)})</small>" if between else ""
