"""`headway possible`: whether a claimed figure can be true."""

from __future__ import annotations

from dataclasses import replace

import click

from headway.cli.files import AnswerFiles, answer_files
from headway.cli.options import COUNT
from headway.cli.serving_options import (
    PlaceOptions,
    RequestOptions,
    TargetOptions,
    place_options,
    request_options,
    target_options,
)
from headway.cli.show import show
from headway.frontier.possible import possible_report


@click.command()
@place_options
@request_options
@target_options(cost_required=False)
@click.option("--concurrency", type=COUNT, help="The number of requests at once, if claimed.")
@answer_files
def possible(
    place: PlaceOptions,
    requests: RequestOptions,
    target: TargetOptions,
    concurrency: int | None,
    files: AnswerFiles,
) -> int:
    """Say whether MODEL can serve at a claimed speed and cost on an accelerator.

    Exits with 1 where the data sheet forbids the claim.
    """
    cluster = place.cluster
    question = requests.question(place, place.engine_on(cluster))
    report = possible_report(
        replace(question, concurrency=concurrency),
        cluster,
        tok_per_s=target.tok_s,
        usd_per_mtok_output=target.usd_per_mtok_output,
    )
    show(report, files)
    return 0 if report.rows[0].possible else 1
