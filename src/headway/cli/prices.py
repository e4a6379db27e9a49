"""`headway prices`: what accelerators cost, from whom, and when that was read."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import click

from headway.cli.files import AnswerFiles, answer_files
from headway.cli.options import prices_option
from headway.cli.show import show
from headway.hardware.catalogue import ALL, find_clusters
from headway.hardware.price import find_prices
from headway.hardware.reports import prices_report
from headway.money.clouds import book_of, cloud_offers, price_file
from headway.report.files import write_together


@click.group(invoke_without_command=True)
@click.option(
    "--on",
    default=ALL,
    metavar="NAMES",
    help="Accelerators, comma-separated: names, 8xH100, clouds' instances, .toml files.",
)
@prices_option
@answer_files
@click.pass_context
def prices(context: click.Context, on: str, prices: str | None, files: AnswerFiles) -> None:
    """List the prices of accelerators by kind and provider, with dates and sources.

    With --prices FILE its quotes stand beside the ratio to the usual price that ships.
    """
    if context.invoked_subcommand is None:
        book = find_prices(prices)
        show(prices_report(find_clusters(on, prices=book), book), files)


@prices.command()
@click.option(
    "-o",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("prices.toml"),
    metavar="FILE",
    help="Where they go.",
)
@answer_files
def update(path: Path, files: AnswerFiles) -> None:
    """Read today's prices of clouds into a file for --prices (extra 'clouds', a network)."""
    book = book_of(cloud_offers(), date.today().isoformat())
    write_together({path: price_file(book)})
    show(prices_report(find_clusters(",".join(book.quotes), prices=book), book), files)
    click.echo(f"wrote {path}", err=True)
