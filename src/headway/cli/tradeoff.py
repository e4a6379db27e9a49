"""`headway tradeoff`: capability against efficiency."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import click

from headway.cli.options import report_options
from headway.cli.show import Column, deliver, number
from headway.errors import InputError, UnknownNameError, reason
from headway.ideal.tradeoff import Standing, mean_ranks, notes, standings
from headway.report.report import Report, Row

NAMES = ("model", "scenario")


@click.command()
@click.argument("scores", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--metric",
    default="idealized_runtime",
    show_default=True,
    help="Column to keep low: a runtime, a cost, an energy.",
)
@click.option("--score", default="accuracy", show_default=True, help="Column to make high.")
@report_options
def tradeoff(
    scores: Path,
    metric: str,
    score: str,
    json_path: str | None,
    html_path: Path | None,
    png_path: Path | None,
) -> None:
    """Print which models of SCORES are on the Pareto front of --score against --metric.

    SCORES is a CSV file with the columns model and, if there are several, scenario. Several rows of
    one model and scenario are averaged.
    """
    rows, left_out = read_scores(scores, metric, score)
    found = standings(rows)
    report = report_of(found, scores, metric, score, left_out)
    deliver(report, columns(metric, score), json_path, html_path, png_path)


def read_scores(
    path: Path, metric: str, score: str
) -> tuple[list[tuple[str, str, float, float]], list[str]]:
    """Model, scenario, score and metric of every row, and the models that lack one of the two."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            table = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read {path}: {reason(error)}") from None
    if not table:
        raise InputError(f"{path} has no rows below its head")
    have = [name for name in table[0] if name]
    for name, option in (("model", ""), (metric, "--metric"), (score, "--score")):
        if name not in have:
            raise UnknownNameError(f"column{' for ' + option if option else ''}", name, have)
    rows, left_out = [], []
    for line, row in enumerate(table, 2):
        model, scenario = (row.get("model") or "").strip(), (row.get("scenario") or "").strip()
        cells = [(row[name] or "").strip() for name in (score, metric)]
        if not model:
            raise InputError(f"{path}, line {line}: no model is named")
        if any(cell.lower() in ("", "nan", "none", "na") for cell in cells):
            left_out.append(f"{model}{' in ' + scenario if scenario else ''}")
            continue
        values = []
        for name, cell in zip((score, metric), cells, strict=True):
            try:
                values.append(float(cell))
            except ValueError:
                raise InputError(
                    f"{path}, line {line}: {name} is {cell[:40]!r}, no number"
                ) from None
            if not math.isfinite(values[-1]):
                raise InputError(f"{path}, line {line}: {name} is not finite")
        rows.append((model, scenario, values[0], values[1]))
    if not rows:
        raise InputError(f"{path} has no row with both {score} and {metric}")
    return rows, sorted(set(left_out))


def report_of(
    found: tuple[Standing, ...], path: Path, metric: str, score: str, left_out: list[str]
) -> Report:
    """The standings as a report, best layer first within each scenario."""
    means = mean_ranks(found)
    said = notes(found)
    if left_out:
        shown = ", ".join(left_out[:6]) + (", ..." if len(left_out) > 6 else "")
        said.append(f"left out, without {score} or {metric}: {shown}")
    rows: list[Row] = [
        {
            "scenario": s.scenario or None,
            "model": s.model,
            score: s.score,
            metric: s.cost,
            "rows": s.num_rows,
            "on_front": s.on_front,
            "layer": s.layer,
            "rank": s.rank,
            "mean_rank": means.get(s.model),
            "beaten_by": s.beaten_by or None,
        }
        for s in found
    ]
    front = sum(standing.on_front for standing in found)
    return Report(
        "tradeoff",
        f"{score} against {metric}: {front} of {len(found)} on the front",
        {"scores": path.name, "metric": metric, "score": score},
        tuple(rows),
        notes=tuple(said),
        sources={"scores": str(path)},
    )


def columns(metric: str, score: str) -> list[Column]:
    """The table for people."""
    return [
        ("<", "scenario", lambda row: number(row["scenario"])),
        ("<", "model", lambda row: str(row["model"])),
        (">", score, lambda row: number(row[score])),
        (">", metric, lambda row: number(row[metric])),
        ("<", "front", lambda row: "*" if row["on_front"] else ""),
        (">", "layer", lambda row: str(row["layer"])),
        (">", "rank", lambda row: f"{row['rank']:g}"),
        (">", "mean rank", lambda row: number(row["mean_rank"])),
        ("<", "beaten by", lambda row: number(row["beaten_by"])),
    ]
