"""Two servers that were asked the same, request by request."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from headway.load.answer import Outcome
from headway.report.report import Value
from headway.workload.aggregate import mean_interval
from headway.workload.record import DONE, RequestRecord

_WHAT: tuple[tuple[str, Callable[[RequestRecord], float | None]], ...] = (
    ("ttft", lambda record: record.ttft_s),
    ("tpot", lambda record: record.tpot_s),
    ("e2e", lambda record: record.e2e_s),
)


def paired_row(ours: Outcome, theirs: Outcome) -> dict[str, Value]:
    """How ``ours`` differs from ``theirs``: means of paired differences, with 95% intervals.

    A request of one is paired with the same of the other, so that what makes requests differ drops
    out; those that failed at either are left out and counted. Intervals are of batch means.
    """
    pairs = [
        (mine.record(ours.start_s), other.record(theirs.start_s))
        for mine, other in zip(ours.answers, theirs.answers, strict=True)
    ]
    done = [pair for pair in pairs if pair[0].status == pair[1].status == DONE]
    row: dict[str, Value] = {"requests": len(pairs), "pairs": len(done)}
    for name, of in _WHAT:
        some = [(of(mine), of(other)) for mine, other in done]
        values = np.array([(a, b) for a, b in some if a is not None and b is not None])
        if not len(values):
            row |= dict.fromkeys((f"{name}_s", f"{name}_relative", f"{name}_relative_lower",
                                  f"{name}_relative_upper"))  # fmt: skip
            continue
        differences = values[:, 0] - values[:, 1]
        base = float(values[:, 1].mean())
        interval = mean_interval(differences)
        row[f"{name}_s"] = float(differences.mean())
        row[f"{name}_relative"] = float(differences.mean()) / base
        row[f"{name}_relative_lower"] = interval[0] / base if interval else None
        row[f"{name}_relative_upper"] = interval[1] / base if interval else None
    return row
