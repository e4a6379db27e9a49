"""`headway what-if`: what would have to change to reach a target."""

from __future__ import annotations

import click

from headway.cli.files import AnswerFiles, answer_files
from headway.cli.serving_options import (
    PlaceOptions,
    RequestOptions,
    TargetOptions,
    place_options,
    request_options,
    target_options,
)
from headway.cli.show import show
from headway.frontier.what_if import Target
from headway.frontier.what_if import what_if as find_changes


@click.command()
@place_options
@request_options
@target_options(cost_required=True)
@answer_files
def what_if(
    place: PlaceOptions, requests: RequestOptions, target: TargetOptions, files: AnswerFiles
) -> int:
    """Say which change alone brings MODEL to a speed and cost: of hardware, price or model size.

    Exits with 1 where none does.
    """
    assert target.usd_per_mtok_output is not None  # the option is required
    cluster = place.cluster
    report = find_changes(
        requests.question(place, place.engine_on(cluster)),
        cluster,
        Target(target.tok_s, target.usd_per_mtok_output),
    )
    show(report, files)
    return 0 if any(row.factor is not None for row in report.rows) else 1
