"""Objectives as people write them: ``ttft p95 < 500ms, tpot p95 < 50ms``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from headway.errors import InputError, UnknownNameError
from headway.units import check_positive, parse_time_s
from headway.workload.record import Floats
from headway.workload.request import Slo

QUANTITIES = ("ttft", "tpot", "e2e")
EVERY = "max"  # every request must meet the bound
EXAMPLE = "ttft p95 < 500ms, tpot p95 < 50ms"
_OBJECTIVE = re.compile(
    r"\s*(?P<quantity>[a-z0-9]+)(?:\s+(?P<statistic>[\w.]+))?\s*<=?(?P<bound>.+)"
)
_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d+)?)")


@dataclass(frozen=True, slots=True)
class Objective:
    """A bound on one statistic of one quantity.

    Attributes:
        quantity: ``ttft``, ``tpot`` or ``e2e``.
        statistic: ``p50`` to ``p99.9``, ``mean``, or ``max``: of every request.
        bound_s: seconds that the statistic must not exceed.

    """

    quantity: str
    statistic: str
    bound_s: float

    def __post_init__(self) -> None:
        if self.quantity not in QUANTITIES:
            raise UnknownNameError("quantity of an objective", self.quantity, QUANTITIES)
        is_percentile = _PERCENTILE.fullmatch(self.statistic) is not None
        if not is_percentile and self.statistic not in ("mean", EVERY):
            raise InputError(
                "the statistic of an objective is p50, p95, p99, mean or max, "
                f"not {self.statistic!r}"
            )
        check_positive(self.bound_s, f"objective {self.quantity}")

    def __str__(self) -> str:
        return f"{self.quantity} {self.statistic} < {1e3 * self.bound_s:g}ms"

    @property
    def percentile(self) -> float | None:
        """The percentile that is bounded; ``None`` for the mean."""
        if self.statistic == "mean":
            return None
        match = _PERCENTILE.fullmatch(self.statistic)
        return float(match[1]) if match else 100.0

    def statistic_of(self, values_s: Floats) -> float | None:
        """Return the statistic over requests; NaN in ``values_s`` (n,) is a request without one."""
        present = values_s[np.isfinite(values_s)]
        if len(present) == 0:
            return None
        percentile = self.percentile
        if percentile is None:
            return float(present.mean())
        return float(np.percentile(present, percentile))


def parse_objective(text: str) -> Objective:
    """Return the objective in ``text``; without a statistic every request must meet the bound.

    Raises:
        InputError: ``text`` is no objective.

    """
    match = _OBJECTIVE.fullmatch(text.lower())
    if match is None:
        raise InputError(f"objectives are written {EXAMPLE!r}, not {text.strip()[:40]!r}")
    bound_s = parse_time_s(match["bound"], f"the bound of objective {match['quantity']}")
    return Objective(match["quantity"], match["statistic"] or EVERY, bound_s)


def parse_objectives(text: str) -> tuple[Objective, ...]:
    """Return the objectives in ``text``, separated by commas.

    Raises:
        InputError: a part is no objective, or a quantity comes twice.

    """
    objectives = tuple(parse_objective(part) for part in text.split(",") if part.strip())
    if not objectives:
        raise InputError(f"objectives are written {EXAMPLE!r}, not {text.strip()[:40]!r}")

    quantities = [objective.quantity for objective in objectives]
    for quantity in quantities:
        if quantities.count(quantity) > 1:
            raise InputError(f"{quantity} has two objectives; give one for each quantity")
    return objectives


def limits_of(objectives: Iterable[Objective]) -> Slo:
    """Return the limits that each request is held against, for goodput and attainment.

    A request is good if it stays below the bounds itself; whether enough of them do is the
    statistic's question.
    """
    bounds_s = {objective.quantity: objective.bound_s for objective in objectives}
    return Slo(bounds_s.get("ttft"), bounds_s.get("tpot"), bounds_s.get("e2e"))


def parse_slo(text: str | None) -> Slo:
    """Return the limits of each request that ``text`` states; none where it is ``None``."""
    return Slo() if text is None else limits_of(parse_objectives(text))
