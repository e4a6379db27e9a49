"""`headway explain`: where each millisecond of a served token goes, and what would change it."""

from __future__ import annotations

import click

from headway.cli.disaggregate import AUTO, StageOptions, stage_options
from headway.cli.files import AnswerFiles, answer_files
from headway.cli.serving_options import (
    LayoutOptions,
    LoadOptions,
    PlaceOptions,
    layout_options,
    load_options,
    place_options,
)
from headway.cli.show import show
from headway.errors import InputError
from headway.serving.disaggregated_report import explain_split


@click.command()
@place_options
@layout_options
@load_options
@stage_options
@answer_files
def explain(
    place: PlaceOptions,
    layout: LayoutOptions,
    requests: LoadOptions,
    split: StageOptions,
    files: AnswerFiles,
) -> None:
    """Print where the time of a token of MODEL under load goes, and what would change it.

    Takes the arguments of headway estimate.
    """
    deployment = layout.deployment(place, requests.prompt + requests.output)
    if split.disaggregate is None:
        split.check_unused()
        show(deployment.serve(requests.load).explain(), files)
        return
    if split.disaggregate == AUTO:
        raise InputError("explain takes one split, such as --disaggregate 2x1; estimate finds it")
    show(explain_split(split.stages(deployment, place), requests.load), files)
