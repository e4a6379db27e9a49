"""`headway laws`: the scaling laws, fitted to frontiers."""

from __future__ import annotations

import click

from headway.cli.files import json_option
from headway.cli.show import Column, deliver, number
from headway.papers.erdil_2025.laws import laws as fit_laws
from headway.papers.erdil_2025.laws import our_frontiers, published_frontiers, report
from headway.report.report import Row

NUM_LAWS = 8


@click.command()
@click.option(
    "--as",
    "whose",
    type=click.Choice(["headway", "erdil-2025"]),
    default="headway",
    show_default=True,
    help="Whose frontiers.",
)
@json_option()
def laws(whose: str, json_path: str | None) -> None:
    """Fit speed against parameters, bandwidth, precision and generation of hardware."""
    from rich.console import Console
    from rich.progress import track

    found = fit_laws(our_frontiers if whose == "headway" else published_frontiers, whose)
    rows = list(
        track(
            found,
            description="fitting",
            total=NUM_LAWS,
            console=Console(stderr=True),
            transient=True,
        )
    )
    columns: list[Column] = [
        ("<", "law", lambda row: str(row["law"])),
        ("<", "over", lambda row: str(row["over"])),
        (">", "claim", lambda row: _signed(row, "claim")),
        (">", "fastest", lambda row: _signed(row, "at_fastest")),
        (">", "preferred", lambda row: _signed(row, "at_preferred")),
        (">", "fixed cost", lambda row: _signed(row, "at_fixed_cost")),
        (">", "accel.", lambda row: _signed(row, "accelerators_at_fixed_cost")),
        ("<", "verdict", lambda row: str(row["verdict"])),
    ]
    deliver(report(rows, whose), columns, json_path, None, None)


def _signed(row: Row, key: str) -> str:
    value = row.get(key)
    if value is None:
        return "-"
    ratio = row["law"] == "generation"
    return f"x{number(value)}" if ratio else f"{float(value):+.3f}"
