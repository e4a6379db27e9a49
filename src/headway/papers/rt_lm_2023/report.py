"""RT-LM's claims as reports: every cell, or every way to serve over all cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headway.papers.rt_lm_2023.language_models import UNCERTAINTY
from headway.papers.rt_lm_2023.table import (
    MALICIOUS_FACTOR,
    VARIANCES,
    CellRow,
    Served,
    Settings,
    cells,
)
from headway.papers.rt_lm_2023.ways import NEAREST, SIMILAR, Way
from headway.report.column import Value, column
from headway.report.estimate import Estimate
from headway.report.report import Report

SOURCES = {
    "claims": "Li, Li, Yang and Liu 2023, RTSS, arXiv 2309.06619; rules re-derived",
    "cpu": "benchmarks/rt_lm_step_times.py, random weights, one thread",
    "gpu": "slopes in the logs of QASlow",
}
# What a terminal shows: the paper's priority step by step, and what we would run.
WAYS = (
    Way("fifo", NEAREST),
    Way("fifo", offload=True),
    Way("fifo", NEAREST, offload=True),
    Way("luf"),
    Way("luf", NEAREST, offload=True),
    Way("up"),
    Way("up", SIMILAR),
    Way("up", NEAREST),
    Way("up", NEAREST, offload=True),
    Way("hrrn"),
)


@dataclass(frozen=True, kw_only=True)
class WayRow(Served):
    """One way to serve over all cells of one load: the middle cell, and the range over cells."""

    load: float = column("load", "over what batches in order of arrival sustain")
    mean_vs_fifo: Estimate = column(
        "mean", "mean response: middle and range of cells", unit="%", scale=100, digits=2
    )
    p99_vs_fifo: Estimate = column(
        "P99", "99% of responses below: middle and range of cells", unit="%", scale=100, digits=2
    )
    throughput_vs_fifo: Estimate = column(
        "throughput", "requests/s: middle and range of cells", unit="%", scale=100, digits=2
    )
    cells: int = column("cells", "models, platforms, variances and malicious shares")
    lower_mean: int = column("lower mean", "cells whose 95% interval lies below 0")
    higher_mean: int = column("higher mean", "cells whose 95% interval lies above 0")
    higher_throughput: int = column("more/s", "cells whose 95% interval lies above 0")


def cells_report(settings: Settings) -> Report[CellRow]:
    """Return every way to serve in every cell."""
    return Report(
        kind="rt-lm-cells",
        title=f"RT-LM's setting: {settings.num_cells} cells against first in, first out",
        question=_question(settings),
        rows=tuple(cells(settings)),
        notes=("differences are paired by seed; intervals are 95%, Student's t", *_notes(settings)),
        sources=SOURCES,
    )


def ways_report(settings: Settings) -> Report[WayRow]:
    """Return every way to serve over all cells, by load and predictions, best mean first."""
    groups: dict[tuple[float, str, Way], list[CellRow]] = {}
    for row in cells(settings):
        way = Way(row.order, row.batches, row.offload)
        groups.setdefault((row.load, row.predictions, way), []).append(row)

    rows = [_way_row(load, name, way, own) for (load, name, way), own in groups.items()]
    rows.sort(key=lambda row: (row.load, row.predictions, row.mean_vs_fifo.expected))
    return Report(
        kind="rt-lm-ways",
        title=f"RT-LM's setting: ways to serve over {settings.num_cells} cells, against first in, "
        "first out",
        question=_question(settings),
        rows=tuple(rows),
        notes=(
            "the middle cell and the range over cells; a cell counts as lower or higher where its "
            "95% interval says so",
            *_notes(settings),
        ),
        sources=SOURCES,
    )


def shown_rows(report: Report[WayRow]) -> list[int]:
    """Return the rows that a terminal shows."""
    return [
        number
        for number, row in enumerate(report.rows)
        if Way(row.order, row.batches, row.offload) in WAYS
    ]


def _way_row(load: float, predictions: str, way: Way, rows: Sequence[CellRow]) -> WayRow:
    return WayRow(
        predictions=predictions,
        order=way.order,
        batches=way.batches,
        offload=way.offload,
        load=load,
        mean_vs_fifo=_over_cells([row.mean_vs_fifo for row in rows]),
        p99_vs_fifo=_over_cells([row.p99_vs_fifo for row in rows]),
        throughput_vs_fifo=_over_cells([row.throughput_vs_fifo for row in rows]),
        cells=len(rows),
        lower_mean=sum(row.mean_vs_fifo.upper < 0 for row in rows),
        higher_mean=sum(row.mean_vs_fifo.lower > 0 for row in rows),
        higher_throughput=sum(row.throughput_vs_fifo.lower > 0 for row in rows),
    )


def _over_cells(changes: Sequence[Estimate]) -> Estimate:
    values = [change.expected for change in changes]
    return Estimate(float(np.median(values)), min(values), max(values), basis="simulated")


def _question(settings: Settings) -> dict[str, Value]:
    return {
        "models": ",".join(model.name for model in settings.models),
        "platforms": ",".join(settings.platforms),
        "variances": ",".join(settings.variances),
        "malicious": ",".join(f"{share:g}" for share in settings.malicious),
        "loads": ",".join(f"{load:g}" for load in settings.loads),
        "skills": ",".join(f"{tau:g}" for tau in settings.skills),
        "seeds": settings.seeds,
        "num_requests": settings.num_requests,
        "max_batch": settings.max_batch,
        "slower": settings.slower,
    }


def _notes(settings: Settings) -> tuple[str, ...]:
    spreads = ", ".join(f"{name} {VARIANCES[name]:g}" for name in settings.variances)
    return (
        f"{settings.seeds} seeds of {settings.num_requests:,} requests, batches of up to "
        f"{settings.max_batch}, a second engine {settings.slower:g} times slower, one at a time",
        f"lengths are lognormal, deviation of the logarithm: {spreads}; a malicious prompt makes "
        f"its answer {MALICIOUS_FACTOR:g} times as long",
        "above load 1 the queue grows as long as requests come, and responses with it",
        *UNCERTAINTY,
    )
