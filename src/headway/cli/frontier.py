"""`headway frontier`: speed per user against cost per token."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from headway.cli.options import (
    asked,
    number_option,
    question_options,
    report_options,
)
from headway.cli.show import Column, deliver, drafting, interval, layout, number
from headway.frontier.answer import frontier as frontier_report
from headway.report.report import Report

ROWS_SHOWN = 12


@click.command()
@question_options
@number_option(
    "--demand",
    "demand in output tokens/s",
    "Most output tokens per second that one engine can sell.",
)
@number_option(
    "--max-accelerators",
    "number of accelerators",
    "Largest engine considered.",
    whole=True,
    default="1024",
)
@click.option("--all", "show_all", is_flag=True, help="Print every point of the front.")
@report_options
def frontier(
    pipeline: bool,
    demand: float | None,
    max_accelerators: int,
    show_all: bool,
    json_path: str | None,
    html_path: Path | None,
    png_path: Path | None,
    **options: Any,
) -> None:
    """Print the frontier of MODEL (a catalogue name or a path to config.json).

    Layouts and batches are priced, degrees being powers of two or, for tp, divisors of the heads;
    the points that no other beats in both speed and cost are kept. The preferred point has the
    largest speed^3/price.
    """
    given = asked(**options)
    report = frontier_report(
        replace(
            given.question,
            demand_tok_per_s=demand,
            most_accelerators=max_accelerators,
            pipeline=pipeline,
        ),
        given.clusters,
    )
    shown = range(len(report.rows)) if show_all else representative(report)
    deliver(report, columns(report), json_path, html_path, png_path, shown)


def columns(report: Report) -> list[Column]:
    """The table's columns; those that no row fills are left out."""
    found: list[Column] = [
        ("<", "accelerator", lambda row: str(row["accelerator"])),
        (">", "tok/s/user", lambda row: number(row["tok_per_s_per_user"])),
        (">", "$/Mtok", lambda row: number(row["usd_per_mtok"])),
        (">", "range", lambda row: interval(row, "usd_per_mtok")),
        (">", "accel.", lambda row: number(row["num_accelerators"])),
        (">", "tp/pp/dp/ep", layout),
        (">", "batch", lambda row: number(row["batch"])),
        (">", "draft", drafting),
        (">", "MFU", lambda row: number(row["mfu"], 2)),
        (">", "MBU", lambda row: number(row["mbu"], 2)),
        ("<", "binds", lambda row: str(row["binds"])),
    ]
    return found if any(row["draft_tokens"] for row in report.rows) else found[:7] + found[8:]


def representative(report: Report) -> list[int]:
    """Marked rows, and of each accelerator's front enough rows to see its shape."""
    names = list(dict.fromkeys(row["accelerator"] for row in report.rows))
    each = max(3, ROWS_SHOWN // len(names))
    chosen = set(report.marks.values())
    for name in names:
        own = [i for i, row in enumerate(report.rows) if row["accelerator"] == name]
        chosen |= {own[round(k * (len(own) - 1) / (each - 1))] for k in range(each)}
    return sorted(chosen)
