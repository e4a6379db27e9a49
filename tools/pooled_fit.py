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
from dataclasses import dataclass, field, replace

import numpy as np

from headway.measure.coefficient_fit import Observed, Problem, descend
from headway.serving.tabulated import ServingTable
from headway.steptime.kernel_coefficients import FIRST_TOKEN, NAMES, Coefficients
from headway.steptime.work import Array

Column = tuple[str, str]  # level, group
FIRST_SPREAD = 0.4
FIXED_SPREAD = 1e-4  # of a coefficient that a level leaves as it is
IS_FIRST = np.array([name in FIRST_TOKEN for name in NAMES])
# A mean over a run, its start included, says little of a median, and there are five times as many.
MEAN_PER_MEDIAN = 64.0


@dataclass(frozen=True, slots=True)
class Level:
    """One way to group points, and how far a group is expected to stray, as a log-deviation.

    ``first_spread`` is that of how the first token is handled. Coefficients that ``only`` does not
    name are the same for all groups; what a host takes to launch a kernel is given beforehand.
    """

    name: str
    spread: float
    first_spread: float = FIRST_SPREAD
    only: Sequence[str] = tuple(name for name in NAMES if name != "prompt_kernel_s")

    def spreads(self) -> Array:
        """Return the deviation expected of each coefficient."""
        free = [self.first_spread if name in FIRST_TOKEN else self.spread for name in NAMES]
        return np.where([name in self.only for name in NAMES], free, FIXED_SPREAD)


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
        """Fit all but the coefficients of the first token, to times per output token.

        ``groups`` names the group of each point of ``table`` by level.
        """
        columns = _columns(self.levels, groups)
        stretch_columns = _columns(self.stretches, groups)
        problem = self._problem(table, groups, observed, columns, stretch_columns)
        x = descend(
            problem,
            np.zeros(len(problem.spread)),
            free=~IS_FIRST,
            stretching=True,
            weights=(1.0, 0.0, 0.0),
            max_steps=self.max_steps,
        )

        self._keep(columns, x)
        for i, column in enumerate(stretch_columns):
            self.stretches_[column] = float(x[len(columns) * len(NAMES) + i])
        return self

    def fit_first_token(
        self,
        table: ServingTable,
        groups: Mapping[str, Sequence[str]],
        observed: Observed,
        *,
        stretch: Array,
        prompt_stretch: Array,
    ) -> PooledFit:
        """Fit what only times to first token show, with steps as they are.

        ``stretch`` and ``prompt_stretch`` are the log-stretches of all steps of a point, and once
        more of those with prompts. These times are noisier, and must not bend the others.
        """
        if not np.any(np.isfinite(observed.ttft) | np.isfinite(observed.mean_ttft)):
            return self
        columns = _columns(self.levels, groups)
        problem = replace(
            self._problem(table, groups, observed, columns, []),
            base_stretch=stretch,
            base_prompt_stretch=prompt_stretch,
        )
        x = descend(
            problem,
            np.concatenate([self.coefficients_[column] for column in columns]),
            free=IS_FIRST,
            stretching=False,
            weights=(0.0, self.ttft_weight, self.ttft_weight / MEAN_PER_MEDIAN),
            max_steps=self.max_steps,
        )
        self._keep(columns, x)
        return self

    def _keep(self, columns: Sequence[Column], x: Array) -> None:
        size = len(NAMES)
        for i, column in enumerate(columns):
            self.coefficients_[column] = x[i * size : (i + 1) * size]

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
            stretch=np.stack(stretch, 1) if stretch else np.zeros((count, 0)),
            spread=np.concatenate(
                [
                    *(spreads[level] for level, _ in columns),
                    np.array([stretch_spreads[level] for level, _ in stretch_columns]),
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
        names = {level: np.asarray(own) for level, own in groups.items()}
        for (level, group), factors in self.coefficients_.items():
            if group:
                logs[names[level] == group] += factors
        for (level, group), stretch in self.stretches_.items():
            if group:
                scale[names[level] == group] += stretch
        return np.exp(logs), np.exp(scale)


def _columns(levels: Sequence[Level], groups: Mapping[str, Sequence[str]]) -> list[Column]:
    """Return the pairs of level and group that have unknowns of their own, all points' first."""
    pairs = [(level.name, group) for level in levels for group in sorted(set(groups[level.name]))]
    return [("global", ""), *((level, group) for level, group in pairs if group)]


def _member(groups: Mapping[str, Sequence[str]], column: Column, count: int) -> Array:
    level, group = column
    if level == "global":
        return np.ones(count)
    return np.array(np.asarray(groups[level]) == group, dtype=np.float64)
