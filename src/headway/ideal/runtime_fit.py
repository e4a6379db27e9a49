"""The default estimator: any request's runtime, with its interval, from a handful of measurements.

The unknowns of `headway.ideal.runtime_form` are found together by maximum a posteriori on relative
errors (Levenberg-Marquardt); their covariance gives the interval. Unlike the published tables the
result is continuous, never falls with either length, and is not rounded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from headway.errors import InputError
from headway.ideal.prompt_curve import PromptCurve, Tiles, knots
from headway.ideal.request_profile import FloatArray, RequestProfile
from headway.ideal.runtime_form import Form, Priors, cached_reads, strides
from headway.measure.interval import Interval

# Relative error below which no measurement is believed: clocks and temperatures drift by that much.
LEAST_SPREAD = 0.005
# How many points the prior of the misfit counts for.
MISFIT_POINTS = 2.0


@dataclass(slots=True, eq=False)
class RuntimeFit:
    """Runtime of single requests; ``fit`` first, as in scikit-learn.

    Attributes:
        tiles: steps of the prompt's growth; ``None`` where kernels have none (CPUs).
        priors: expectations before measuring.
        curve_: fitted `PromptCurve`, before corrections at single sizes.
        beta_s_: seconds of a decode step with an empty context.
        growth_per_token_: relative growth of a decode step with each token of context.
        misfit_: relative error of single runtimes that the fitted form leaves.
        overhead_s_: the constant that no token explains, if ``priors`` allow one; `predict` leaves
            it out.
        profile_: what it was fitted to.

    """

    tiles: Tiles | None = field(default_factory=Tiles)
    priors: Priors = field(default_factory=Priors)
    curve_: PromptCurve = field(init=False)
    beta_s_: float = field(init=False)
    growth_per_token_: float = field(init=False)
    misfit_: float = field(init=False)
    overhead_s_: Interval = field(init=False)
    profile_: RequestProfile = field(init=False)
    _form: Form = field(init=False)
    _at: FloatArray = field(init=False)
    _covariance: FloatArray = field(init=False)
    _table: tuple[FloatArray, FloatArray] = field(init=False)

    def fit(self, profile: RequestProfile) -> RuntimeFit:
        """Learn from ``profile``; raise `InputError` unless it has a request of several tokens."""
        if profile.output_tokens.max() < 2:
            raise InputError("a fit needs at least one request with two output tokens or more")
        most = max(float(profile.prompt_tokens.max()), 64.0)
        grid = np.unique(np.round(np.geomspace(1, most, 24)))
        self._form = Form(self.tiles, np.union1d(profile.prompt_sizes, grid))
        spread = np.zeros(len(profile)) if profile.spread is None else profile.spread
        spread = np.maximum(spread, LEAST_SPREAD)
        mean, precision = self._form.prior(self.priors, _rough_beta_s(profile))
        # Runtimes bend, so a start at the wrong side of the corner may end in a hollow.
        starts = [mean, *self._form.other_starts(mean, self.priors)]
        ends = [self._most_probable(profile, spread, start, mean, precision) for start in starts]
        at = min(ends, key=lambda end: end[1])[0]
        self._doubt(profile, spread, at, precision)
        self._at, self.profile_ = at, profile
        self.curve_, self.beta_s_, self.growth_per_token_ = self._form.parts(at)
        self.overhead_s_ = self._overhead()
        sizes = knots(self.tiles, self._form.sizes)
        self._table = sizes, np.maximum.accumulate(self._form.alpha_s(at, sizes))
        return self

    def alpha_s(self, prompt_tokens: npt.ArrayLike) -> FloatArray:
        """Seconds of a prompt with its first token: continuous, never falling."""
        self._check_fitted()
        sizes, seconds = self._table
        return np.asarray(np.interp(np.asarray(prompt_tokens, dtype=np.float64), sizes, seconds))

    def predict(self, prompt_tokens: npt.ArrayLike, output_tokens: npt.ArrayLike) -> FloatArray:
        """Seconds of requests; arrays broadcast. Without output tokens, those of the prompt."""
        prompts, outputs = _checked(prompt_tokens, output_tokens)
        further = np.maximum(outputs - 1, 0.0)
        alpha_s = self.alpha_s(prompts)
        steps = further + self.growth_per_token_ * cached_reads(prompts, further)
        return np.asarray(alpha_s + self.beta_s_ * steps)

    def relative_sd(self, prompt_tokens: npt.ArrayLike, output_tokens: npt.ArrayLike) -> FloatArray:
        """Standard deviation of the logarithm of `predict`: what the measurements leave open."""
        self._check_fitted()
        prompts, outputs = np.broadcast_arrays(*_checked(prompt_tokens, output_tokens))
        slopes = self.slopes(prompts.ravel(), outputs.ravel())
        known = np.einsum("ij,jk,ik->i", slopes, self._covariance, slopes)
        beyond = np.maximum(strides(prompts.ravel()) - strides(self._form.sizes[-1:]), 0.0)
        share = self.alpha_s(prompts.ravel()) / self.predict(prompts.ravel(), outputs.ravel())
        walked = beyond * (self.priors.walk * share) ** 2
        return np.asarray(np.sqrt(known + walked + self.misfit_**2).reshape(prompts.shape))

    def interval(
        self,
        prompt_tokens: npt.ArrayLike,
        output_tokens: npt.ArrayLike,
        confidence: float = 0.9,
    ) -> tuple[FloatArray, FloatArray]:
        """Seconds between which the true runtime lies with probability ``confidence``."""
        factor = np.exp(normal_width(confidence) * self.relative_sd(prompt_tokens, output_tokens))
        middle = self.predict(prompt_tokens, output_tokens)
        return middle / factor, middle * factor

    def slopes(self, prompts: FloatArray, outputs: FloatArray) -> FloatArray:
        """Derivatives of log `predict` with respect to the unknowns, (requests, unknowns)."""
        self._check_fitted()
        return self._form.slopes(self._at, prompts, np.maximum(outputs, 1.0), whole=False)

    @property
    def unknowns(self) -> FloatArray:
        """The most probable vector of unknowns, in the order of `Form`."""
        self._check_fitted()
        return self._at

    @property
    def sizes(self) -> FloatArray:
        """Prompt sizes at which there is a correction."""
        self._check_fitted()
        return self._form.sizes

    @property
    def covariance(self) -> FloatArray:
        """Of the unknowns, given the measurements."""
        self._check_fitted()
        return self._covariance

    def _most_probable(
        self,
        profile: RequestProfile,
        spread: FloatArray,
        start: FloatArray,
        mean: FloatArray,
        precision: FloatArray,
    ) -> tuple[FloatArray, float]:
        observed = np.log(profile.runtime_s)
        requests = (profile.prompt_tokens, profile.output_tokens)

        def off(unknowns: FloatArray) -> FloatArray:
            return np.asarray((self._form.log_runtime(unknowns, *requests) - observed) / spread)

        def loss(unknowns: FloatArray) -> float:
            away = unknowns - mean
            return float(np.sum(off(unknowns) ** 2) + away @ precision @ away)

        at, damping = start, 1e-3
        best = loss(at)
        for _ in range(200):
            slopes = self._form.slopes(at, *requests) / spread[:, None]
            normal: FloatArray = slopes.T @ slopes + precision
            downhill = slopes.T @ off(at) + precision @ (at - mean)
            damped = normal + damping * np.diag(np.diag(normal))
            step = np.asarray(np.linalg.solve(damped, downhill), dtype=np.float64)
            tried = loss(at - step)
            if tried >= best:
                damping *= 10
                if damping > 1e9:
                    break
                continue
            gain, best, damping = best - tried, tried, damping / 5
            at = at - step
            if gain < 1e-9 * (1 + best):
                break
        return at, best

    def _doubt(
        self, profile: RequestProfile, spread: FloatArray, at: FloatArray, precision: FloatArray
    ) -> None:
        requests = (profile.prompt_tokens, profile.output_tokens)
        slopes = self._form.slopes(at, *requests) / spread[:, None]
        told = slopes.T @ slopes
        covariance = np.asarray(np.linalg.inv(told + precision), dtype=np.float64)
        off = self._form.log_runtime(at, *requests) - np.log(profile.runtime_s)
        # What the points have settled is the trace of the influence matrix.
        spare = max(len(profile) - float(np.trace(covariance @ told)), 0.0)
        wrong = float(np.sum(off**2)) + MISFIT_POINTS * self.priors.misfit**2
        self.misfit_ = float(np.sqrt(wrong / (spare + MISFIT_POINTS)))
        # Points of one size err together, so their number does not shrink a misfit.
        self._covariance = covariance * max(1.0, self.misfit_**2 / float(np.mean(spread**2)))

    def _overhead(self) -> Interval:
        if self.priors.log_overhead is None:
            return Interval.exactly(0.0)
        both = [0, self._form.NUM_SHAPE - 1]
        doubt = float(np.sqrt(self._covariance[np.ix_(both, both)].sum()))
        middle, factor = self._form.overhead_s(self._at), float(np.exp(1.645 * min(doubt, 5.0)))
        return Interval(middle / factor, middle, middle * factor)

    def _check_fitted(self) -> None:
        if not hasattr(self, "_table"):
            raise InputError("this RuntimeFit has learned nothing yet; call fit first")


def _rough_beta_s(profile: RequestProfile) -> float:
    """Seconds per token between answers to prompts of one size, else the least there can be."""
    least = float(np.min(profile.runtime_s / profile.output_tokens))
    slopes = []
    for size in profile.prompt_sizes:
        same = profile.prompt_tokens == size
        outputs, seconds = profile.output_tokens[same], profile.runtime_s[same]
        short, long = int(np.argmin(outputs)), int(np.argmax(outputs))
        if outputs[long] > outputs[short]:
            slopes.append((seconds[long] - seconds[short]) / (outputs[long] - outputs[short]))
    usable = [slope for slope in slopes if slope > 0]
    return float(np.median(usable)) if usable else least


def normal_width(confidence: float) -> float:
    """Standard deviations on either side that hold ``confidence`` of a normal distribution."""
    if not 0 < confidence < 1:
        raise InputError(f"confidence must lie between 0 and 1, not {confidence:g}")
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _checked(
    prompt_tokens: npt.ArrayLike, output_tokens: npt.ArrayLike
) -> tuple[FloatArray, FloatArray]:
    prompts = np.asarray(prompt_tokens, dtype=np.float64)
    outputs = np.asarray(output_tokens, dtype=np.float64)
    if np.any(prompts < 1) or np.any(outputs < 0) or not np.all(np.isfinite(prompts + outputs)):
        raise InputError("a request has at least 1 prompt token and no negative output tokens")
    return prompts, outputs
