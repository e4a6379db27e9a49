"""How far calibrated estimates are off: the scores that ship, and scores on one's own points.

An error is |predicted / measured - 1|. The scores that ship were made held out, by
``tools/held_out.py``: whole groups of points were left out of the fit that predicted them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources

import numpy as np
import numpy.typing as npt

from headway.report.column import column
from headway.report.report import Report
from headway.serving.estimate import ServingEstimate, serve
from headway.serving.serving_point import ServingPoint
from headway.steptime.calibration import Calibration, shipped
from headway.steptime.work import Array

LEVEL = 0.8  # of the intervals
OWN = "own points"


@dataclass(frozen=True, slots=True)
class AccuracyRow:
    """The errors of one quantity on one set of points."""

    split: str = column("left out", "what the fit had not seen of the points it predicts")
    quantity: str = column("quantity", "what was predicted")
    by: str = column("by", "how points are grouped; all of them together is 'all'")
    group: str = column("group", "which group of points")
    points: int = column("points", "measured values")
    mape: float = column("MAPE", "mean of |predicted / measured - 1|", unit="%", scale=100)
    median: float = column("median", "median of |predicted / measured - 1|", unit="%", scale=100)
    within_25: float = column(
        "within 25%", "share of points that are at most 25% off", unit="%", scale=100
    )
    bias: float = column("bias", "median of predicted / measured - 1", unit="%", scale=100)
    coverage: float = column(
        "holds", "share of points inside their stated 80% interval", unit="%", scale=100
    )
    width: float = column("width", "upper over lower end of the interval, median", unit="x")


def accuracy_row(
    *,
    split: str,
    quantity: str,
    by: str = "all",
    group: str = "",
    errors: Array,
    inside: npt.NDArray[np.bool_],
    width: Array,
) -> AccuracyRow:
    """Return the row of points with log-errors ``errors`` = ln(measured / predicted).

    ``inside`` and ``width`` say of each point whether its interval holds, and upper over lower.
    """
    relative = np.abs(np.exp(-errors) - 1)
    return AccuracyRow(
        split=split,
        quantity=quantity,
        by=by,
        group=group,
        points=len(errors),
        mape=float(relative.mean()),
        median=float(np.median(relative)),
        within_25=float(np.mean(relative <= 0.25)),
        bias=float(np.exp(-np.median(errors)) - 1),
        coverage=float(inside.mean()),
        width=float(np.median(width)),
    )


def shipped_accuracy() -> Report[AccuracyRow]:
    """Return the held-out scores of the calibration that ships."""
    folder = resources.files("headway.steptime") / "coefficients"
    return Report.from_json((folder / "accuracy.json").read_text("utf-8"))


def score(
    points: Sequence[ServingPoint], calibration: Calibration | None = None
) -> Report[AccuracyRow]:
    """Return how far ``calibration`` (the one that ships) is off on measured ``points``."""
    calibration = calibration or shipped()
    estimates = [
        serve(replace(point.deployment, calibration=calibration), point.load) for point in points
    ]
    rows = [_score_of(quantity, points, estimates) for quantity in ("tpot_s", "ttft_s")]
    return Report(
        kind="validate",
        title=f"Error of the calibrated model on {len(points)} points of your own",
        question={"points": len(points), "interval": LEVEL},
        rows=tuple(row for row in rows if row is not None),
        notes=("errors are |predicted / measured - 1|",),
    )


def _score_of(
    quantity: str, points: Sequence[ServingPoint], estimates: Sequence[ServingEstimate]
) -> AccuracyRow | None:
    measured_and_estimate = [
        (getattr(point, quantity), estimate)
        for point, estimate in zip(points, estimates, strict=True)
        if getattr(point, quantity) is not None
    ]
    if not measured_and_estimate:
        return None

    measured = np.array([seconds for seconds, _ in measured_and_estimate])
    expected = np.array([float(getattr(e.times, quantity)) for _, e in measured_and_estimate])
    ends = [getattr(e, quantity) for _, e in measured_and_estimate]
    lower = np.array([float(end.lower) for end in ends])
    upper = np.array([float(end.upper) for end in ends])
    return accuracy_row(
        split=OWN,
        quantity=quantity.removesuffix("_s"),
        errors=np.log(measured / expected),
        inside=(lower <= measured) & (measured <= upper),
        width=upper / lower,
    )
