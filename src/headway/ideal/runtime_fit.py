"""The default estimator: any request's runtime, with its interval, from a handful of measurements.

The unknowns of `headway.ideal.runtime_form` are found together by maximum a posteriori on relative
errors (Levenberg-Marquardt); their covariance gives the interval. Unlike the published tables the
result is continuous, never falls with either length, and is not rounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from headway.errors import InputError
from headway.ideal.prompt_curve import Tiles, knots
from headway.ideal.request_profile import FloatArray, RequestProfile
from headway.ideal.runtime_form import Form, Priors, cached_reads, strides
from headway.measure.trials import Interval

# Relative error below which no measurement is believed: clocks and temperatures drift by that much.
MIN_SPREAD = 0.005
# How many points the prior of the misfit counts for.
MISFIT_POINTS = 2.0
# An overhead that nothing tells is doubted by a factor of exp(1.645 x 5) at most.
MAX_OVERHEAD_SD = 5.0
MAX_STEPS = 200
GPU_TILES = Tiles()
GPU_PRIORS = Priors()


@dataclass(frozen=True, slots=True, eq=False)
class RuntimeFit:
    """Runtime of single requests, learned from a profile by `fit_runtime`.

    Attributes:
        form: which unknowns there are and what runtime they give.
        priors: expectations before measuring.
        unknowns: the most probable values, in the order of `Form`.
        covariance: of the unknowns, given the measurements.
        misfit: relative error of single runtimes that the form itself leaves.

    """

    form: Form
    priors: Priors
    unknowns: FloatArray
    covariance: FloatArray
    misfit: float
    _prompt_sizes: FloatArray
    _prompt_s: FloatArray

    @property
    def overhead_s(self) -> Interval:
        """The constant that no token explains, if ``priors`` allow one; `predict` leaves it out."""
        if self.priors.log_overhead is None:
            return Interval.exactly(0.0)

        # Its logarithm is the sum of two unknowns: log beta, and the overhead over beta.
        both = [0, Form.NUM_SHAPE - 1]
        sd = float(np.sqrt(self.covariance[np.ix_(both, both)].sum()))
        factor = float(np.exp(normal_width(0.9) * min(sd, MAX_OVERHEAD_SD)))
        expected = self.form.overhead_s(self.unknowns)
        return Interval(expected / factor, expected, expected * factor)

    def alpha_s(self, prompt_tokens: npt.ArrayLike) -> FloatArray:
        """Return seconds of a prompt with its first token: continuous, never falling."""
        prompts = np.asarray(prompt_tokens, dtype=np.float64)
        return np.asarray(np.interp(prompts, self._prompt_sizes, self._prompt_s))

    def predict(self, prompt_tokens: npt.ArrayLike, output_tokens: npt.ArrayLike) -> FloatArray:
        """Return seconds of requests; arrays broadcast. Without output tokens, of the prompt."""
        prompts, outputs = check_lengths(prompt_tokens, output_tokens)
        further = np.maximum(outputs - 1, 0.0)
        _, beta_s, growth = self.form.parts(self.unknowns)
        steps = further + growth * cached_reads(prompts, further)
        return np.asarray(self.alpha_s(prompts) + beta_s * steps)

    def relative_sd(self, prompt_tokens: npt.ArrayLike, output_tokens: npt.ArrayLike) -> FloatArray:
        """Return the standard deviation of log `predict`: what the measurements leave open."""
        prompts, outputs = np.broadcast_arrays(*check_lengths(prompt_tokens, output_tokens))
        shape = prompts.shape
        prompts, outputs = prompts.ravel(), outputs.ravel()

        slopes = self.slopes(prompts, outputs)
        variance = np.einsum("ij,jk,ik->i", slopes, self.covariance, slopes)

        # Beyond the largest measured prompt the correction goes on as a random walk.
        beyond = np.maximum(strides(prompts) - strides(self.form.sizes[-1:]), 0.0)
        share = self.alpha_s(prompts) / self.predict(prompts, outputs)
        walk = beyond * (self.priors.walk * share) ** 2
        return np.asarray(np.sqrt(variance + walk + self.misfit**2).reshape(shape))

    def interval(
        self, prompt_tokens: npt.ArrayLike, output_tokens: npt.ArrayLike, confidence: float = 0.9
    ) -> tuple[FloatArray, FloatArray]:
        """Return seconds between which the runtime lies with probability ``confidence``."""
        factor = np.exp(normal_width(confidence) * self.relative_sd(prompt_tokens, output_tokens))
        expected = self.predict(prompt_tokens, output_tokens)
        return expected / factor, expected * factor

    def slopes(self, prompts: FloatArray, outputs: FloatArray) -> FloatArray:
        """Return derivatives of log `predict`, shape (requests, unknowns)."""
        outputs = np.maximum(outputs, 1.0)
        return self.form.slopes(self.unknowns, prompts, outputs, with_overhead=False)


def fit_runtime(
    profile: RequestProfile,
    tiles: Tiles | None = GPU_TILES,
    priors: Priors = GPU_PRIORS,
) -> RuntimeFit:
    """Fit the runtime of any request to ``profile``.

    Args:
        profile: measured requests of one engine.
        tiles: steps of the prompt's growth; ``None`` where kernels have none (CPUs).
        priors: expectations before measuring.

    Raises:
        InputError: no request of ``profile`` has two output tokens or more.

    """
    if profile.output_tokens.max() < 2:
        raise InputError("a fit needs at least one request with two output tokens or more")
    largest = max(float(profile.prompt_tokens.max()), 64.0)
    grid = np.unique(np.round(np.geomspace(1, largest, 24)))
    form = Form(tiles, np.union1d(profile.prompt_sizes, grid))
    mean, precision = form.prior(priors, _rough_beta_s(profile))
    posterior = _Posterior(form, profile, mean, precision)

    # Runtimes bend, so a start at the wrong side of the corner may end in a hollow.
    starts = [mean, *form.other_starts(mean, priors)]
    unknowns = min((posterior.minimize(start) for start in starts), key=lambda end: end[1])[0]
    covariance, misfit = posterior.covariance_and_misfit(unknowns, priors.misfit)

    sizes = knots(tiles, form.sizes)
    return RuntimeFit(
        form=form,
        priors=priors,
        unknowns=unknowns,
        covariance=covariance,
        misfit=misfit,
        _prompt_sizes=sizes,
        _prompt_s=np.maximum.accumulate(form.alpha_s(unknowns, sizes)),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Posterior:
    """How improbable unknowns are, given measurements and a normal prior."""

    form: Form
    profile: RequestProfile
    mean: FloatArray
    precision: FloatArray

    @property
    def spread(self) -> FloatArray:
        """Relative standard deviation of each measurement."""
        spread = self.profile.spread
        return np.maximum(np.zeros(len(self.profile)) if spread is None else spread, MIN_SPREAD)

    def log_errors(self, unknowns: FloatArray) -> FloatArray:
        """Return predicted over measured runtimes, as logarithms."""
        profile = self.profile
        log_s = self.form.log_runtime(unknowns, profile.prompt_tokens, profile.output_tokens)
        return log_s - np.log(profile.runtime_s)

    def slopes(self, unknowns: FloatArray) -> FloatArray:
        """Return derivatives of the errors over their spread, (measurements, unknowns)."""
        profile = self.profile
        slopes = self.form.slopes(unknowns, profile.prompt_tokens, profile.output_tokens)
        return slopes / self.spread[:, None]

    def loss(self, unknowns: FloatArray) -> float:
        """Return twice the negative logarithm of the probability, up to a constant."""
        distance = unknowns - self.mean
        errors = self.log_errors(unknowns) / self.spread
        return float(np.sum(errors**2) + distance @ self.precision @ distance)

    def minimize(self, start: FloatArray) -> tuple[FloatArray, float]:
        """Return the unknowns of least loss near ``start``, and that loss."""
        unknowns, damping = start, 1e-3
        loss = self.loss(unknowns)

        for _ in range(MAX_STEPS):
            # One step of Levenberg and Marquardt.
            slopes = self.slopes(unknowns)
            curvature: FloatArray = slopes.T @ slopes + self.precision
            errors = self.log_errors(unknowns) / self.spread
            gradient = slopes.T @ errors + self.precision @ (unknowns - self.mean)
            damped = curvature + damping * np.diag(np.diag(curvature))
            step = np.asarray(np.linalg.solve(damped, gradient), dtype=np.float64)

            # Shorter steps after one that was too long, longer ones after one that helped.
            new_loss = self.loss(unknowns - step)
            if new_loss >= loss:
                damping *= 10
                if damping > 1e9:
                    break
                continue
            gain, loss, damping = loss - new_loss, new_loss, damping / 5
            unknowns = unknowns - step
            if gain < 1e-9 * (1 + loss):
                break

        return unknowns, loss

    def covariance_and_misfit(
        self, unknowns: FloatArray, prior_misfit: float
    ) -> tuple[FloatArray, float]:
        """Return the covariance of ``unknowns`` and the relative error that the form leaves."""
        slopes = self.slopes(unknowns)
        information = slopes.T @ slopes
        covariance = np.asarray(np.linalg.inv(information + self.precision), dtype=np.float64)

        # What the points have settled is the trace of the influence matrix.
        degrees = max(len(self.profile) - float(np.trace(covariance @ information)), 0.0)
        squares = float(np.sum(self.log_errors(unknowns) ** 2)) + MISFIT_POINTS * prior_misfit**2
        misfit = float(np.sqrt(squares / (degrees + MISFIT_POINTS)))

        # Points of one size err together, so their number does not shrink a misfit.
        return covariance * max(1.0, misfit**2 / float(np.mean(self.spread**2))), misfit


def _rough_beta_s(profile: RequestProfile) -> float:
    """Return seconds per token between answers to prompts of one size, else the least possible."""
    slopes = []
    for size in profile.prompt_sizes:
        is_size = profile.prompt_tokens == size
        outputs, seconds = profile.output_tokens[is_size], profile.runtime_s[is_size]
        short, long = int(np.argmin(outputs)), int(np.argmax(outputs))
        if outputs[long] > outputs[short] and seconds[long] > seconds[short]:
            slopes.append((seconds[long] - seconds[short]) / (outputs[long] - outputs[short]))

    return float(np.median(slopes) if slopes else np.min(profile.runtime_s / profile.output_tokens))


def normal_width(confidence: float) -> float:
    """Return the standard deviations on either side that hold ``confidence`` of a normal law."""
    if not 0 < confidence < 1:
        raise InputError(f"confidence must lie between 0 and 1, not {confidence:g}")
    return NormalDist().inv_cdf((1 + confidence) / 2)


def check_lengths(
    prompt_tokens: npt.ArrayLike, output_tokens: npt.ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """Return both as arrays; raise `InputError` unless they are lengths of requests."""
    prompts = np.asarray(prompt_tokens, dtype=np.float64)
    outputs = np.asarray(output_tokens, dtype=np.float64)
    if np.any(prompts < 1) or np.any(outputs < 0) or not np.all(np.isfinite(prompts + outputs)):
        raise InputError("a request has at least 1 prompt token and no negative output tokens")
    return prompts, outputs
