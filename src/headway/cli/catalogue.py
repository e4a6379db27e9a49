"""`headway catalogue`: what is known by name, and where it was read."""

from __future__ import annotations

import click

from headway.cli.files import AnswerFiles, answer_files
from headway.cli.show import show
from headway.errors import UnknownNameError
from headway.hardware import catalogue as hardware
from headway.hardware.reports import (
    accelerator_report,
    accelerators_report,
    instances_report,
    stacks_report,
)
from headway.model import catalogue as models
from headway.model.reports import model_report, models_report


@click.group()
def catalogue() -> None:
    """Show the models and accelerators that are known by name."""


@catalogue.command("models")
@answer_files
def list_models(files: AnswerFiles) -> None:
    """List the models with their size and the memory of their KV cache."""
    show(models_report(models.names()), files)


@catalogue.command("accelerators")
@answer_files
def list_accelerators(files: AnswerFiles) -> None:
    """List the accelerators with their dense rates, memory and price."""
    show(accelerators_report(hardware.find_clusters(hardware.ALL)), files)


@catalogue.command("instances")
@answer_files
def list_instances(files: AnswerFiles) -> None:
    """List the clouds' instances whose names may be given instead of accelerators."""
    show(instances_report(), files)


@catalogue.command("stacks")
@answer_files
def list_stacks(files: AnswerFiles) -> None:
    """List which serving engine runs on which chips, in which formats, since when."""
    show(stacks_report(), files)


@catalogue.command("show")
@click.argument("name")
@answer_files
def show_one(name: str, files: AnswerFiles) -> None:
    """Show everything about the model or accelerator NAME, with its sources."""
    try:
        show(accelerator_report(name), files)
    except UnknownNameError:
        try:
            show(model_report(name), files)
        except UnknownNameError:
            valid_names = (*models.names(), *hardware.names())
            raise UnknownNameError("model or accelerator", name, valid_names) from None
