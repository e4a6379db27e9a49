"""Predict how long the answers to requests will be, and learn from each that finishes.

`LengthPredictor` is the seam: whoever schedules needs no more than its two methods.
`TextPredictor` reads the text; it is fitted on a log, saved as a folder, and keeps learning.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from headway.errors import InputError
from headway.predict.blend import EmbeddingBlend
from headway.predict.observation import Observation
from headway.predict.prediction import LEVELS, MOST_TOKENS, LengthPrediction
from headway.predict.prompts import prompt_rows
from headway.predict.ridge import NotFittedError
from headway.predict.stack import FOLDS, SPREAD_FOLDS, Located, TextLengthModel
from headway.predict.state import Base, OnlineState
from headway.workload.request import Request

Floats = NDArray[np.float64]
REMEMBERED = 8192  # predictions kept for `observe`, so that it need not read the text again
FEWEST_ROWS = 50
FIT_STEPS = FOLDS + 1 + SPREAD_FOLDS  # calls of `tick` in one fit
MODEL_VARIANCE = 0.5  # least, of a model's intercept in ln(1 + tokens): a factor of 2
SLOPE_VARIANCE = 0.25
DETAIL_VARIANCE = 0.001


class LengthPredictor(Protocol):
    """Whatever says how long answers will be, and is told how long they were."""

    def predict(self, requests: Sequence[Request]) -> list[LengthPrediction]:
        """Return the distribution of the output tokens of each request."""
        ...

    def observe(self, request: Request, output_tokens: int) -> None:
        """Learn that ``request`` was answered with ``output_tokens`` tokens."""
        ...


class Embedding(Protocol):
    """Whatever gives a vector of fixed width and unit length for each text."""

    def vectors(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector per prompt, [prompts, width]."""
        ...


@dataclass(frozen=True, slots=True)
class _Remembered:
    """A row of a batch that was predicted."""

    features: Floats
    base: Base
    row: int


