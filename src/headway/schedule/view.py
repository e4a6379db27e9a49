"""What a policy may know about waiting requests. The true length of an answer is not among it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from headway.errors import InputError
from headway.predict.prediction import LEVELS, LengthPrediction, mean_tokens
from headway.workload.request import Request

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


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


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """Waiting requests as columns of shape ``(requests,)``.

    Attributes:
        arrival_s: seconds on the clock that ``now_s`` is read from.
        prompt_tokens: known exactly.
        quantiles: predicted output tokens, ``(requests, len(LEVELS))``, rising along a row.
        deadline_s: when the answer should be complete; infinite where nobody said.
        produced_tokens: tokens of the answer so far (of a preempted request).
        tenants: numbers from 0.
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

    def __post_init__(self) -> None:
        n = len(self.arrival_s)
        if self.quantiles.shape != (n, len(LEVELS)):
            raise InputError(
                f"quantiles must have shape {(n, len(LEVELS))}, not {self.quantiles.shape}"
            )

        if np.any(np.diff(self.quantiles, axis=1) < 0) or np.any(self.quantiles < 0):
            raise InputError("predicted quantiles must rise with their level and not be negative")

        columns = (self.prompt_tokens, self.deadline_s, self.produced_tokens, self.tenants)
        if any(len(column) != n for column in columns):
            raise InputError("the columns of a view differ in length")

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

    @property
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
        deadlines_s = [
            math.inf if request.slo.e2e_s is None else request.arrival_s + request.slo.e2e_s
            for request in requests
        ]

        return cls(
            arrival_s=np.array([r.arrival_s for r in requests], dtype=np.float64),
            prompt_tokens=np.array([r.prompt_tokens for r in requests], dtype=np.float64),
            quantiles=quantiles,
            deadline_s=np.array(deadlines_s, dtype=np.float64),
            produced_tokens=np.zeros(len(requests)),
            tenants=np.array(tenants, dtype=np.int64),
            service=service or ServiceTime(),
        )


def quantiles_of(prediction: LengthPrediction) -> list[float]:
    """Return the tokens of ``prediction`` at `LEVELS`, never falling."""
    tokens_by_level = dict(prediction.quantiles)

    # The usual case, without interpolation: the predictor predicts just these levels.
    if tokens_by_level.keys() >= _LEVEL_SET and prediction.at_least == 0:
        max_tokens = math.inf if prediction.max_tokens is None else prediction.max_tokens
        return [min(tokens_by_level[level], max_tokens) for level in LEVELS]

    row: list[float] = []
    for level in LEVELS:
        row.append(max(prediction.at(level), row[-1] if row else 0.0))
    return row


_LEVEL_SET = frozenset(LEVELS)
