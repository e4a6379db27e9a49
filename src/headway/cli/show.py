"""Every answer is shown the same way: text for people on stdout, files for programs and eyes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from headway.cli.files import AnswerFiles
from headway.report.files import write_together
from headway.report.report import Report


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
    else:
        click.echo(report.summary(rows))
    for path in contents:
        click.echo(f"wrote {path}", err=True)