class TextPredictor:
    """Output tokens from the text of the prompt, per model and tenant, learning online.

    Attributes:
        text_model_: the part that reads prompts; changes only by `fit`.
        state_: the part that changes with each observation.
        effects_: what each model of the training log differs by in ln(1 + tokens).
        feature_centre_, feature_scale_: of the online correction's features.
    """

    text_model_: TextLengthModel
    state_: OnlineState
    effects_: dict[str, float]
    feature_centre_: Floats
    feature_scale_: Floats

    def __init__(self, seed: int = 0, trees: int = 500, embedding: Embedding | None = None) -> None:
        """Set the random ``seed``, the number of ``trees`` that `fit` grows, and an embedding.

        An ``embedding`` (`headway.predict.embed`) ranks other sources better and costs some ten
        milliseconds a prompt; without one a prediction takes less than one.
        """
        self.embedding = embedding
        self.blend_: EmbeddingBlend | None = None
        self.seed = seed
        self.trees = trees
        self._remembered: OrderedDict[tuple[str, str, int], _Remembered] = OrderedDict()

    def fit(
        self, observations: Sequence[Observation], tick: Callable[[], None] | None = None
    ) -> Self:
        """Learn from finished requests; ``tick`` is called `FIT_STEPS` times.

        Raises:
            InputError: fewer than 50 observations, which is too little to learn words from.
        """
        if len(observations) < FEWEST_ROWS:
            raise InputError(
                f"training needs at least {FEWEST_ROWS} finished requests, not {len(observations)}"
            )
        rows = prompt_rows([o.prompt for o in observations], [o.max_tokens for o in observations])
        log_tokens = np.log1p(np.array([o.output_tokens for o in observations], dtype=np.float64))
        names = sorted({o.model for o in observations})
        number = {name: i for i, name in enumerate(names)}
        groups = np.array([number[o.model] for o in observations])
        order: dict[str, int] = {}
        texts = np.array([order.setdefault(o.prompt, len(order)) for o in observations])
        model = TextLengthModel(self.seed, self.trees)
        model.fit(rows, log_tokens, groups, texts, tick)
        self.text_model_ = model
        self.effects_ = {name: float(model.group_effects_[i]) for name, i in number.items()}
        located = model.out_of_fold_
        if self.embedding is not None:
            vectors = self.embedding.vectors([o.prompt for o in observations])
            goal = log_tokens - model.group_effects_[groups]
            self.blend_ = EmbeddingBlend().fit(vectors, located, goal, texts)
            located = self.blend_.blended(located, vectors)
        details = _details(located, rows.dense)
        self.feature_centre_ = details.mean(axis=0)
        self.feature_scale_ = np.maximum(details.std(axis=0), 1e-3)
        self.state_ = OnlineState(self._prior())
        self._replay(observations, located, rows.dense, log_tokens)
        self._remembered.clear()
        return self

    def predict(self, requests: Sequence[Request]) -> list[LengthPrediction]:
        """Return the distribution of the output tokens of each request, in the order given."""
        self._check_fitted()
        if not requests:
            return []
        rows = prompt_rows([r.prompt for r in requests], [r.max_tokens for r in requests])
        located = self.text_model_.predict(rows)
        if self.blend_ is not None and self.embedding is not None:
            vectors = self.embedding.vectors([r.prompt for r in requests])
            located = self.blend_.blended(located, vectors)
        features = self._features(located, rows.dense)
        names = [self._name(r.model) for r in requests]
        usual = self._usual_effect
        effects = np.array([self.effects_.get(name, usual) for name in names])
        base = _moved(located, effects)
        groups: dict[tuple[str, str], list[int]] = {}
        for i, (name, request) in enumerate(zip(names, requests, strict=True)):
            groups.setdefault((name, request.tenant), []).append(i)
            self._remember(request, _Remembered(features, base, i))
        logs = np.empty_like(located.quantiles)
        for (name, tenant), index in groups.items():
            logs[index] = self.state_.quantiles(name, tenant, features[index], base.at(index))
        return _predictions(logs, [r.max_tokens for r in requests])

    def observe(self, request: Request, output_tokens: int) -> None:
        """Learn that ``request`` was answered with ``output_tokens`` tokens.

        Microseconds if it was predicted lately; else its text is read first.
        """
        self._check_fitted()
        if not 0 <= output_tokens <= MOST_TOKENS:
            raise InputError(f"output_tokens must be from 0 to 1e7, not {output_tokens}")
        seen = self._remembered.pop(_key(request), None)
        if seen is None:
            self.predict([request])
            seen = self._remembered.pop(_key(request))
        cut = request.max_tokens is not None and output_tokens >= request.max_tokens
        self.state_.observe(
            self._name(request.model),
            request.tenant,
            seen.features[seen.row],
            seen.base.at(slice(seen.row, seen.row + 1)),
            math.log1p(output_tokens),
            cut,
        )

    def knows(self, model: str) -> bool:
        """Return whether finished requests of ``model`` were seen, in training or since."""
        self._check_fitted()
        return self._name(model) in self.state_.models

    @property
    def _usual_effect(self) -> float:
        return sum(self.effects_.values()) / max(len(self.effects_), 1)

    def _name(self, model: str) -> str:
        # A request that names no model can only mean the one there is.
        if not model and len(self.effects_) == 1:
            return next(iter(self.effects_))
        return model

    def _prior(self) -> Floats:
        effects = np.array(list(self.effects_.values()))
        spread = float(effects.var(ddof=1)) if len(effects) >= 4 else MODEL_VARIANCE
        prior = np.full(len(self.feature_centre_) + 1, DETAIL_VARIANCE)
        prior[0] = max(spread, MODEL_VARIANCE)
        prior[1] = SLOPE_VARIANCE
        return prior

    def _features(self, located: Located, dense: NDArray[np.float32]) -> Floats:
        scaled = (_details(located, dense) - self.feature_centre_) / self.feature_scale_
        return np.concatenate([np.ones((len(dense), 1)), np.clip(scaled, -4.0, 4.0)], axis=1)

    def _replay(
        self,
        observations: Sequence[Observation],
        located: Located,
        dense: NDArray[np.float32],
        log_tokens: Floats,
    ) -> None:
        features = self._features(located, dense)
        base = _moved(located, np.array([self.effects_[o.model] for o in observations]))
        for i in np.random.default_rng(self.seed).permutation(len(observations)):
            o = observations[i]
            cut = o.max_tokens is not None and o.output_tokens >= o.max_tokens
            row = base.at(slice(i, i + 1))
            self.state_.observe(o.model, o.tenant, features[i], row, float(log_tokens[i]), cut)
        if len(self.effects_) == 1:
            # The residual table already holds all rows of the one model; the latest thousand in
            # a random order would only add their noise.
            self.state_.forget_levels()

    def _remember(self, request: Request, what: _Remembered) -> None:
        self._remembered[_key(request)] = what
        if len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)

    def _check_fitted(self) -> None:
        if not hasattr(self, "state_"):
            raise NotFittedError("predictor")


def _key(request: Request) -> tuple[str, str, int]:
    return request.id, request.model, hash(request.prompt)


def _details(located: Located, dense: NDArray[np.float32]) -> Floats:
    """Return what the online correction is linear in: the location and the dense row.

    Not the views: fitted on all rows they vary more than out of fold, where weights are learned.
    """
    return np.concatenate([located.location[:, None], dense], axis=1)


def _moved(located: Located, effects: Floats) -> Base:
    return Base(located.location + effects, located.spread, located.quantiles + effects[:, None])


def _predictions(logs: Floats, limits: Sequence[int | None]) -> list[LengthPrediction]:
    most = np.array([MOST_TOKENS if limit is None else float(limit) for limit in limits])
    # Rounding may cross neighbouring quantiles by 1e-16.
    logs = np.maximum.accumulate(np.clip(logs, 0.0, math.log1p(MOST_TOKENS)), axis=1)
    tokens = np.minimum(np.expm1(logs), most[:, None]).tolist()
    return [
        LengthPrediction(tuple(zip(LEVELS, row, strict=True)), limit)
        for row, limit in zip(tokens, limits, strict=True)
    ]
