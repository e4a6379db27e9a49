"""`headway trace`: public traces become our columns."""

from __future__ import annotations

from pathlib import Path

import click

from headway.cli.options import number_option
from headway.workload.trace_formats import FORMATS, find_format
from headway.workload.traces import write_trace


@click.group()
def trace() -> None:
    """Read traces that others publish."""


@trace.command("import")
@click.argument("form", metavar="FORMAT")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write: .csv, or .jsonl to keep prefix hashes. Default: FILE with .trace.jsonl.",
)
@number_option("--requests", "requests", "Only the first ones.", whole=True)
def import_trace(form: str, file: Path, output: Path | None, requests: int | None) -> None:
    """Read FILE in FORMAT and write it in columns that `headway simulate` reads."""
    read = find_format(form).read(file)
    read = read if requests is None else read.head(requests)
    target = output or file.with_suffix(".trace.jsonl")
    write_trace(read, target)
    shared = "" if read.prefixes is None else f", hashes of {read.prefixes.tokens} tokens"
    click.echo(
        f"{len(read)} requests over {read.arrival_s[-1]:.0f} s, {read.rate_rps:.2f}/s, "
        f"prompts of {read.prompt_tokens.mean():.0f} and answers of "
        f"{read.output_tokens.mean():.0f} tokens on average{shared}"
    )
    click.echo(f"wrote {target}", err=True)


@trace.command("formats")
def formats() -> None:
    """Say which formats are read, and where their traces are found."""
    for name, form in FORMATS.items():
        click.echo(f"{name:<14}{form.what}\n{'':<14}{form.where}")
