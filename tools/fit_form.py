"""How points are fitted: a few numbers that folds once chose on splits inside themselves."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FitForm:
    """One way to fit coefficients and errors.

    Attributes:
        noise: how far points of a group lie from any coefficients, as a log-deviation; more of it
            pulls all factors harder towards none.
        launches: how far the launches of kernels stray by vendor and format of the weights.
        typical_groups: as how many groups of evidence the typical variances of errors count.

    """

    noise: float = 0.9
    launches: float = 0.3
    typical_groups: float = 16.0
