"""Coefficients that meet measured times best: damped Gauss-Newton on log-errors.

Unknowns are log-factors, each pulled towards 0 by how far it may stray. Errors count relative,
large ones less than their square (pseudo-Huber).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headway.serving.tabulated import ServingTable, serving_times
from headway.steptime.kernel_coefficients import NAMES
from headway.steptime.work import Array

HUBER = 0.25
DERIVATIVE = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """Natural logarithms of measured seconds, ``nan`` where there are none, and weights; ``(n,)``.

    Attributes:
        tpot: of the time per output token.
        ttft, mean_ttft: of the median and the mean time to first token.
        weight: of each point.

    """

    tpot: Array
    ttft: Array
    mean_ttft: Array
    weight: Array


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """All of a fit but its answer.

    Attributes:
        start: log-coefficients before the fit, of all points or of each, ``([n,] coefficients)``.
        member, stretch: which group's factors, and which stretches, a point takes; ``(n, groups)``.
        spread: how far each unknown may stray.
        noise: how far points lie from any such model, as a log-deviation.
        base_stretch, base_prompt_stretch: log-stretch of each point before the fit, of all its
            steps, and once more of those with prompts.

    """

    table: ServingTable
    observed: Observed
    start: Array
    member: Array
    stretch: Array
    spread: Array
    noise: float
    base_stretch: Array | float = 0.0
    base_prompt_stretch: Array | float = 0.0

    @property
    def bend(self) -> float:
        """The residual from which on an error counts less than its square."""
        return HUBER / self.noise

    def logs(self, x: Array) -> tuple[Array, Array]:
        """Return log-coefficients and log-stretch of every point under the unknowns ``x``."""
        size = len(NAMES) * self.member.shape[1]
        factors = x[:size].reshape(self.member.shape[1], len(NAMES))
        return self.start + self.member @ factors, self.base_stretch + self.stretch @ x[size:]

    def residuals(self, logs: Array, scale: Array, weights: tuple[float, ...]) -> Array:
        """Return weighted log-errors of the three times, one after the other; 0 if not measured."""
        times = serving_times(
            self.table, np.exp(logs), np.exp(scale), np.exp(self.base_prompt_stretch)
        )
        pairs = (
            (times.tpot_s, self.observed.tpot),
            (times.ttft_s, self.observed.ttft),
            (times.mean_ttft_s, self.observed.mean_ttft),
        )

        parts = []
        for (predicted, measured), weight in zip(pairs, weights, strict=True):
            if weight > 0:
                error = np.log(np.maximum(predicted, 1e-9)) - measured
                error = np.where(np.isfinite(measured), error, 0.0)
                parts.append(error * np.sqrt(self.observed.weight * weight))
        return np.concatenate(parts) / self.noise

    def value(self, x: Array, residual: Array) -> float:
        """Return what is minimised: bent squares of the errors, and squares of the strays."""
        bent = self.bend**2 * (np.sqrt(1 + (residual / self.bend) ** 2) - 1)
        return float(bent.sum() + 0.5 * np.sum((x / self.spread) ** 2))

    def slopes(
        self,
        x: Array,
        *,
        residual: Array,
        free: Array,
        stretching: bool,
        weights: tuple[float, ...],
    ) -> Array:
        """Return the derivatives of ``residual`` by every unknown, 0 for those that are not free.

        Differences of one coefficient at a time serve all groups: a point's coefficient moves with
        the factor of each group that the point is a member of.
        """
        logs, scale = self.logs(x)
        repeats = len(residual) // len(self.member)
        members = np.tile(self.member, (repeats, 1))

        blocks = np.zeros((len(residual), members.shape[1], len(NAMES)))
        for k in np.flatnonzero(free):
            shifted = logs.copy()
            shifted[:, k] += DERIVATIVE
            slope = (self.residuals(shifted, scale, weights) - residual) / DERIVATIVE
            blocks[:, :, k] = slope[:, None] * members

        stretches = np.zeros((len(residual), self.stretch.shape[1]))
        if stretching and stretches.shape[1]:
            slope = (self.residuals(logs, scale + DERIVATIVE, weights) - residual) / DERIVATIVE
            stretches = slope[:, None] * np.tile(self.stretch, (repeats, 1))
        return np.concatenate([blocks.reshape(len(residual), -1), stretches], axis=1)


def descend(
    problem: Problem,
    x: Array,
    *,
    free: Array,
    stretching: bool,
    weights: tuple[float, ...],
    max_steps: int,
) -> Array:
    """Return the unknowns that minimise ``problem`` from ``x`` on.

    Damped Gauss-Newton with the weights of the pseudo-Huber loss (Triggs et al. 2000, appendix).

    ``free`` says which coefficients may change, ``(coefficients,)``, ``stretching`` whether the
    stretches may. ``weights`` are those of the three times, 0 for one that does not count.
    """
    damping = 0.01
    residual = problem.residuals(*problem.logs(x), weights)
    value = problem.value(x, residual)

    for _ in range(max_steps):
        # The normal equations of the unknowns that change anything.
        root = (1 + (residual / problem.bend) ** 2) ** -0.25
        slopes = problem.slopes(
            x, residual=residual, free=free, stretching=stretching, weights=weights
        )
        jacobian = slopes * root[:, None]
        active = np.flatnonzero(np.any(jacobian != 0, axis=0))
        jacobian, pull = jacobian[:, active], problem.spread[active] ** -2
        gradient = jacobian.T @ (residual * root) + x[active] * pull
        normal = jacobian.T @ jacobian + np.diag(pull)

        # Damp harder until the step goes down.
        for _ in range(6):
            trial = x.copy()
            damped = normal + damping * np.diag(np.diag(normal))
            trial[active] -= np.linalg.solve(damped, gradient)
            trial_residual = problem.residuals(*problem.logs(trial), weights)
            trial_value = problem.value(trial, trial_residual)
            if trial_value < value:
                break
            damping *= 10
        else:
            return x

        gain, x, residual, value = value - trial_value, trial, trial_residual, trial_value
        damping /= 5
        if gain < 1e-3 * value:
            return x
    return x
