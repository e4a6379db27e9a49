"""All bounds of a gateway as one table."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from headway.gateway.config import Limits, Timeouts
from headway.http.bounds import Bound, WireBounds
from headway.record.bounds import RecordBounds
from headway.report.column import column
from headway.report.report import Report

_UNITS = {"_bytes": "bytes", "_s": "s"}


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundRow:
    """One wait, buffer, count or size."""

    where: str = column("whose", "a client's side, an engine's, or the record's")
    name: str = column("bound", "its name; in the configuration where there is a table before it")
    limit: float = column("at most", "the bound, as it is without a configuration")
    unit: str = column("unit", "bytes, seconds, or a count")
    what: str = column("of what", "what is bounded")
    beyond: str = column("beyond", "what happens then")


def bounds_report() -> Report[BoundRow]:
    """Return every bound that a gateway keeps to."""
    tables: tuple[tuple[str, type[Any]], ...] = (
        ("limits.", Limits), ("timeouts.", Timeouts), ("", WireBounds), ("", RecordBounds),
    )  # fmt: skip
    rows = [row for prefix, kind in tables for row in _rows(prefix, kind)]
    return Report(
        kind="bounds",
        title="what a gateway holds, waits for and counts at most",
        question={},
        rows=tuple(sorted(rows, key=lambda row: row.where)),
        notes=("whatever has a table before its name can be set in the configuration",),
    )


def _rows(prefix: str, kind: type[Any]) -> list[BoundRow]:
    rows = []
    defaults = kind()
    for own in fields(kind):
        about: Bound = own.metadata["bound"]
        unit = next((unit for end, unit in _UNITS.items() if own.name.endswith(end)), "")
        rows.append(
            BoundRow(
                where=about.where,
                name=prefix + own.name,
                limit=getattr(defaults, own.name),
                unit=unit,
                what=about.what,
                beyond=about.beyond,
            )
        )
    return rows
