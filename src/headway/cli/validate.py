"""`headway validate`: error and interval coverage of the calibrated model."""

from __future__ import annotations

from pathlib import Path

import click

from headway.cli.calibrate import served, served_options
from headway.cli.files import AnswerFiles, answer_files
from headway.cli.options import calibration_option
from headway.cli.show import show
from headway.errors import InputError
from headway.measure.accuracy import score, shipped_accuracy
from headway.measure.calibrate import read_serving_points
from headway.steptime.calibration import Calibration


@click.command()
@served_options(required=False)
@calibration_option
@click.option("--by/--no-by", default=False, help="Also by group and old source.")
@answer_files
def validate(
    benchmarks: tuple[Path, ...],
    model: str | None,
    on: str | None,
    engine: str | None,
    precision: str | None,
    calibration: Calibration | None,
    by: bool,
    files: AnswerFiles,
    **degrees: int | None,
) -> None:
    """Print how far the calibrated model is off, and how often its intervals hold.

    Without FILES: on points it had not seen, as shipped; each split leaves out whole groups, one
    accelerator, one model, or pairs of both. With FILES (benchmark results, as for calibrate) and
    what they were measured on: on these.
    """
    if not benchmarks:
        report = shipped_accuracy()
        show(report, files, [i for i, row in enumerate(report.rows) if by or row.by == "all"])
        return
    if model is None or on is None or engine is None:
        raise InputError("FILES need --model, --on and --engine: what they were measured on")
    deployment = served(model, on, engine, precision, degrees)
    points = read_serving_points(benchmarks, deployment=deployment)
    show(score(points, calibration), files)
