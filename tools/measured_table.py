"""All measured points that a fit takes, counted: what beats its own data sheet is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from headway.serving.load_times import load_times
from headway.serving.serving_point import ServingPoint, logs, stack_points
from headway.serving.tabulated import ServingTable
from headway.steptime.step_time import RequestOverhead
from tools.published_points import cell, read_points
from tools.serving_coefficients import OLD, Rows, take
from tools.static_batches import read_static

MAX_TOO_FAST = 0.1  # of a sweep: beyond that, it did not run what it says


def read_measured(path: Path) -> tuple[list[ServingPoint], ServingTable, Counter[str]]:
    """Return points and their stacked table, and why other rows of the collection are left out."""
    points, left_out = read_points(path)
    older, older_left_out = read_static(path)
    points, left_out = points + older, left_out + older_left_out

    table = stack_points(points)
    rows = possible(points, table)
    left_out["faster than the data sheet allows"] += len(points) - len(rows)
    return [points[i] for i in rows], take(table, rows), left_out


def possible(points: Sequence[ServingPoint], table: ServingTable) -> Rows:
    """Return which points are slower than the bound of their load, and of sweeps that are."""
    decode_s, prompts_s = table.decode.bound.total_s, table.mixed.bound.total_s
    mixed_s = np.maximum(prompts_s, np.where(table.shape.mixes > 0, decode_s, 0.0))
    bound_s = load_times(table.shape, decode_s, mixed_s, RequestOverhead()).tpot_s
    too_fast = logs([point.tpot_s for point in points]) < np.log(bound_s)

    # A sweep of which many points are too fast is doubtful as a whole.
    sweeps = [(point.source, *cell(point)) for point in points]
    sizes = Counter(sweeps)
    fast = Counter(sweep for sweep, is_fast in zip(sweeps, too_fast, strict=True) if is_fast)
    doubtful = [
        is_fast or fast[own] > MAX_TOO_FAST * sizes[own]
        for own, is_fast in zip(sweeps, too_fast, strict=True)
    ]
    served = [point.source not in OLD for point in points]
    return np.flatnonzero(~(np.array(doubtful) & np.array(served))).astype(np.int64)
