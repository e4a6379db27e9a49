"""`headway prices`: what accelerators cost, from whom, and when that was read."""

from __future__ import annotations

import click

from headway.cli.files import AnswerFiles, answer_files
from headway.cli.show import show
from headway.hardware.catalogue import ALL, find_clusters
from headway.hardware.reports import prices_report


@click.command()
@click.option(
    "--on",
    default=ALL,
    metavar="NAMES",
    help="Accelerators, comma-separated: names, 8xH100, clouds' instances, .toml files.",
)
@answer_files
def prices(on: str, files: AnswerFiles) -> None:
    """List the prices of accelerators with their terms, dates and sources."""
    show(prices_report(find_clusters(on)), files)
