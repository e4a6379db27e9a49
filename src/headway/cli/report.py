"""``headway report``: what a gateway's record, or another tool's result file, says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from headway.cli.files import AnswerFiles
from headway.cli.options import report_options
from headway.cli.show import deliver, number, show
from headway.errors import InputError
from headway.report.report import Report, Row, Value, is_report

if TYPE_CHECKING:  # needs the extra
    from headway.record.entry import Entry

_GROUPS = ("tenant", "model", "backend", "pool", "api")


@click.command()
@click.argument("where", metavar="PATH")
@click.option("--by", type=click.Choice(_GROUPS), help="One row for each.")
@report_options
def report(
    where: str, by: str | None, json_path: str | None, html_path: Path | None, png_path: Path | None
) -> None:
    """Show what PATH holds: a saved answer, a gateway's record, or another tool's results.

    An answer is what any command writes with --json. A record is an SQLite file, or the address of
    a PostgreSQL database. Results are those of vllm bench serve or guidellm.
    """
    path = Path(where)
    if path.suffix == ".json" and (saved := _saved_report(path)):
        show(saved, AnswerFiles(json_path, html_path, png_path))
        return
    if path.suffix == ".json":
        from headway.load.export import results_report

        show(results_report(path), AnswerFiles(json_path, html_path, png_path))
        return
    deliver(_of_record(where, by), _COLUMNS, json_path, html_path, png_path)


def _saved_report(path: Path) -> Report[Any] | None:
    try:
        text = path.read_text("utf-8")
    except (OSError, ValueError):
        return None
    return Report.from_json(text) if is_report(text) else None


def _of_record(where: str, by: str | None) -> Report:
    from headway.record.entry import OPEN
    from headway.record.store import read_entries, record_name

    groups: dict[str, list[Entry]] = {}
    running = 0
    for entry in read_entries(where):
        if entry.status == OPEN:
            running += 1
        else:
            groups.setdefault(str(getattr(entry, by)) if by else "all", []).append(entry)
    if not groups:
        raise InputError(f"{record_name(where)} holds no request that has ended")
    rows = tuple(_row(name, entries) for name, entries in sorted(groups.items()))
    notes = ["TTFT and TPOT of streams only: of a whole answer neither can be seen"]
    if running:
        notes.append(f"{running} requests had not ended when this was read")
    name = record_name(where)
    return Report("report", f"{name}: requests of a gateway", {"path": name, "by": by}, rows,
                  notes=tuple(notes))  # fmt: skip


def _row(name: str, entries: list[Entry]) -> Row:
    from headway.report.estimate import Estimate
    from headway.workload.aggregate import latency_fields

    done = [entry for entry in entries if entry.status == "done"]
    streams = [entry.record for entry in done if entry.stream]
    arrivals = [entry.arrival_s for entry in entries]
    ends = [entry.last_s for entry in done if entry.last_s is not None]
    span_s = max(max(ends, default=0.0) - min(arrivals), 1e-9) if ends else None

    def column(values: list[float | None]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.array([np.nan if v is None else v for v in values], dtype=np.float64)

    row: dict[str, Value] = {
        "group": name,
        "requests": len(entries),
        "failed": len(entries) - len(done),
        "requests_per_s": len(done) / span_s if span_s else None,
        "output_tok_per_s": sum(e.output_tokens for e in done) / span_s if span_s else None,
    }
    columns = {"queue": column([e.sent_s - e.arrival_s for e in done if e.sent_s is not None])}
    columns["ttft"] = column([r.ttft_s for r in streams])
    columns["tpot"] = column([r.tpot_s for r in streams])
    columns["e2e"] = column([e.record.e2e_s for e in done])
    for name, values in columns.items():
        for key, figure in latency_fields(name, values, intervals=True).items():
            row[key] = figure.expected if isinstance(figure, Estimate) else figure
    predicted = [e for e in done if e.p90_tokens is not None]
    covered = sum(e.output_tokens <= (e.p90_tokens or 0.0) for e in predicted)
    row["covered_p90"] = covered / len(predicted) if predicted else None
    return row


def _ms(name: str) -> Callable[[Row], str]:
    def text(row: Row) -> str:
        value = row.get(name)
        return "-" if value is None else number(1e3 * float(value))

    return text


_COLUMNS: list[tuple[str, str, Callable[[Row], str]]] = [
    ("<", "", lambda row: str(row["group"])),
    (">", "requests", lambda row: number(row["requests"])),
    (">", "failed", lambda row: number(row["failed"])),
    (">", "done/s", lambda row: number(row["requests_per_s"])),
    (">", "tok/s", lambda row: number(row["output_tok_per_s"])),
    (">", "queued ms", _ms("queue_mean_s")),
    (">", "TTFT ms", _ms("ttft_mean_s")),
    (">", "p99", _ms("ttft_p99_s")),
    (">", "TPOT ms", _ms("tpot_mean_s")),
    (">", "e2e ms", _ms("e2e_mean_s")),
    (">", "p99", _ms("e2e_p99_s")),
    (">", "within p90", lambda row: number(row["covered_p90"])),
]
