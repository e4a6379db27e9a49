"""`headway tradeoff`: capability against efficiency."""

from __future__ import annotations

from pathlib import Path

import click

from headway.cli.files import AnswerFiles, answer_files
from headway.cli.options import FILE
from headway.cli.show import show
from headway.ideal.tradeoff import tradeoff_report


@click.command()
@click.argument("scores", type=FILE)
@click.option(
    "--metric",
    default="idealized_runtime",
    help="Column to keep low: a runtime, a cost, an energy.",
)
@click.option("--score", default="accuracy", help="Column to make high.")
@answer_files
def tradeoff(scores: Path, metric: str, score: str, files: AnswerFiles) -> None:
    """Print which models of SCORES are on the Pareto front of --score against --metric.

    SCORES is a CSV file with the columns model and, if there are several, scenario. Several rows of
    one model and scenario are averaged.
    """
    show(tradeoff_report(scores, metric, score), files)
