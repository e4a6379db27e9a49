"""What a gateway's record says: latencies, throughput, and how well lengths were predicted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headway.errors import InputError
from headway.record.entry import OPEN, Entry
from headway.record.store import read_entries, record_name
from headway.report.column import column
from headway.report.report import Report
from headway.workload.aggregate import Latency, RequestSummary, latency_fields
from headway.workload.record import DONE, REJECTED, Records
from headway.workload.request import Slo

GROUPS = ("tenant", "model", "backend", "pool", "api")
STREAMS_ONLY = "TTFT and TPOT of streams only: of a whole answer neither can be seen"


@dataclass(frozen=True, kw_only=True)
class Group:
    """Whose requests a row is about."""

    group: str = column("group", "tenant, model, engine, pool or API; or all requests")


@dataclass(frozen=True, kw_only=True)
class RecordRow(RequestSummary, Group):
    """Requests of a gateway that have ended."""

    queue_mean_s: Latency = column("queued", "waiting in the gateway, mean", unit="ms", scale=1e3)
    queue_p50_s: Latency = column("queued p50", "median", unit="ms", scale=1e3, detail=True)
    queue_p90_s: Latency = column("queued p90", "90% below", unit="ms", scale=1e3, detail=True)
    queue_p99_s: Latency = column("queued p99", "99% below", unit="ms", scale=1e3, detail=True)
    queue_max_s: Latency = column("queued max", "longest wait", unit="ms", scale=1e3, detail=True)
    covered_p90: float | None = column(
        "within p90",
        "share of answers within the 90% quantile of their prediction",
        unit="%",
        scale=100,
    )


def record_report(
    where: str | Path, by: str | None = None, slo: Slo | None = None
) -> Report[RecordRow]:
    """Return a row for all requests of a record that have ended, or one for each group.

    Args:
        where: an SQLite file, or the address of a PostgreSQL database.
        by: what groups requests, one of `GROUPS`; ``None`` for one row.
        slo: limits of each request, for the goodput.

    Raises:
        InputError: it is no record, or none of its requests has ended.

    """
    name = record_name(where)
    groups: dict[str, list[Entry]] = {}
    num_open = 0
    for entry in read_entries(where):
        if entry.status == OPEN:
            num_open += 1
        else:
            groups.setdefault(str(getattr(entry, by)) if by else "all", []).append(entry)
    if not groups:
        raise InputError(f"{name} holds no request that has ended")

    notes = [STREAMS_ONLY]
    if num_open:
        notes.append(f"{num_open} requests had not ended when this was read")
    return Report(
        kind="report",
        title=f"{name}: requests of a gateway",
        question={"path": name, "by": by},
        rows=tuple(_row(group, entries, slo) for group, entries in sorted(groups.items())),
        notes=tuple(notes),
    )


def _row(group: str, entries: Sequence[Entry], slo: Slo | None) -> RecordRow:
    answered = [entry for entry in entries if entry.status == DONE]
    queue_s = [entry.sent_s - entry.arrival_s for entry in answered if entry.sent_s is not None]
    predicted = [entry for entry in answered if entry.p90_tokens is not None]
    num_covered = sum(entry.output_tokens <= (entry.p90_tokens or 0.0) for entry in predicted)
    return RecordRow.of(
        _columns(entries),
        slo,
        intervals=True,
        group=group,
        covered_p90=num_covered / len(predicted) if predicted else None,
        **latency_fields("queue", np.array(queue_s), intervals=True),
    )


def _columns(entries: Sequence[Entry]) -> Records:
    """Return ``entries`` as columns; an answer that was no stream has no first token."""

    def seconds(values: list[float | None]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.array([math.nan if v is None else v for v in values], dtype=np.float64)

    return Records(
        arrival_s=np.array([e.arrival_s for e in entries], dtype=np.float64),
        first_s=seconds([e.first_s if e.status == DONE and e.stream else None for e in entries]),
        last_s=seconds([e.last_s if e.status == DONE else None for e in entries]),
        prompt_tokens=np.array([e.prompt_tokens for e in entries], dtype=np.int64),
        output_tokens=np.array([e.output_tokens for e in entries], dtype=np.int64),
        cached_tokens=np.array([e.cached_tokens or 0 for e in entries], dtype=np.int64),
        rejected=np.array([e.status == REJECTED for e in entries], dtype=np.bool_),
    )
