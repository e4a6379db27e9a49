"""`headway validate`: held-out error and interval coverage of the calibrated model."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import click

from headway.cli.options import report_options
from headway.cli.show import Column, deliver, number
from headway.report.report import Report, Row


def _percent(name: str) -> Column:
    return (">", name.replace("_", " "), lambda row: _of(row, name))


def _of(row: Row, name: str) -> str:
    value = row[name]
    return "-" if value is None else f"{float(value) * 100:.1f}%"


COLUMNS: tuple[Column, ...] = (
    ("<", "left out", lambda row: str(row["split"])),
    ("<", "quantity", lambda row: str(row["quantity"])),
    ("<", "of", lambda row: f"{row['by']} {row['group']}".strip()),
    (">", "points", lambda row: number(row["points"])),
    _percent("mape"),
    _percent("median"),
    _percent("within_25"),
    _percent("bias"),
    _percent("coverage"),
    (">", "width", lambda row: f"x{number(row['width'])}"),
)


@click.command()
@click.option(
    "--data",
    "data_path",
    type=click.Path(exists=False, dir_okay=False, path_type=Path),
    help="Score anew on this measured.csv.gz (minutes); without it, show the scores that ship.",
)
@click.option("--by/--no-by", default=False, help="Also by group and old source.")
@report_options
def validate(
    data_path: Path | None,
    by: bool,
    json_path: str | None,
    html_path: Path | None,
    png_path: Path | None,
) -> None:
    """Print how far the calibrated model is off on points it had not seen, and what it covers.

    Each split leaves out whole groups: one accelerator, one model, or one pair of both.
    """
    if data_path is None:
        folder = resources.files("headway.steptime") / "coefficients"
        report = Report.from_json((folder / "accuracy.json").read_text("utf-8"))
    else:
        from headway.measure.validate import report as score_report
        from headway.measure.validate import score_all
        from headway.measure.validate_data import read_points
        from headway.measure.validate_static import read_static

        points = read_points(data_path)[0] + read_static(data_path)[0]
        report = score_report(points, list(score_all(points)))
    shown = [i for i, row in enumerate(report.rows) if by or row["by"] == "all"]
    deliver(report, COLUMNS, json_path, html_path, png_path, shown)
