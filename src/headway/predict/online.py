"""What a predictor learns from finished requests, per model and per tenant.

The location is corrected by a Bayesian linear model per model, whose state is a Gaussian over the
weights of a prompt's features: one observation is one rank-one update (recursive least squares,
Plackett 1950; the Kalman filter of a random walk). The weights drift a little with each step, so
what changes is followed, but never back beyond the prior. What the correction leaves is calibrated
by `headway.predict.conformal`.

An answer that a limit cut is a lower bound, not a length (a censored observation, Tobin 1958): it
weighs as much as it says, which is nothing where the limit lies far below what was expected, and
its level is drawn evenly from those above the limit's. Where tenants share a model, what one sends
moves its own predictions first: its n-th answer tells less of the others (partial pooling), and
cut answers of a tenant most of whose answers are cut, which tell of its limits, tell nothing.
A prompt that was answered before, by any model, is moved by what `headway.predict.repeats` keeps;
a cut answer leaves nothing there. What single words add is learned by `headway.predict.words`.

A model that was never seen starts from the mean of all (`shared`), with the doubt of the prior;
a tenant starts from its model. Both are forgotten, the longest unused first, when there are more
than a fixed number: names come from outside and must not fill the memory.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from headway.predict.conformal import LevelWindow
from headway.predict.length_model import HASH_BITS, LogLengths
from headway.predict.prediction import LEVELS, logit
from headway.predict.repeats import PromptMemory
from headway.predict.words import PromptGrams, WordCorrection

Floats = NDArray[np.float64]
MAX_MODELS = 64
MAX_TENANTS = 1000
TENANT_COUNT = 20.0  # observations of a tenant that weigh as much as its model's
# The first levels of a new model tell how far off it was, not how sure one can be from then on.
SETTLING = 40
# Share of the gap to the prior variance that returns with each observation. With residuals of the
# size of the prior this remembers some 700 answers; 1/4000 remembered 60 and blurred the intercept.
DRIFT = 2e-6
_TENANT_MEMORY = 500.0
MIN_WEIGHT = 0.1  # of a cut answer: a limit two spreads below what was expected says nothing
WHOLE_MEMORY = 0.05  # weight of the latest answer in the share of those that were whole
_GOLDEN = (math.sqrt(5) - 1) / 2  # its multiples spread evenly
NOMINAL = np.array(LEVELS)
_LOGITS = [logit(level) for level in LEVELS]
LOGITS = np.array(_LOGITS)


class LinearCorrection:
    """A correction of the location that is linear in features, with its variance.

    Attributes:
        mean: of the weights, [features].
        covariance: of the weights, [features, features].
        prior: their variance before anything was seen, [features].
        count: how many observations.
    """

    __slots__ = ("count", "covariance", "mean", "prior")

    def __init__(self, prior: Floats, mean: Floats | None = None) -> None:
        """Start from weights of ``mean`` (0 if not given) with variances ``prior``."""
        self.prior = prior
        self.mean = np.zeros(len(prior)) if mean is None else mean.copy()
        self.covariance = np.diag(prior)
        self.count = 0

    def correction(self, features: Floats) -> tuple[Floats, Floats]:
        """Return the mean and the variance of the correction of each row of ``features``."""
        variance = np.einsum("ij,ij->i", features @ self.covariance, features)
        return features @ self.mean, np.maximum(variance, 0.0)

    def observe(self, features: Floats, error: float, noise: float) -> None:
        """Take in that a prompt with ``features`` was off by ``error``, of variance ``noise``."""
        # The random walk: a little of the prior's variance comes back.
        diagonal = self.covariance.reshape(-1)[:: len(self.prior) + 1]
        diagonal += DRIFT * np.maximum(self.prior - diagonal, 0.0)

        image = self.covariance @ features
        total = float(image @ features) + noise
        self.mean += image * ((error - float(features @ self.mean)) / total)
        image /= math.sqrt(total)
        self.covariance -= image[:, None] * image  # symmetric to the last bit
        self.count += 1


def robust_noise(error: float, spread_variance: float) -> float:
    """Return the variance to give an observation, larger for one far off (Huber's weights).

    Within 2.5 standard deviations it is ``spread_variance``; beyond, it grows in proportion.
    """
    excess = abs(error) / (2.5 * math.sqrt(spread_variance))
    return spread_variance * max(1.0, excess)


def bound_of(error: float, mean: float, spread: float) -> tuple[float, float]:
    """Return the error that stands for "more than ``error``" and its weight, from 0 to 1.

    With h the hazard of the normal distribution at z = (error - mean) / spread, the likelihood of
    a longer answer has slope h / spread and curvature w / spread^2, w = h (h - z): that of one
    whole answer of weight w that was off by mean + spread * h / w (Newton's step, derived here).
    """
    z = min(max((error - mean) / spread, -30.0), 30.0)
    hazard = math.sqrt(2 / math.pi) * math.exp(-z * z / 2) / math.erfc(z / math.sqrt(2))
    weight = min(hazard * (hazard - z), 1.0)
    if weight < MIN_WEIGHT:
        return mean, 0.0
    return mean + spread * hazard / weight, weight


@dataclass(slots=True)
class ModelState:
    """One model: its correction, and the levels of its latest answers."""

    correction: LinearCorrection
    window: LevelWindow = field(default_factory=LevelWindow)


@dataclass(slots=True)
class TenantState:
    """One tenant of one model: the mean of what its model's correction leaves, and its levels."""

    mean_error: float = 0.0
    count: float = 0.0
    whole_share: float = 0.5  # of its answers that no limit cut, of late
    window: LevelWindow = field(default_factory=LevelWindow)

    @property
    def shift(self) -> float:
        """The tenant's own correction, shrunk towards its model's."""
        return self.mean_error * self.count / (self.count + TENANT_COUNT)

    def observe(self, error: float, weight: float = 1.0) -> None:
        """Take in one more ``error``; the mean is over the latest few hundred."""
        if weight <= 0:
            return
        self.count = min(self.count + weight, _TENANT_MEMORY)
        self.mean_error += (error - self.mean_error) * weight / self.count


class OnlineState:
    """All that changes while a predictor runs."""

    def __init__(self, prior: Floats) -> None:
        """Start with nothing seen; ``prior`` holds the variances of a correction's weights."""
        self.prior = prior
        self.shared = ModelState(LinearCorrection(prior))
        self.models: OrderedDict[str, ModelState] = OrderedDict()
        self.tenants: OrderedDict[tuple[str, str], TenantState] = OrderedDict()
        self._only_tenant: dict[str, str] = {}  # of each model; empty once there was another
        self._num_cut = 0
        self.prompts = PromptMemory()
        self.words = WordCorrection(1 << HASH_BITS)

    def quantiles(
        self,
        model: str,
        tenant: str,
        features: Floats,
        base: LogLengths,
        prompts: Sequence[int] = (),
        words: Floats | None = None,
    ) -> Floats:
        """Return corrected and calibrated quantiles of ln(1 + tokens); [rows, levels].

        ``prompts`` [rows] are numbers that stand for texts; without them none was seen before.
        ``words`` [rows] is what their words add.
        """
        own_model = self.models.get(model)
        own_tenant = self.tenants.get((model, tenant)) if tenant else None

        if own_model is not None:
            shift, variance = own_model.correction.correction(features)
        else:
            shift, _ = self.shared.correction.correction(features)
            variance = (features**2) @ self.prior
        if own_tenant is not None:
            shift = shift + own_tenant.shift
        if words is not None:
            pairs = zip(prompts, words.tolist(), strict=True)
            shift = shift + np.array([self.prompts.words(*pair) for pair in pairs])
        factor: Floats | float = 1.0
        if prompts:
            moves = np.array([self.prompts.shift(prompt) for prompt in prompts])
            shift, factor = shift + moves[:, 0], moves[:, 1]

        # From the levels of all models to those of this tenant: each is the parent of the next.
        levels = NOMINAL
        for part in (self.shared, own_model, own_tenant):
            if part is not None:
                levels = part.window.recalibrated(NOMINAL, levels)
        return _read(_widened(base, shift, variance, factor), levels)

    def observe(
        self,
        model: str,
        tenant: str,
        *,
        features: Floats,
        base: LogLengths,
        log_tokens: float,
        cut: bool,
        prompt: int | None = None,
        grams: PromptGrams | None = None,
    ) -> None:
        """Take in one answer of ``log_tokens`` = ln(1 + tokens); ``cut`` if a limit ended it.

        ``features`` [features], ``base`` [1], ``prompt`` and ``grams`` are those of its request.
        """
        # What its words add; a prompt that was answered before has taught them already.
        word_shift, word_variance = 0.0, 0.0
        if grams is not None:
            word_shift, word_variance = self.words.correction(grams)
        if prompt is not None:
            is_new = prompt not in self.prompts
            word_shift = self.prompts.words(prompt, word_shift)
            grams = grams if is_new else None

        own_model, own_tenant = self._model(model), self._tenant(model, tenant)
        correction = own_model.correction
        image = correction.covariance @ features
        shift, variance = float(features @ correction.mean), max(float(features @ image), 0.0)

        # The level that the length had in the prediction, before anything is learned from it.
        usual_shift = shift + (own_tenant.shift if own_tenant is not None else 0.0)
        move, factor = (0.0, 1.0) if prompt is None else self.prompts.shift(prompt)
        location, spread = float(base.location[0]), float(base.spread[0])
        error = log_tokens - location - word_shift
        factor *= math.sqrt(1.0 + variance / spread**2)
        level = _level_of(base.quantiles[0], location + (error - usual_shift - move) / factor)
        tenant_error, weight, tenant_weight = error - shift, 1.0, 1.0
        teaches_others = True
        if own_tenant is not None:
            own_tenant.whole_share += WHOLE_MEMORY * ((not cut) - own_tenant.whole_share)
            teaches_others = not cut or own_tenant.whole_share > 0.5
        if cut:
            self._num_cut += 1
            level += (1 - level) * (self._num_cut * _GOLDEN % 1)
            mean_error = own_tenant.mean_error if own_tenant is not None else 0.0
            tenant_error, tenant_weight = bound_of(tenant_error, mean_error, spread)
            error, weight = bound_of(error, shift, spread)

        settled = correction.count >= SETTLING
        if own_tenant is not None:
            own_tenant.observe(tenant_error, tenant_weight)
            if settled:
                own_tenant.window.observe(level)
        if not teaches_others:
            return

        if weight > 0:
            noise = robust_noise(error - shift, spread**2) / weight
            if own_tenant is not None and self._is_shared(model, tenant):
                noise *= 1 + own_tenant.count / TENANT_COUNT
            if grams is not None:
                self.words.observe(grams, error - usual_shift, noise + variance)
            correction.observe(features, error, noise + word_variance)
            self.shared.correction.observe(features, error, noise + word_variance)
        if prompt is not None and not cut:
            self.prompts.observe(prompt, error - usual_shift, word_shift)
        if settled:
            own_model.window.observe(level)
            self.shared.window.observe(level)

    def forget_levels(self) -> None:
        """Empty every window of levels, and keep the corrections."""
        for model in (self.shared, *self.models.values()):
            model.window = LevelWindow()
        for tenant in self.tenants.values():
            tenant.window = LevelWindow()

    def _model(self, model: str) -> ModelState:
        own = self.models.get(model)
        if own is None:
            own = ModelState(LinearCorrection(self.prior, self.shared.correction.mean))
            self.models[model] = own
        self.models.move_to_end(model)
        if len(self.models) > MAX_MODELS:
            self.models.popitem(last=False)
        return own

    def _is_shared(self, model: str, tenant: str) -> bool:
        """Return whether a tenant other than ``tenant`` has used ``model``."""
        if self._only_tenant.setdefault(model, tenant) not in (tenant, ""):
            self._only_tenant[model] = ""
        if len(self._only_tenant) > 2 * MAX_MODELS:
            self._only_tenant.clear()
        return self._only_tenant.get(model) == ""

    def _tenant(self, model: str, tenant: str) -> TenantState | None:
        if not tenant:
            return None
        own = self.tenants.setdefault((model, tenant), TenantState())
        self.tenants.move_to_end((model, tenant))
        if len(self.tenants) > MAX_TENANTS:
            self.tenants.popitem(last=False)
        return own


def _widened(
    base: LogLengths, shift: Floats, variance: Floats, narrower: Floats | float = 1.0
) -> Floats:
    centre = base.location[:, None]
    factor = narrower * np.sqrt(1.0 + variance / base.spread**2)
    moved: Floats = centre + shift[:, None] + (base.quantiles - centre) * factor[:, None]
    return moved


def _read(quantiles: Floats, levels: Floats) -> Floats:
    """Return each row's value at each of ``levels``, its ends prolonged in logit(level)."""
    at = np.log(levels) - np.log1p(-levels)
    high = np.minimum(np.maximum(LOGITS.searchsorted(at), 1), len(LOGITS) - 1)
    low = high - 1
    share = (at - LOGITS[low]) / (LOGITS[high] - LOGITS[low])
    values: Floats = quantiles[:, low] * (1 - share) + quantiles[:, high] * share
    return values


def _level_of(row: Floats, value: float) -> float:
    """Return the level at which the increasing ``row`` holds ``value``."""
    high = min(max(int(row.searchsorted(value)), 1), len(row) - 1)
    below, above = float(row[high - 1]), float(row[high])
    logit_below, logit_above = _LOGITS[high - 1], _LOGITS[high]
    at = logit_below + (value - below) / max(above - below, 1e-9) * (logit_above - logit_below)
    return 1 / (1 + math.exp(-min(max(at, -12.0), 12.0)))
