"""What a policy may know about waiting requests. The true length of an answer is not among it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from headway.errors import InputError
from headway.predict.prediction import LEVELS, MAX_TOKENS, LengthPrediction, mean_tokens
from headway.workload.request import Request, Slo

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_COLUMNS = (
    "arrival_s", "prompt_tokens", "quantiles", "deadline_s", "produced_tokens", "tenants",
    "first_deadline_s", "tpot_s", "tiers", "value",
)  # fmt: skip


def _unsaid() -> Floats:
    return np.empty(0)


@dataclass(frozen=True, slots=True)
class ServiceTime:
    """What a request costs an engine: linear in its tokens, as measured engines are.

    Attributes:
        fixed_s: per request.
        prompt_token_s: per prompt token.
        output_token_s: per output token.

    """

    fixed_s: float = 0.0
    prompt_token_s: float = 2e-5
    output_token_s: float = 1e-2

    def __post_init__(self) -> None:
        if min(self.fixed_s, self.prompt_token_s, self.output_token_s) < 0 or (
            self.fixed_s + self.prompt_token_s + self.output_token_s <= 0
        ):
            raise InputError("service times must not be negative, and not all 0")

    def of(self, prompt_tokens: npt.ArrayLike, output_tokens: npt.ArrayLike) -> Floats:
        """Return the seconds of service; arrays broadcast."""
        return np.asarray(
            self.fixed_s
            + self.prompt_token_s * np.asarray(prompt_tokens, dtype=np.float64)
            + self.output_token_s * np.asarray(output_tokens, dtype=np.float64)
        )


@dataclass(frozen=True, eq=False)
class View:
    """Waiting requests as columns of shape ``(requests,)``.

    Attributes:
        arrival_s: seconds on the clock that ``now_s`` is read from.
        prompt_tokens: known exactly.
        quantiles: predicted output tokens, ``(requests, len(LEVELS))``, rising along a row.
        deadline_s: when the answer should be complete; infinite where nobody said.
        produced_tokens: tokens of the answer so far (of a preempted request).
        tenants: numbers from 0.
        first_deadline_s: when the first token should be out; infinite where nobody said.
        tpot_s: seconds that each further token may take; infinite where nobody said.
        tiers: classes of service, the smallest goes first; 0 where there are none.
        value: what it is worth to meet a request's objectives, above 0; 1 where nobody said.
        service: what requests cost.
        history: quantiles of all answers seen so far, ``(len(LEVELS),)``: what a policy without
            predictions may use.

    """

    arrival_s: Floats
    prompt_tokens: Floats
    quantiles: Floats
    deadline_s: Floats
    produced_tokens: Floats
    tenants: Ints
    service: ServiceTime = field(default_factory=ServiceTime)
    history: Floats | None = None
    first_deadline_s: Floats = field(default_factory=_unsaid)
    tpot_s: Floats = field(default_factory=_unsaid)
    tiers: Ints = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    value: Floats = field(default_factory=_unsaid)

    def __post_init__(self) -> None:
        n = len(self.arrival_s)
        self._fill("first_deadline_s", np.full(n, np.inf))
        self._fill("tpot_s", np.full(n, np.inf))
        self._fill("tiers", np.zeros(n, dtype=np.int64))
        self._fill("value", np.ones(n))
        if self.quantiles.shape != (n, len(LEVELS)):
            raise InputError(
                f"quantiles must have shape {(n, len(LEVELS))}, not {self.quantiles.shape}"
            )

        if np.any(np.diff(self.quantiles, axis=1) < 0) or np.any(self.quantiles < 0):
            raise InputError("predicted quantiles must rise with their level and not be negative")

        if any(len(getattr(self, name)) != n for name in _COLUMNS):
            raise InputError("the columns of a view differ in length")
        if np.any(self.value <= 0):
            raise InputError("the value of a request must be above 0")

    def _fill(self, name: str, column: Floats | Ints) -> None:
        """Set a column that nobody gave: it is empty."""
        if len(getattr(self, name)) == 0:
            object.__setattr__(self, name, column)

    def __len__(self) -> int:
        return len(self.arrival_s)

    def at(self, level: float) -> Floats:
        """Return the predicted output tokens at ``level``, interpolated between `LEVELS`."""
        if not LEVELS[0] <= level <= LEVELS[-1]:
            raise InputError(f"a level must lie from {LEVELS[0]} to {LEVELS[-1]}, not at {level}")

        place = float(np.interp(level, LEVELS, np.arange(len(LEVELS))))
        low = min(int(place), len(LEVELS) - 2)
        part = place - low
        lower, upper = self.quantiles[:, low], self.quantiles[:, low + 1]
        return np.asarray(lower * (1 - part) + upper * part)

    def take(self, rows: Ints) -> View:
        """Return the view of ``rows``."""
        return replace(self, **{name: getattr(self, name)[rows] for name in _COLUMNS})

    def arriving(self, arrival_s: Floats) -> View:
        """Return the same requests at other times, (requests,); deadlines move with arrivals."""
        moved_s = arrival_s - self.arrival_s
        return replace(
            self,
            arrival_s=arrival_s,
            deadline_s=self.deadline_s + moved_s,
            first_deadline_s=self.first_deadline_s + moved_s,
        )

    def after(self, produced_tokens: Floats) -> View:
        """Return what is known of the same requests once they produced so much and go on.

        Predictions are those of answers that are longer than ``produced_tokens``, (requests,).
        """
        quantiles = survivors(self.quantiles, produced_tokens)
        return replace(self, quantiles=quantiles, produced_tokens=produced_tokens)

    @property
    def start_by_s(self) -> Floats:
        """When service must begin for the objectives to be met; infinite where there are none."""
        prefill_s = self.service.fixed_s + self.service.prompt_token_s * self.prompt_tokens
        return np.minimum(self.first_deadline_s - prefill_s, self.deadline_s - self.service_s)

    @cached_property
    def mean_tokens(self) -> Floats:
        """Predicted mean."""
        return mean_tokens(self.quantiles)

    @property
    def service_s(self) -> Floats:
        """Predicted mean seconds of service."""
        return self.service.of(self.prompt_tokens, self.mean_tokens)

    @classmethod
    def of(
        cls, requests: Sequence[Request], quantiles: Floats, service: ServiceTime | None = None
    ) -> View:
        """Return what a policy may know of ``requests``; tenants are numbered as they come.

        ``quantiles`` (requests, levels) are those of `quantiles_of`, one row a request.
        """
        numbers: dict[str, int] = {}
        tenants = [numbers.setdefault(request.tenant, len(numbers)) for request in requests]
        return cls(
            arrival_s=np.array([r.arrival_s for r in requests], dtype=np.float64),
            prompt_tokens=np.array([r.prompt_tokens for r in requests], dtype=np.float64),
            quantiles=quantiles,
            deadline_s=np.full(len(requests), np.inf),
            produced_tokens=np.zeros(len(requests)),
            tenants=np.array(tenants, dtype=np.int64),
            service=service or ServiceTime(),
        ).promising([request.slo for request in requests])

    def promising(self, slos: Sequence[Slo]) -> View:
        """Return the view with the objectives of its requests, one each."""
        ttft_s = np.array([slo.ttft_s or math.inf for slo in slos])
        ttft_s += self.prompt_tokens * [slo.ttft_prompt_token_s for slo in slos]
        return replace(
            self,
            first_deadline_s=self.arrival_s + ttft_s,
            deadline_s=self.arrival_s + [slo.e2e_s or math.inf for slo in slos],
            tpot_s=np.array([slo.tpot_s or math.inf for slo in slos], dtype=np.float64),
            tiers=np.array([slo.tier for slo in slos], dtype=np.int64),
            value=np.array([slo.value for slo in slos], dtype=np.float64),
        )


def quantiles_of(prediction: LengthPrediction) -> list[float]:
    """Return the tokens of ``prediction`` at `LEVELS`, never falling."""
    levels, tokens = zip(*prediction.quantiles, strict=True)
    max_tokens = prediction.max_tokens

    # The usual case, without interpolation: the predictor predicts just these levels.
    if levels == LEVELS and prediction.at_least == 0:
        if max_tokens is None or tokens[-1] <= max_tokens:
            return list(tokens)
        return [min(count, max_tokens) for count in tokens]

    row: list[float] = []
    for level in LEVELS:
        row.append(max(prediction.at(level), row[-1] if row else 0.0))
    return row


def survivors(quantiles: Floats, produced_tokens: Floats) -> Floats:
    """Return the quantiles of answers that are longer than ``produced_tokens``.

    Level q of the result is level F + q (1 - F) of ``quantiles``, (requests, levels) at `LEVELS`,
    with F the probability of an answer no longer than ``produced_tokens``, (requests,). Between
    levels, and beyond them, the logarithm of the length is linear in the logit of the level, as in
    `LengthPrediction.given_at_least`.
    """
    lengths = np.log1p(quantiles)
    lengths = np.maximum.accumulate(lengths + 1e-9 * np.arange(len(LEVELS)), axis=1)
    floor = np.maximum(produced_tokens, 0.0)
    rows = np.arange(len(quantiles))

    # The level that was survived.
    place = np.clip((lengths < np.log1p(floor)[:, None]).sum(axis=1), 1, len(LEVELS) - 1)
    low, high = lengths[rows, place - 1], lengths[rows, place]
    part = (np.log1p(floor) - low) / (high - low)
    logit = _LOGITS[place - 1] + part * (_LOGITS[place] - _LOGITS[place - 1])
    below = np.where(floor > 0, 1 / (1 + np.exp(-np.clip(logit, -40, 40))), 0.0)

    # What remains above it, read at every level.
    levels = np.minimum(below[:, None] + _LEVELS * (1 - below[:, None]), 1 - 1e-12)
    logits = np.log(levels) - np.log1p(-levels)
    place = np.clip(np.searchsorted(_LOGITS, logits), 1, len(LEVELS) - 1)
    low, high = lengths[rows[:, None], place - 1], lengths[rows[:, None], place]
    part = (logits - _LOGITS[place - 1]) / (_LOGITS[place] - _LOGITS[place - 1])
    tokens = np.expm1(np.minimum(low + part * (high - low), math.log(MAX_TOKENS)))
    return np.maximum(np.maximum.accumulate(tokens, axis=1), floor[:, None])


_LEVELS = np.array(LEVELS)
_LOGITS = np.log(_LEVELS) - np.log1p(-_LEVELS)
