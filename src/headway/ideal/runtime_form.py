"""The unknowns of a runtime, what is expected of them, and the runtime that they give.

Derived here. T(p, o) = overhead + alpha(p) + beta [(o - 1) + growth x cached tokens they read].
alpha is a `PromptCurve` times a correction that is straight between sizes in the scale of
`strides`: a random walk, so that doubt grows with the distance from what was measured. The priors
carry what four points cannot tell, and give way to data.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from headway.ideal.prompt_curve import PromptCurve, Tiles
from headway.ideal.request_profile import FloatArray

# Below so many tokens most prompts take as long as one token, so the correction hardly moves.
STRIDE_TOKENS = 200.0


@dataclass(frozen=True, slots=True)
class Prior:
    """What is expected before anything is measured: ``mean`` and standard deviation ``sd``."""

    mean: float
    sd: float

    def doubled(self) -> Prior:
        """Return the same with twice the standard deviation."""
        return Prior(self.mean, 2 * self.sd)


# What 12 models on A100s have in common beyond the shape: 128 tokens take 4% longer than a tile of
# 128 says, 428 take 7%; prompt tokens, logarithm of the factor.
USUAL = (
    (1, 0.0), (32, 0.0), (64, 0.01), (128, 0.04), (192, 0.02), (256, 0.05), (320, 0.055),
    (384, 0.06), (428, 0.075), (472, 0.05), (512, 0.045), (576, 0.03), (768, 0.035), (896, 0.045),
    (960, 0.02), (1280, 0.03), (1920, 0.05),
)  # fmt: skip
# Far below what any clock can tell.
NO_OVERHEAD = Prior(-30.0, 1e-6)
# What is expected of an endpoint: from next to nothing to a hundred decode steps.
SOME_OVERHEAD = Prior(0.0, 2.5)


@dataclass(frozen=True, slots=True)
class Priors:
    """Expectations of the unknowns: mean and spread over 12 models profiled on A100s.

    Computed by benchmarks/ideal_estimator.py from the logs of Narayanan et al. 2023 (arXiv
    2305.02440), of those whose matrices suit tensor cores, with spreads widened for other machines.

    Attributes:
        log_first: of the shortest prompt's time over beta; sampling and launch come on top of a
            decode step.
        log_corner_tokens: slope over beta; where arithmetic overtakes memory traffic.
        lead: of the compute-bound part, in hundreds of tokens.
        share: of the growth that comes in tiles (ignored without tiles).
        log_sharpness: of the corner.
        log_growth: of a decode step, per 1,000 tokens of context.
        log_overhead: of a constant, over beta, that no token explains (an endpoint's queue);
            ``None`` where there is none.
        usual: what matrix kernels add to the shape, of all models alike: prompt tokens, and the
            logarithm of the factor, straight between (ignored without tiles).
        walk: standard deviation of the correction about ``usual`` per unit of `strides`.
        misfit: relative error of single runtimes that the form itself leaves; measured instead
            where there are more points than unknowns.

    """

    log_first: Prior = Prior(0.09, 0.06)
    log_corner_tokens: Prior = Prior(5.6, 0.8)
    lead: Prior = Prior(0.35, 0.4)
    share: Prior = Prior(0.62, 0.17)
    log_sharpness: Prior = Prior(1.6, 0.7)
    log_growth: Prior = Prior(-7.5, 2.3)
    log_overhead: Prior | None = None
    usual: tuple[tuple[float, float], ...] = USUAL
    walk: float = 0.08
    misfit: float = 0.01

    def doubled(self) -> Priors:
        """Return the same with twice the spread, for what is unlike all that was profiled."""
        return replace(
            self,
            log_first=self.log_first.doubled(),
            log_corner_tokens=self.log_corner_tokens.doubled(),
            lead=self.lead.doubled(),
            share=self.share.doubled(),
            log_sharpness=self.log_sharpness.doubled(),
            log_growth=self.log_growth.doubled(),
            log_overhead=self.log_overhead and self.log_overhead.doubled(),
            walk=self.walk * 2**0.5,
        )

    def shape(self, tiled: bool) -> tuple[Prior, ...]:
        """Return the priors of the unknowns between beta and the corrections, as in `Form`."""
        return (
            self.log_first,
            self.log_corner_tokens,
            self.lead,
            self.share if tiled else Prior(0.0, 1e-6),
            self.log_sharpness,
            self.log_growth,
            self.log_overhead or NO_OVERHEAD,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """The map from a vector of unknowns to runtimes.

    The unknowns are log beta, the seven of `Priors.shape`, then one correction per element of
    ``sizes`` (prompt tokens, ascending).
    """

    tiles: Tiles | None
    sizes: FloatArray

    NUM_SHAPE = 8

    def prior(self, priors: Priors, beta_s: float) -> tuple[FloatArray, FloatArray]:
        """Return mean and inverse covariance of the unknowns, around a rough ``beta_s``."""
        shape = (Prior(float(np.log(beta_s)), 3.0), *priors.shape(self.tiles is not None))
        usual = np.zeros(self.sizes.size)
        if self.tiles is not None:
            usual = np.interp(self.sizes, *np.asarray(priors.usual).T)
        mean = np.concatenate([[prior.mean for prior in shape], usual])

        # The shape's unknowns are independent; the corrections are a random walk.
        precision = np.zeros((mean.size, mean.size))
        count, distance = self.NUM_SHAPE, strides(self.sizes)
        precision[:count, :count] = np.diag([prior.sd**-2 for prior in shape])
        walk = np.minimum(distance[:, None], distance[None, :]) + 1e-4
        precision[count:, count:] = np.linalg.inv(priors.walk**2 * walk)
        return mean, precision

    def other_starts(self, mean: FloatArray, priors: Priors) -> list[FloatArray]:
        """Return unknowns to begin a search from besides ``mean``: other corners and overheads."""
        moves = [(2, priors.log_corner_tokens.sd * side) for side in (-1.5, 1.5)]
        if priors.log_overhead is not None:
            moves += [(self.NUM_SHAPE - 1, -3.0), (self.NUM_SHAPE - 1, 3.0)]

        starts = []
        for index, distance in moves:
            start = mean.copy()
            start[index] += distance
            starts.append(start)
        return starts

    def parts(self, unknowns: FloatArray) -> tuple[PromptCurve, float, float]:
        """Return the prompt's curve, beta in seconds, and its relative growth per cached token."""
        log_beta, log_first, log_corner, lead, share, log_sharpness, log_growth, _ = (
            float(unknown) for unknown in unknowns[: self.NUM_SHAPE]
        )
        beta_s, tiles = float(np.exp(log_beta)), self.tiles
        if tiles is not None:
            tiles = replace(tiles, share=min(max(share, 0.0), 1.0))

        curve = PromptCurve(
            floor_s=beta_s * float(np.exp(log_first)),
            slope_s_per_token=beta_s / float(np.exp(log_corner)),
            lead_tokens=100 * lead,
            sharpness=float(np.exp(min(max(log_sharpness, 0.0), 4.0))),
            tiles=tiles,
        )
        return curve, beta_s, float(np.exp(log_growth)) / 1000

    def alpha_s(self, unknowns: FloatArray, prompts: FloatArray) -> FloatArray:
        """Return seconds of prompts with their first token, corrections included."""
        curve, _, _ = self.parts(unknowns)
        correction = np.interp(strides(prompts), strides(self.sizes), unknowns[self.NUM_SHAPE :])
        return np.asarray(curve.at(prompts) * np.exp(correction))

    def overhead_s(self, unknowns: FloatArray) -> float:
        """Return the constant that no token explains, in seconds."""
        return float(np.exp(unknowns[0] + unknowns[self.NUM_SHAPE - 1]))

    def log_runtime(
        self,
        unknowns: FloatArray,
        prompts: FloatArray,
        outputs: FloatArray,
        with_overhead: bool = True,
    ) -> FloatArray:
        """Return the logarithm of the seconds of requests with one output token or more."""
        _, beta_s, growth = self.parts(unknowns)
        further = outputs - 1
        steps = further + growth * cached_reads(prompts, further)
        overhead_s = self.overhead_s(unknowns) if with_overhead else 0.0
        return np.asarray(np.log(overhead_s + self.alpha_s(unknowns, prompts) + beta_s * steps))

    def slopes(
        self,
        unknowns: FloatArray,
        prompts: FloatArray,
        outputs: FloatArray,
        with_overhead: bool = True,
    ) -> FloatArray:
        """Return the derivatives of `log_runtime`, shape (requests, unknowns)."""

        def log_runtime(at: FloatArray) -> FloatArray:
            return self.log_runtime(at, prompts, outputs, with_overhead)

        # Of the shape by central differences.
        columns = []
        for i in range(self.NUM_SHAPE):
            nudge = np.zeros(unknowns.size)
            nudge[i] = 1e-5
            columns.append((log_runtime(unknowns + nudge) - log_runtime(unknowns - nudge)) / 2e-5)

        # Of the corrections exactly: each acts on the prompt's share of the runtime.
        share = self.alpha_s(unknowns, prompts) / np.exp(log_runtime(unknowns))
        return np.column_stack([*columns, share[:, None] * self._correction_weights(prompts)])

    def _correction_weights(self, prompts: FloatArray) -> FloatArray:
        """Return the weight of each size's correction at each prompt, (prompts, sizes)."""
        grid = strides(self.sizes)
        position = np.clip(strides(prompts), grid[0], grid[-1])
        after = np.clip(np.searchsorted(grid, position), 1, grid.size - 1)
        fraction = (position - grid[after - 1]) / (grid[after] - grid[after - 1])

        weights, rows = np.zeros((prompts.size, grid.size)), np.arange(prompts.size)
        weights[rows, after] = fraction
        weights[rows, after - 1] = 1 - fraction
        return weights


def strides(prompts: FloatArray) -> FloatArray:
    """Return the length of the random walk: even below the corner, in log p above it."""
    return np.asarray(np.log1p(prompts / STRIDE_TOKENS))


def cached_reads(prompts: FloatArray, further: FloatArray) -> FloatArray:
    """Return the cached tokens that ``further`` decode steps read in all: p + 1, p + 2, ..."""
    return np.asarray(further * prompts + further * (further + 1) / 2)
