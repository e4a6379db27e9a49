"""How reports are shown: a table for people on stdout, files for programs and for looking."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headway.cli.files import AnswerFiles
from headway.report.files import write_together
from headway.report.report import Report, Row, Value

if TYPE_CHECKING:
    from rich.console import RenderableType

_MOST_WIDE = 100_000
Column = tuple[str, str, Callable[[Row], str]]


def show(report: Report[Any], files: AnswerFiles, rows: Iterable[int] | None = None) -> None:
    """Print ``report`` (its table with ``rows`` only), and write the files that were asked for.

    Nothing but JSON is printed where JSON goes to stdout. Every file is made before the first is
    written.
    """
    contents: dict[Path, str | bytes] = {}
    if files.json not in (None, "-"):
        contents[Path(str(files.json))] = report.to_json()
    if files.html is not None:
        contents[files.html] = report.html()
    if files.png is not None:
        contents[files.png] = report.png()
    if files.csv is not None:
        contents[files.csv] = report.to_csv()
    write_together(contents)

    if files.json == "-":
        click.echo(report.to_json().encode(), nl=False)  # UTF-8 whatever the terminal has
        return
    click.echo(report.summary(rows))
    for path in contents:
        click.echo(f"wrote {path}", err=True)


def deliver(
    report: Report[Any],
    columns: Sequence[Column],
    json_path: str | None,
    html_path: Path | None,
    png_path: Path | None,
    shown: Iterable[int] | None = None,
) -> None:
    """Write the files that were asked for; print a table unless JSON goes to stdout.

    ``shown`` are the rows of the table, all by default; files hold every row.
    """
    with delivering(report, json_path, html_path, png_path) as printing:
        if printing:
            print_table(report, columns, shown)


def deliver_facts(
    report: Report[Any],
    facts: Sequence[tuple[str, str, str]],
    json_path: str | None,
    html_path: Path | None,
    png_path: Path | None,
) -> None:
    """As `deliver`, for one row: labels, values and remarks, one to a line."""
    with delivering(report, json_path, html_path, png_path) as printing:
        if printing:
            wide = max(len(label) for label, _, _ in facts)
            value_wide = max(len(value) for _, value, _ in facts)
            for label, value, remark in facts:
                click.echo(f"{label:<{wide}}  {value:<{value_wide}}  {remark}".rstrip())


@contextmanager
def delivering(
    report: Report[Any], json_path: str | None, html_path: Path | None, png_path: Path | None
) -> Iterator[bool]:
    """Make every file before the first is written; say whether there is something to print."""
    files: dict[Path, str | bytes] = {}
    if json_path not in (None, "-"):
        files[Path(str(json_path))] = report.to_json()
    if html_path is not None:
        files[html_path] = report.html()
    if png_path is not None:
        files[png_path] = report.png()
    write_together(files)
    if json_path == "-":
        click.echo(report.to_json().encode(), nl=False)  # UTF-8 whatever the terminal has
        yield False
        return
    click.echo(f"{report.title}\n")
    yield True
    click.echo("".join(f"\n* {note}" for note in report.notes))
    for path in files:
        click.echo(f"wrote {path}", err=True)


def print_table(
    report: Report[Any], columns: Sequence[Column], shown: Iterable[int] | None = None
) -> None:
    """Print the rows ``shown`` with their marks; outside a terminal, in full width."""
    from rich.table import Table

    marks: dict[int, list[str]] = {}
    for mark, row_number in report.marks.items():
        marks.setdefault(row_number, []).append(mark)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for side, title, _ in columns:
        table.add_column(title, justify="left" if side == "<" else "right", no_wrap=True)
    if marks:
        table.add_column("", no_wrap=True)
    for i in range(len(report.rows)) if shown is None else shown:
        cells = [text(report.rows[i]) for _, _, text in columns]
        own = [", ".join(marks.get(i, []))] if marks else []
        table.add_row(*cells, *own, style="bold" if i in marks else None)
    print_rich(table)


def print_rich(table: RenderableType) -> None:
    """Print a rich table in full: a narrow terminal wraps lines, and no figure is ever cut."""
    from rich.console import Console

    terminal = Console(highlight=False, markup=False)
    wide = terminal.measure(table, options=terminal.options.update_width(_MOST_WIDE)).maximum
    if terminal.is_terminal:
        terminal.width = max(terminal.width, wide)
        terminal.print(table)
        return
    console = Console(width=wide, highlight=False, markup=False, force_terminal=False)
    with console.capture() as captured:
        console.print(table)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def number(value: Value, digits: int = 3) -> str:
    """``value``, if not whole with ``digits`` significant digits; a dash where it is not known."""
    if value is None:
        return "-"
    if isinstance(value, str | bool):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    size = abs(value)
    if size != 0 and not 1e-3 <= size < 1e6:
        return f"{value:.{digits - 1}e}"
    if size >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{float(f'{value:.{digits}g}'):.{_decimals(size, digits)}f}"


def _decimals(size: float, digits: int) -> int:
    return digits - 1 if size == 0 else max(0, digits - 1 - math.floor(math.log10(size)))


def layout(row: Row) -> str:
    """Degrees of parallelism as tp/pp/dp/ep, two-dimensional tensor layouts as tp4x2."""
    rows, tp = row["rows"], row["tp"]
    if isinstance(rows, int) and isinstance(tp, int) and rows > 1:
        tensor = f"{tp // rows}x{rows}"
    else:
        tensor = number(tp)
    return "/".join([tensor, *(number(row[degree]) for degree in ("pp", "dp", "ep"))])


def drafting(row: Row) -> str:
    """Drafted tokens and where they are drafted: ``3 @ tp8`` or ``3 @ +tp1`` (own accelerators)."""
    if not row["draft_tokens"]:
        return "-"
    plus = "+" if row["draft_placement"] == "own accelerators" else ""
    return f"{row['draft_tokens']} @ {plus}tp{number(row['draft_tp'])}"


def interval(row: Row, name: str) -> str:
    """The range of a quantity: from the hardware's bound to poor kernels."""
    lower, upper = row[f"{name}_lower"], row[f"{name}_upper"]
    return "-" if lower is None else f"{number(lower, 2)}..{number(upper, 2)}"
