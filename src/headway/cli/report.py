"""``headway report``: what a saved answer, a gateway's record, or another tool's results say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from headway.cli.files import AnswerFiles, answer_files
from headway.cli.show import show
from headway.report.report import Report, is_report
from headway.workload.objective import EXAMPLE, parse_slo

GROUPS = ("tenant", "model", "backend", "pool", "api")


@click.command()
@click.argument("where", metavar="PATH")
@click.option("--by", type=click.Choice(GROUPS), help="One row of a record for each.")
@click.option("--slo", metavar="OBJECTIVES", help=f"For a record's goodput: {EXAMPLE!r}.")
@answer_files
def report(where: str, by: str | None, slo: str | None, files: AnswerFiles) -> None:
    """Show what PATH holds: a saved answer, a gateway's record, or another tool's results.

    An answer is what any command writes with --json. A record is an SQLite file, or the address of
    a PostgreSQL database. Results are those of vllm bench serve or guidellm.
    """
    show(_report_of(where, by, slo), files)


def _report_of(where: str, by: str | None, slo: str | None) -> Report[Any]:
    path = Path(where)
    if path.suffix == ".json":
        from headway.load.export import results_report

        return _saved_report(path) or results_report(path)

    from headway.record.summary import record_report

    return record_report(where, by, parse_slo(slo) if slo is not None else None)


def _saved_report(path: Path) -> Report[Any] | None:
    try:
        text = path.read_text("utf-8")
    except (OSError, ValueError):
        return None
    return Report.from_json(text) if is_report(text) else None
