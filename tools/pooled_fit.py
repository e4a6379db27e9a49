"""Coefficients from measured points: partial pooling, in logarithms, by damped Gauss-Newton.

Every coefficient of a point is the product of a global value and of one factor for each group the
point belongs to (vendor, engine, family of chips, ...). Factors are pulled towards 1, the harder
the less a level is expected to matter, so that an unseen chip falls back on its family, a family
on its vendor, and so on. A whole point may further be stretched by a factor for its hardware, its
model and the like: what no coefficient explains. Errors count relative, large ones less than
their square (pseudo-Huber).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from headway.measure.coefficient_fit import Observed, Problem, descend
from headway.serving.tabulated import ServingTable
from headway.steptime.kernel_coefficients import FIRST_TOKEN, NAMES, Coefficients
from headway.steptime.work import Array

Column = tuple[str, str]  # level, group
FIRST_SPREAD = 0.4
MEAN_PER_MEDIAN = 4.0  # a mean over a run, its start included, says less than a median


@dataclass(frozen=True, slots=True)
class Level:
    """One way to group points, and how far a group is expected to stray, as a log-deviation.

    ``first_spread`` is that of how the first token is handled.
    """

    name: str
    spread: float
    first_spread: float = FIRST_SPREAD

    def spreads(self) -> Array:
        """Return the deviation expected of each coefficient."""
        return np.array(
            [self.first_spread if name in FIRST_TOKEN else self.spread for name in NAMES]
        )


@dataclass(slots=True, eq=False)
class PooledFit:
    """Fits coefficients and stretches; learned attributes end in ``_``.

    Attributes:
        levels: of the coefficients. ``stretches``: of the whole.
        prior: where coefficients start and what the global ones are pulled to.
        prior_spread: how far these may stray, as a log-deviation.
        noise: how far points of a group lie from any such model, as a log-deviation. Their errors
            are alike, so this is well above the scatter of one measurement.
        ttft_weight: of a median time to first token against the pull of the priors.
        max_steps: of the descent.
        fixed: log-factors by level and group that are not fitted.

    """

    levels: Sequence[Level]
    stretches: Sequence[Level]
    prior: Coefficients = field(default_factory=Coefficients)
    prior_spread: float = 0.4
    noise: float = 0.6
    ttft_weight: float = 4.0
    max_steps: int = 10
    fixed: Mapping[tuple[str, str], Array] = field(default_factory=dict)
    coefficients_: dict[tuple[str, str], Array] = field(default_factory=dict)
    stretches_: dict[tuple[str, str], float] = field(default_factory=dict)

    def fit(
        self, table: ServingTable, groups: Mapping[str, Sequence[str]], observed: Observed
    ) -> PooledFit:
        """Fit to the points of ``table``; ``groups`` names the group of each point by level.

        First all but the coefficients of the first token, to times per output token; then those,
        to times to first token, which are noisier and must not bend the others.
        """
        columns = _columns(self.levels, groups)
        stretch_columns = _columns(self.stretches, groups)
        problem = self._problem(table, groups, observed, columns, stretch_columns)

        is_first = np.array([name in FIRST_TOKEN for name in NAMES])
        x = descend(
            problem,
            np.zeros(len(problem.spread)),
            free=~is_first,
            stretching=True,
            weights=(1.0, 0.0, 0.0),
            max_steps=self.max_steps,
        )
        if np.any(np.isfinite(observed.ttft) | np.isfinite(observed.mean_ttft)):
            x = descend(
                problem,
                x,
                free=is_first,
                stretching=False,
                weights=(0.0, self.ttft_weight, self.ttft_weight / MEAN_PER_MEDIAN),
                max_steps=self.max_steps,
            )

        size = len(NAMES)
        for i, column in enumerate(columns):
            self.coefficients_[column] = x[i * size : (i + 1) * size]
        for i, column in enumerate(stretch_columns):
            self.stretches_[column] = float(x[len(columns) * size + i])
        return self

    def _problem(
        self,
        table: ServingTable,
        groups: Mapping[str, Sequence[str]],
        observed: Observed,
        columns: Sequence[Column],
        stretch_columns: Sequence[Column],
    ) -> Problem:
        count = len(observed.tpot)
        whole = Level("global", self.prior_spread)
        spreads = {level.name: level.spreads() for level in (whole, *self.levels)}
        stretch_spreads = {level.name: level.spread for level in (whole, *self.stretches)}

        member = [_member(groups, column, count) for column in columns]
        stretch = [_member(groups, column, count) for column in stretch_columns]
        return Problem(
            table=table,
            observed=observed,
            start=self._start(groups, count),
            member=np.stack(member, 1),
            stretch=np.stack(stretch, 1),
            spread=np.concatenate(
                [
                    *(spreads[level] for level, _ in columns),
                    [stretch_spreads[level] for level, _ in stretch_columns],
                ]
            ),
            noise=self.noise,
        )

    def _start(self, groups: Mapping[str, Sequence[str]], count: int) -> Array:
        logs = np.tile(np.log(self.prior.vector()), (count, 1))
        for (level, group), factors in self.fixed.items():
            logs[[i for i, own in enumerate(groups[level]) if own == group]] += factors
        return logs

    def theta(self, groups: Mapping[str, Sequence[str]], count: int) -> tuple[Array, Array]:
        """Return coefficients and stretch of each point; groups without a fit add nothing."""
        logs = self._start(groups, count) + self.coefficients_["global", ""]
        scale = np.full(count, self.stretches_["global", ""])
        for level in self.levels:
            for i, group in enumerate(groups[level.name]):
                logs[i] += self.coefficients_.get((level.name, group), 0.0)
        for level in self.stretches:
            for i, group in enumerate(groups[level.name]):
                scale[i] += self.stretches_.get((level.name, group), 0.0)
        return np.exp(logs), np.exp(scale)


def _columns(levels: Sequence[Level], groups: Mapping[str, Sequence[str]]) -> list[Column]:
    """Return the pairs of level and group that have unknowns of their own, all points' first."""
    pairs = [(level.name, group) for level in levels for group in sorted(set(groups[level.name]))]
    return [("global", ""), *((level, group) for level, group in pairs if group)]


def _member(groups: Mapping[str, Sequence[str]], column: Column, count: int) -> Array:
    level, group = column
    if level == "global":
        return np.ones(count)
    return np.array([float(own == group) for own in groups[level]])
