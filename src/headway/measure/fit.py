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

from headway.serving.one_engine import ServingTable, serving_times
from headway.steptime.kernel_coefficients import FIRST_TOKEN, NAMES, Coefficients
from headway.steptime.work import Array

HUBER = 0.25
FIRST_SPREAD = 0.4
MEAN_PER_MEDIAN = 4.0  # a mean over a run, its start included, says less than a median
DERIVATIVE = 1e-4


@dataclass(frozen=True, slots=True)
class Level:
    """One way to group points, and how far a group is expected to stray, as a log-deviation.

    ``first_spread`` is that of how the first token is handled.
    """

    name: str
    spread: float
    first_spread: float = FIRST_SPREAD

    def spreads(self) -> Array:
        """The deviation expected of each coefficient."""
        return np.array(
            [self.first_spread if name in FIRST_TOKEN else self.spread for name in NAMES]
        )


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """Natural logarithms of what was measured, ``nan`` where nothing was, and weights; ``(n,)``."""

    tpot: Array
    ttft: Array
    mean_ttft: Array
    weight: Array

    def take(self, rows: Array) -> Observed:
        """The observations of some points."""
        return Observed(self.tpot[rows], self.ttft[rows], self.mean_ttft[rows], self.weight[rows])


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
        steps: of the descent, at most.
        given: log-factors by level and group that are known beforehand and not fitted.

    """

    levels: Sequence[Level]
    stretches: Sequence[Level]
    prior: Coefficients = field(default_factory=Coefficients)
    prior_spread: float = 0.4
    noise: float = 0.6
    ttft_weight: float = 4.0
    steps: int = 10
    given: Mapping[tuple[str, str], Array] = field(default_factory=dict)
    coefficients_: dict[tuple[str, str], Array] = field(default_factory=dict)
    stretches_: dict[tuple[str, str], float] = field(default_factory=dict)

    def fit(
        self, table: ServingTable, groups: Mapping[str, Sequence[str]], observed: Observed
    ) -> PooledFit:
        """Fit to the points of ``table``; ``groups`` names the group of each point by level.

        First all but the coefficients of the first token, to times per output token; then those,
        to times to first token, which are noisier and must not bend the others.
        """
        size, count = len(NAMES), len(observed.tpot)
        columns = [("global", "")]
        for level in self.levels:
            columns += [(level.name, group) for group in sorted(set(groups[level.name]) - {""})]
        stretched = [("global", "")] + [
            (level.name, group)
            for level in self.stretches
            for group in sorted(set(groups[level.name]) - {""})
        ]
        spreads = {level.name: level.spreads() for level in self.levels}
        spreads["global"] = Level("global", self.prior_spread).spreads()
        stretchiness = {level.name: level.spread for level in self.stretches}
        stretchiness["global"] = self.prior_spread
        problem = Problem(
            table,
            observed,
            self._start(groups, count),
            np.stack([_member(groups, column, count) for column in columns], 1),
            np.array([_member(groups, column, count) for column in stretched]).reshape(-1, count).T,
            np.concatenate(
                [
                    *(spreads[name] for name, _ in columns),
                    [stretchiness[name] for name, _ in stretched],
                ]
            ),
            self.noise,
        )
        first = np.array([name in FIRST_TOKEN for name in NAMES])
        x = np.zeros(len(problem.spread))
        x = descend(problem, x, ~first, True, (1.0, 0.0, 0.0), self.steps)
        if np.any(np.isfinite(observed.ttft) | np.isfinite(observed.mean_ttft)):
            weights = (0.0, self.ttft_weight, self.ttft_weight / MEAN_PER_MEDIAN)
            x = descend(problem, x, first, False, weights, self.steps)
        for i, column in enumerate(columns):
            self.coefficients_[column] = x[i * size : (i + 1) * size]
        for i, column in enumerate(stretched):
            self.stretches_[column] = float(x[len(columns) * size + i])
        return self

    def _start(self, groups: Mapping[str, Sequence[str]], count: int) -> Array:
        logs = np.tile(np.log(self.prior.vector()), (count, 1))
        for (level, group), factors in self.given.items():
            logs[[i for i, found in enumerate(groups[level]) if found == group]] += factors
        return logs

    def theta(self, groups: Mapping[str, Sequence[str]], count: int) -> tuple[Array, Array]:
        """Coefficients and stretch of each point; groups never seen add nothing."""
        logs = self._start(groups, count) + self.coefficients_["global", ""]
        scale = np.full(count, self.stretches_["global", ""])
        for level in self.levels:
            for i, group in enumerate(groups[level.name]):
                found = self.coefficients_.get((level.name, group))
                if found is not None:
                    logs[i] += found
        for level in self.stretches:
            for i, group in enumerate(groups[level.name]):
                scale[i] += self.stretches_.get((level.name, group), 0.0)
        return np.exp(logs), np.exp(scale)


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """All of a fit but its answer.

    Attributes:
        start: log-coefficients before the fit, of all points or of each, ``([n,] coefficients)``.
        member, stretch: which group's factors, and which stretches, a point takes; ``(n, groups)``.
        spread: how far each unknown may stray.
        base_stretch: log-stretch of each point before the fit.

    """

    table: ServingTable
    observed: Observed
    start: Array
    member: Array
    stretch: Array
    spread: Array
    noise: float
    base_stretch: Array | float = 0.0

    def logs(self, x: Array) -> tuple[Array, Array]:
        """Log-coefficients and log-stretch of every point."""
        size = len(NAMES) * self.member.shape[1]
        factors = x[:size].reshape(self.member.shape[1], len(NAMES))
        return self.start + self.member @ factors, self.base_stretch + self.stretch @ x[size:]

    def residuals(self, logs: Array, scale: Array, weights: tuple[float, ...]) -> Array:
        """Weighted log-errors of the three times, one after the other; 0 where not measured."""
        times = serving_times(self.table, np.exp(logs), np.exp(scale))
        parts = []
        for predicted, measured, weight in zip(
            (times.tpot_s, times.ttft_s, times.mean_ttft_s),
            (self.observed.tpot, self.observed.ttft, self.observed.mean_ttft),
            weights,
            strict=True,
        ):
            if weight > 0:
                error = np.log(np.maximum(predicted, 1e-9)) - measured
                known = np.where(np.isfinite(measured), error, 0.0)
                parts.append(known * np.sqrt(self.observed.weight * weight))
        return np.concatenate(parts) / self.noise

    def value(self, x: Array, residual: Array) -> float:
        """What is minimised."""
        bend = HUBER / self.noise
        bent = bend**2 * (np.sqrt(1 + (residual / bend) ** 2) - 1)
        return float(bent.sum() + 0.5 * np.sum((x / self.spread) ** 2))

    def slopes(
        self, x: Array, plain: Array, free: Array, stretching: bool, weights: tuple[float, ...]
    ) -> Array:
        """Derivatives of the residuals by every unknown, 0 for those that are not free."""
        logs, scale = self.logs(x)
        repeats = len(plain) // len(self.member)
        members = np.tile(self.member, (repeats, 1))
        blocks = np.zeros((len(plain), members.shape[1], len(NAMES)))
        for k in np.flatnonzero(free):
            moved = logs.copy()
            moved[:, k] += DERIVATIVE
            slope = (self.residuals(moved, scale, weights) - plain) / DERIVATIVE
            blocks[:, :, k] = slope[:, None] * members
        stretched = np.zeros((len(plain), self.stretch.shape[1]))
        if stretching and stretched.shape[1]:
            slope = (self.residuals(logs, scale + DERIVATIVE, weights) - plain) / DERIVATIVE
            stretched = slope[:, None] * np.tile(self.stretch, (repeats, 1))
        return np.concatenate([blocks.reshape(len(plain), -1), stretched], axis=1)


def descend(
    problem: Problem,
    x: Array,
    free: Array,
    stretching: bool,
    weights: tuple[float, ...],
    steps: int,
) -> Array:
    """Damped Gauss-Newton with the weights of the pseudo-Huber loss (Triggs et al. 2000, app.)."""
    bend = HUBER / problem.noise
    damping = 0.01
    plain = problem.residuals(*problem.logs(x), weights)
    value = problem.value(x, plain)
    for _ in range(steps):
        root = (1 + (plain / bend) ** 2) ** -0.25
        jacobian = problem.slopes(x, plain, free, stretching, weights) * root[:, None]
        moving = np.flatnonzero(np.any(jacobian != 0, axis=0))
        jacobian, pull = jacobian[:, moving], problem.spread[moving] ** -2
        gradient = jacobian.T @ (plain * root) + x[moving] * pull
        normal = jacobian.T @ jacobian + np.diag(pull)
        for _ in range(6):
            trial = x.copy()
            damped = normal + damping * np.diag(np.diag(normal))
            trial[moving] -= np.linalg.solve(damped, gradient)
            residual = problem.residuals(*problem.logs(trial), weights)
            reached = problem.value(trial, residual)
            if reached < value:
                break
            damping = damping * 10
        else:
            return x
        gain, x, plain, value = value - reached, trial, residual, reached
        damping = damping / 5
        if gain < 1e-3 * value:
            return x
    return x


def _member(groups: Mapping[str, Sequence[str]], column: tuple[str, str], count: int) -> Array:
    level, group = column
    if level == "global":
        return np.ones(count)
    return np.array([float(found == group) for found in groups[level]])
