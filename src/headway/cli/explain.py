"""`headway explain`: where the time of a served token goes, and what would change it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from headway.cli.options import (
    layout_of,
    layout_options,
    question_options,
    report_options,
)
from headway.cli.serve_load import check_alone
from headway.cli.serving import plain, question_of
from headway.cli.serving_facts import distance_of
from headway.cli.serving_options import load_options, take_load
from headway.cli.show import Column, deliver, number
from headway.errors import InputError
from headway.frontier.answer import sources
from headway.report.report import Report, Row
from headway.serving.estimate import answer
from headway.serving.explain import changes, parts

COLUMNS: tuple[Column, ...] = (
    ("<", "part", lambda row: str(row["part"])),
    (">", "ms", lambda row: number(_ms(row, "seconds"))),
    (">", "share", lambda row: _percent(row, "share")),
    (">", "TPOT", lambda row: _percent(row, "tpot_change")),
    (">", "throughput", lambda row: _percent(row, "throughput_change")),
)


@click.command()
@question_options
@layout_options
@load_options(required=True)
@report_options
def explain(
    model_of_time: str,
    pipeline: bool,
    tp: int | None,
    pp: int | None,
    dp: int | None,
    ep: int | None,
    json_path: str | None,
    html_path: Path | None,
    png_path: Path | None,
    **options: Any,
) -> None:
    """Print where each millisecond of a token of MODEL under load goes, and what would change it.

    Takes the arguments of headway estimate --engine.
    """
    if model_of_time != "headway":
        raise InputError("only our own model of time can be explained; leave out --as")
    load = take_load(options)
    if len(load["concurrency"]) > 1:
        raise InputError("explain takes one --concurrency; estimate takes several")
    degrees = (tp, pp, dp, ep)
    layout = layout_of(*degrees) if any(degrees) else None
    if load["disaggregate"] is not None:
        from headway.cli.disaggregated_explain import explained_report
        from headway.cli.disaggregated_facts import EXPLAINED

        report = explained_report(load, layout, options)
        deliver(report, EXPLAINED, json_path, html_path, png_path)
        return
    check_alone(load)
    question, _, notes = question_of(load, layout, options)
    found = answer(question)
    rows: list[Row] = [
        {"part": part.name, "seconds": part.seconds, "share": part.share}
        for part in parts(question, found)
    ]
    rows += [
        {
            "part": f"with {change.name}",
            "tpot_change": change.tpot - 1,
            "throughput_change": change.throughput - 1,
        }
        for change in changes(question, found)
    ]
    d = question.deployment
    low, high = (float(side) * 1e3 for side in found.tpot_s)
    report = Report(
        kind="explanation",
        title=f"{d.model.name} in {d.precision} on {float(found.table.num_accelerators):g} "
        f"{d.cluster.name} with {question.engine}: "
        f"{number(float(found.times.tpot_s) * 1e3)} ms per output token",
        question={
            "model": d.model.name,
            "on": d.cluster.name,
            "precision": str(d.precision),
            "layout": str(d.parallelism),
            **plain(load),
        },
        rows=tuple(rows),
        notes=(
            f"10-90% of the time per token: {low:.3g} to {high:.3g} ms; basis {found.basis.value}: "
            + distance_of({"novelty": found.novelty, "outside_octaves": float(found.octaves)}),
            "operators are those of a decode step; within one, arithmetic and memory overlap",
            *notes,
        ),
        sources=sources([d.cluster]),
    )
    deliver(report, COLUMNS, json_path, html_path, png_path)


def _ms(row: Row, name: str) -> float | None:
    value = row.get(name)
    return None if value is None else float(value) * 1e3


def _percent(row: Row, name: str) -> str:
    value = row.get(name)
    if value is None:
        return ""
    sign = "+" if name.endswith("change") else ""
    return f"{float(value) * 100:{sign}.1f}%"
