"""`headway frontier`: speed per user against cost per token."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from headway.cli.files import AnswerFiles, answer_files
from headway.cli.options import COUNT, demand_option, pipeline_option
from headway.cli.serving_options import (
    PlaceOptions,
    RequestOptions,
    place_options,
    request_options,
)
from headway.cli.show import show
from headway.frontier.answer import frontier_of
from headway.report.report import Report

ROWS_SHOWN = 12


@click.command()
@place_options
@request_options
@click.option("--concurrency", type=COUNT, help="The only number of requests at once considered.")
@demand_option
@click.option("--max-accelerators", type=COUNT, default="1024", help="Largest engine considered.")
@pipeline_option
@click.option("--all", "show_all", is_flag=True, help="Print every point of the front.")
@answer_files
def frontier(
    place: PlaceOptions,
    requests: RequestOptions,
    concurrency: int | None,
    demand: float | None,
    max_accelerators: int,
    pipeline: bool,
    show_all: bool,
    files: AnswerFiles,
) -> None:
    """Print the frontier of MODEL (a catalogue name or a path to config.json).

    Layouts and numbers of requests at once are evaluated, degrees being powers of two or, for tp,
    divisors of the heads; the points that no other beats in both speed and cost are kept. The
    preferred point has the largest speed^3/cost.
    """
    questions = [
        replace(
            requests.question(place, place.engine_on(cluster)),
            concurrency=concurrency,
            demand_tok_per_s=demand,
            max_accelerators=max_accelerators,
            pipeline=pipeline,
        )
        for cluster in place.clusters
    ]
    report = frontier_of(questions, place.clusters)
    show(report, files, None if show_all else representative(report))


def representative(report: Report[Any]) -> list[int]:
    """Return marked rows, and of each accelerator's front enough rows to see its shape."""
    names = [row.accelerator for row in report.rows]
    each = max(3, ROWS_SHOWN // len(set(names)))
    chosen = set(report.marks.values())
    for name in set(names):
        own = [place for place, other in enumerate(names) if other == name]
        chosen |= {own[round(k * (len(own) - 1) / (each - 1))] for k in range(each)}
    return sorted(chosen)
