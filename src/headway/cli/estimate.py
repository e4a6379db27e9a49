"""`headway estimate`: one deployment under a load."""

from __future__ import annotations

from dataclasses import replace

import click

from headway.cli.disaggregate import AUTO, StageOptions, stage_options
from headway.cli.files import AnswerFiles, answer_files
from headway.cli.serving_options import (
    ApiOptions,
    LayoutOptions,
    LoadOptions,
    PlaceOptions,
    api_options,
    layout_options,
    load_options,
    place_options,
)
from headway.cli.show import show
from headway.errors import InputError
from headway.serving.report import estimate as estimate_report


@click.command()
@place_options
@layout_options
@load_options
@api_options
@stage_options
@answer_files
def estimate(
    place: PlaceOptions,
    layout: LayoutOptions,
    requests: LoadOptions,
    api: ApiOptions,
    split: StageOptions,
    files: AnswerFiles,
) -> None:
    """Print what a load takes on one deployment of MODEL: times, throughput, dollars, joules.

    Say the layout with --tp, --pp, --dp, --ep, or let --accelerators find the fastest. With
    neither, the fastest layout on as few accelerators as hold the model is taken.

    Several numbers after --concurrency or --users make a table and a picture; --disaggregate
    prefills and decodes on engines of their own.
    """
    load, context = requests.load, requests.prompt + requests.output
    if split.disaggregate is None:
        split.check_unused()
        show(estimate_report(layout.deployment(place, context), load, api.prices), files)
        return

    # Two stages have rows of their own, which a start without them does not pay for.
    from headway.serving.disaggregated_report import best_split, estimate_split

    total, layout = layout.accelerators, replace(layout, accelerators=None)
    stages = split.stages(layout.deployment(place, context), place)
    if split.disaggregate != AUTO:
        if total is not None:
            raise InputError("--accelerators goes with --disaggregate auto only")
        show(estimate_split(stages, load, api.prices), files)
        return
    if total is None:
        raise InputError("--disaggregate auto needs --accelerators, how many there are in all")
    show(best_split(stages, load, total, api.prices), files)
