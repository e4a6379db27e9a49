"""What waits to be written to a record, and for how long."""

from __future__ import annotations

from dataclasses import dataclass

from headway.http.bounds import RECORD, bound


@dataclass(frozen=True, slots=True)
class RecordBounds:
    """What waits to be written."""

    flush_s: float = bound(0.5, RECORD, "from a request's end to its row", "writes are retried")
    num_pending: int = bound(500_000, RECORD, "rows that wait for the database", "the oldest go")
    batch_rows: int = bound(1000, RECORD, "rows of one statement", "the others go with the next")
    statement_s: float = bound(10.0, RECORD, "for a statement", "once more, with half of the rows")
    close_s: float = bound(20.0, RECORD, "for what waits when we stop", "kept in a file beside it")


BOUNDS = RecordBounds()
