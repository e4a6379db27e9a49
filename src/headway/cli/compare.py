"""`headway compare`: what was measured, against models on reference hardware."""

from __future__ import annotations

from pathlib import Path

import click

from headway.cli.files import AnswerFiles, answer_files
from headway.cli.ideal import footing_options
from headway.cli.options import FILE
from headway.cli.show import show
from headway.ideal.compare import Footing, compare_report


@click.command()
@click.argument("profiles", nargs=-1, required=True, type=FILE)
@click.option("--against", "models", multiple=True, metavar="MODEL", help="A model, or several.")
@footing_options
@answer_files
def compare(
    profiles: tuple[Path, ...], models: tuple[str, ...], footing: Footing, files: AnswerFiles
) -> None:
    """Hold PROFILES, which `headway profile` wrote, against models on reference hardware.

    Measurements of an engine stand beside the models. The time of an endpoint is split into what is
    the model, the software, contention, queue and network.
    """
    show(compare_report(profiles, models, footing), files)
