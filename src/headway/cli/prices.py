"""`headway prices`: what accelerators cost, from whom, and when that was read."""

from __future__ import annotations

import click

from headway.cli.files import AnswerFiles, answer_files
from headway.cli.options import prices_option
from headway.cli.show import show
from headway.hardware.catalogue import ALL, find_clusters
from headway.hardware.price import find_prices
from headway.hardware.reports import prices_report


@click.command()
@click.option(
    "--on",
    default=ALL,
    metavar="NAMES",
    help="Accelerators, comma-separated: names, 8xH100, clouds' instances, .toml files.",
)
@prices_option
@answer_files
def prices(on: str, prices: str | None, files: AnswerFiles) -> None:
    """List the prices of accelerators by kind and provider, with dates and sources.

    With --prices FILE its quotes stand beside the ratio to the usual price that ships.
    """
    book = find_prices(prices)
    show(prices_report(find_clusters(on, prices=book), book), files)
