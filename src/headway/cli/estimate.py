"""`headway estimate`: one deployment in full."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from headway.cli.options import (
    asked,
    layout_of,
    layout_options,
    number_option,
    only,
    question_options,
    refuse_given,
    report_options,
)
from headway.cli.serving_options import check_unused, load_options, take_load
from headway.cli.show import deliver_facts, drafting, interval, layout, number
from headway.errors import InputError
from headway.frontier.answer import estimate as estimate_report
from headway.report.report import Row

IDLE_UNDER_LOAD = ("batch", "context", "overlap", "pipeline")


@click.command()
@question_options
@layout_options
@number_option("--rows", "rows", "Rows of a two-dimensional tensor layout.", whole=True)
@number_option(
    "--accelerators",
    "number of accelerators",
    "Take the best layout of exactly this many instead.",
    whole=True,
)
@number_option(
    "--batch", "batch", "Sequences in flight in the whole engine.", whole=True, default="1"
)
@load_options(required=False)
@report_options
def estimate(
    pipeline: bool,
    tp: int | None,
    pp: int | None,
    dp: int | None,
    ep: int | None,
    rows: int | None,
    accelerators: int | None,
    batch: int,
    json_path: str | None,
    html_path: Path | None,
    png_path: Path | None,
    **options: Any,
) -> None:
    """Print what one deployment of MODEL does: components, interval, utilisation, what binds.

    Say the layout with --tp, --pp, --dp, --ep, or let --accelerators find the best one. With
    neither, the smallest engine that headway frontier considers and that fits is taken.

    With --engine, --isl, --osl and --concurrency: a whole load on a measured engine, with
    intervals that were checked on measurements; several concurrencies make a table and a picture,
    --disaggregate prefills and decodes on engines of their own.
    """
    load = take_load(options)
    degrees = (tp, pp, dp, ep, rows)
    if accelerators is not None and any(degrees) and load["disaggregate"] is None:
        raise InputError(
            "give either --accelerators or a layout (--tp, --pp, --dp, --ep), not both"
        )
    if load["engine"] is not None:
        if rows is not None:
            raise InputError("--engine takes a layout (--tp, --pp, --dp, --ep)")
        refuse_given("says nothing beside --engine; leave it out", *IDLE_UNDER_LOAD)
        from headway.cli.serve_load import estimate_load

        files = (json_path, html_path, png_path)
        layout = layout_of(tp, pp, dp, ep) if any(degrees) else None
        estimate_load(load, layout, accelerators, options, files)
        return
    check_unused(load)
    given = asked(**options)
    question = replace(
        given.question, batch=batch, exactly_accelerators=accelerators, pipeline=pipeline
    )
    wanted = layout_of(*degrees) if any(degrees) else None
    if pp is not None and pp > 1 and not pipeline:
        raise InputError(f"--pp {pp} contradicts --no-pipeline; give one of them")
    report = estimate_report(question, only(given.clusters), wanted)
    deliver_facts(report, facts(report.rows[0]), json_path, html_path, png_path)


def facts(row: Row) -> list[tuple[str, str, str]]:
    """Label, value and remark of every line."""
    alone = [("arithmetic", "arithmetic_s"), ("memory", "memory_s")]
    added = [("network", "network_s"), ("latency", "latency_s")]

    def milliseconds(key: str) -> str:
        return f"{number(float(row[key] or 0) * 1e3)} ms"

    lines = [
        ("accelerators", f"{number(row['num_accelerators'], 4)} {row['accelerator']}", ""),
        ("layout", layout(row), "tp/pp/dp/ep"),
        ("batch", number(row["batch"]), "sequences in flight"),
    ]
    if row["draft_tokens"]:
        lines.append(
            ("drafting", drafting(row), f"{number(row['tokens_per_pass'])} tokens per pass")
        )
    lines += [(label, milliseconds(key), "alone, overlaps the other") for label, key in alone]
    lines += [(label, milliseconds(key), "") for label, key in added]
    lines += [
        ("pass", milliseconds("step_s"), f"binds: {row['binds']}"),
        (
            "speed",
            f"{number(row['tok_per_s_per_user'])} tok/s/user",
            f"range {interval(row, 'tok_per_s_per_user')}",
        ),
        ("cost", f"${number(row['usd_per_mtok'])}/Mtok", f"range {interval(row, 'usd_per_mtok')}"),
        ("MFU", number(row["mfu"], 2), ""),
        ("MBU", number(row["mbu"], 2), ""),
        ("basis", str(row["basis"]), ""),
    ]
    return lines
