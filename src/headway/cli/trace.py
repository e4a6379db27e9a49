"""`headway trace`: public traces become our columns."""

from __future__ import annotations

from pathlib import Path

import click

from headway.cli.files import AnswerFiles, answer_files
from headway.cli.options import COUNT, FILE
from headway.cli.show import show
from headway.workload.trace_formats import find_format, formats_report, trace_report
from headway.workload.traces import write_trace


@click.group()
def trace() -> None:
    """Read traces that others publish."""


@trace.command("import")
@click.argument("format", metavar="FORMAT")
@click.argument("file", type=FILE)
@click.option(
    "-o",
    "target",
    type=FILE,
    metavar="FILE",
    help="Where to write: .csv, or .jsonl to keep prefix hashes. Default: FILE with .trace.jsonl.",
)
@click.option("--num-requests", type=COUNT, help="Only the first ones.")
@answer_files
def import_trace(
    format: str, file: Path, target: Path | None, num_requests: int | None, files: AnswerFiles
) -> None:
    """Read FILE in FORMAT and write it in columns that `headway simulate` reads."""
    requests = find_format(format).read(file)
    if num_requests is not None:
        requests = requests.head(num_requests)
    target = target or file.with_suffix(".trace.jsonl")
    write_trace(requests, target)
    show(trace_report(requests, format), files)
    click.echo(f"wrote {target}", err=True)


@trace.command("formats")
@answer_files
def formats(files: AnswerFiles) -> None:
    """Say which formats are read, and where their traces are found."""
    show(formats_report(), files)
