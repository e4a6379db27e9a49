"""Predict how long the answers to requests will be, and learn from each that finishes.

`LengthPredictor` is the seam: whoever schedules needs no more than its two methods.
`TextPredictor` reads the text; `headway.predict.training.train` makes one from a log, it is saved
as a folder, and keeps learning.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headway.errors import InputError
from headway.predict.embedding import Embedding
from headway.predict.length_model import (
    LengthModel,
    LogLengths,
    PromptRows,
    SecondOpinion,
    prompt_rows,
)
from headway.predict.online import OnlineState
from headway.predict.prediction import LEVELS, MAX_TOKENS, LengthPrediction
from headway.predict.words import PromptGrams
from headway.workload.request import Request

Floats = NDArray[np.float64]
REMEMBERED = 8192  # predictions kept for `observe`, so that it need not read the text again


class LengthPredictor(Protocol):
    """Whatever says how long answers will be, and is told how long they were."""

    def predict(self, requests: Sequence[Request]) -> list[LengthPrediction]:
        """Return the distribution of the output tokens of each request."""
        ...

    def observe(self, request: Request, output_tokens: int) -> None:
        """Learn that ``request`` was answered with ``output_tokens`` tokens."""
        ...


@dataclass(frozen=True, slots=True)
class Scaling:
    """The features of the online correction: an intercept, and numbers scaled to about 1.

    Attributes:
        centre, scale: of the location and the dense row, [details].
    """

    centre: Floats
    scale: Floats

    @classmethod
    def of(cls, lengths: LogLengths, dense: NDArray[np.float32]) -> Scaling:
        """Return the scaling of a training log."""
        details = _details(lengths, dense)
        return cls(details.mean(axis=0), np.maximum(details.std(axis=0), 1e-3))

    def features(self, lengths: LogLengths, dense: NDArray[np.float32]) -> Floats:
        """Return the features of a batch, [rows, 1 + details]."""
        scaled = (_details(lengths, dense) - self.centre) / self.scale
        features = np.ones((len(dense), 1 + scaled.shape[1]))
        np.minimum(np.maximum(scaled, -4.0), 4.0, out=features[:, 1:])
        return features


def _details(lengths: LogLengths, dense: NDArray[np.float32]) -> Floats:
    # Not the views: fitted on all rows they vary more than out of fold, where weights are learned.
    return np.concatenate([lengths.location[:, None], dense], axis=1)


@dataclass(frozen=True, slots=True)
class _BatchRow:
    """A row of a batch that was predicted."""

    rows: PromptRows
    features: Floats
    base: LogLengths
    row: int

    @property
    def grams(self) -> PromptGrams:
        """The n-grams of its prompt."""
        grams = self.rows.grams
        own = slice(grams.bounds[self.row], grams.bounds[self.row + 1])
        return PromptGrams(grams.columns[own], grams.values[own])


class TextPredictor:
    """Output tokens from the text of the prompt, per model and tenant, learning online."""

    def __init__(
        self,
        model: LengthModel,
        *,
        effects: Mapping[str, float],
        scaling: Scaling,
        state: OnlineState,
        blend: SecondOpinion | None = None,
        embedding: Embedding | None = None,
    ) -> None:
        """Put together what `headway.predict.training.train` fits.

        Args:
            model: the part that reads prompts, which does not change.
            effects: what each model of the training log differs by in ln(1 + tokens).
            scaling: of the features of the online correction.
            state: the part that changes with each observation.
            blend: the part that reads vectors, where there is an ``embedding``.
            embedding: costs some ten milliseconds a prompt; without one it takes less than one.
        """
        self.model = model
        self.effects = dict(effects)
        self.scaling = scaling
        self.state = state
        self.blend = blend
        self.embedding = embedding
        self._recent: OrderedDict[tuple[str, str, int], _BatchRow] = OrderedDict()

    def predict(self, requests: Sequence[Request]) -> list[LengthPrediction]:
        """Return the distribution of the output tokens of each request, in the order given."""
        if not requests:
            return []

        # What the text says, for a model of average length.
        rows = self.model.weighted(
            prompt_rows([r.prompt for r in requests], [r.max_tokens for r in requests])
        )
        lengths = self.model.predict(rows)
        if self.blend is not None and self.embedding is not None:
            vectors = self.embedding.vectors([r.prompt for r in requests])
            lengths = self.blend.blended(lengths, vectors)
        features = self.scaling.features(lengths, rows.dense)

        # What the models' training rows say of them.
        models = [self._model(r.model) for r in requests]
        usual = sum(self.effects.values()) / max(len(self.effects), 1)
        base = lengths.shifted(np.array([self.effects.get(model, usual) for model in models]))

        # What was learned since: of words, then per model and tenant.
        words = self.state.words.shifts(rows.grams)
        groups: dict[tuple[str, str], list[int]] = {}
        for i, (model, request) in enumerate(zip(models, requests, strict=True)):
            groups.setdefault((model, request.tenant), []).append(i)
            self._remember(request, _BatchRow(rows, features, base, i))
        logs = np.empty_like(lengths.quantiles)
        for (model, tenant), index in groups.items():
            prompts = [hash(requests[i].prompt) for i in index]
            logs[index] = self.state.quantiles(
                model,
                tenant,
                features=features[index],
                base=base.at(index),
                prompts=prompts,
                words=words[index],
            )
        return _predictions(logs, [r.max_tokens for r in requests])

    def observe(self, request: Request, output_tokens: int) -> None:
        """Learn that ``request`` was answered with ``output_tokens`` tokens.

        Microseconds if it was predicted lately; else its text is read first.
        """
        if not 0 <= output_tokens <= MAX_TOKENS:
            raise InputError(f"output_tokens must be from 0 to 1e7, not {output_tokens}")

        recent = self._recent.pop(_key(request), None)
        if recent is None:
            self.predict([request])
            recent = self._recent.pop(_key(request))

        self.state.observe(
            self._model(request.model),
            request.tenant,
            features=recent.features[recent.row],
            base=recent.base.at(slice(recent.row, recent.row + 1)),
            log_tokens=math.log1p(output_tokens),
            cut=request.max_tokens is not None and output_tokens >= request.max_tokens,
            prompt=hash(request.prompt) if request.prompt else None,
            grams=recent.grams,
        )

    def knows(self, model: str) -> bool:
        """Return whether finished requests of ``model`` were seen, in training or since."""
        return self._model(model) in self.state.models

    def _model(self, model: str) -> str:
        # A request that names no model can only mean the one there is.
        if not model and len(self.effects) == 1:
            return next(iter(self.effects))
        return model

    def _remember(self, request: Request, row: _BatchRow) -> None:
        self._recent[_key(request)] = row
        if len(self._recent) > REMEMBERED:
            self._recent.popitem(last=False)


def _key(request: Request) -> tuple[str, str, int]:
    return request.id, request.model, hash(request.prompt)


def _predictions(logs: Floats, limits: Sequence[int | None]) -> list[LengthPrediction]:
    max_tokens = np.array([MAX_TOKENS if limit is None else float(limit) for limit in limits])

    # Rounding may cross neighbouring quantiles by 1e-16.
    logs = np.minimum(np.maximum(logs, 0.0), math.log1p(MAX_TOKENS))
    logs = np.maximum.accumulate(logs, axis=1)
    tokens = np.minimum(np.expm1(logs), max_tokens[:, None]).tolist()
    return [
        LengthPrediction(tuple(zip(LEVELS, row, strict=True)), limit)
        for row, limit in zip(tokens, limits, strict=True)
    ]
