"""How long answers will be: requests are predicted in company, and get their keys from that.

Predicting 32 together costs a sixth for each. Those that wait are predicted when they are put in
order; those that have started are predicted at leisure, before their headers are due.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from time import monotonic

import numpy as np

from headway.gateway.scheduler.queued import QueuedRequest
from headway.predict.prediction import LEVELS, MAX_TOKENS, LengthPrediction, mean_tokens
from headway.predict.predictor import LengthPredictor
from headway.schedule.order import OrderPolicy
from headway.schedule.view import Floats, ServiceTime, View, quantiles_of
from headway.workload.request import Request

COMPANY = 32
LATE_COMPANY_S = 0.05  # for which those that have started wait for company
UNKNOWN = LengthPrediction(((0.05, 20.0), (0.5, 250.0), (0.95, 2000.0)))
HINT_SPREAD = 0.7  # of the logarithm of a length that a client expects
_P50, _P90 = LEVELS.index(0.5), LEVELS.index(0.9)
_log = logging.getLogger("headway.gateway")


class Foresight:
    """Predicts for a gateway, and keeps those that may wait for it."""

    def __init__(
        self,
        predictor: LengthPredictor,
        predicted: Callable[[Sequence[QueuedRequest]], None] = lambda requests: None,
    ) -> None:
        """Ask ``predictor``; ``predicted`` is told of requests once they have predictions."""
        self._predictor = predictor
        self._predicted = predicted
        self._late: list[QueuedRequest] = []  # started without a prediction
        self._timer: asyncio.TimerHandle | None = None

    def predict(self, requests: Sequence[QueuedRequest]) -> Floats:
        """Predict ``requests`` now; return their quantiles at `LEVELS`, (requests, levels)."""
        quantiles = predict(requests, self._predictor)
        self._predicted(requests)
        return quantiles

    def predict_soon(
        self, queued: QueuedRequest, loop: asyncio.AbstractEventLoop, *, has_company: bool
    ) -> None:
        """Predict ``queued``, which has started, when company is there, or soon if none will be."""
        self._late.append(queued)
        if len(self._late) >= COMPANY:
            self.predict_late()
        elif self._timer is None:
            # Where no company comes the engine's first byte would only meet a busy loop.
            self._timer = loop.call_later(LATE_COMPANY_S * has_company, self.predict_late)

    def predict_late(self) -> None:
        """Predict those who were started without a prediction: their headers are due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        late, self._late = [queued for queued in self._late if not queued.ended], []
        if late:
            self.predict(late)


class Unpredicted:
    """Stands in where no predictor was given: every answer is as uncertain as the next."""

    def predict(self, requests: Sequence[Request]) -> list[LengthPrediction]:
        """Return the same wide distribution for every request."""
        return [UNKNOWN] * len(requests)

    def observe(self, request: Request, output_tokens: int) -> None:
        """Learn nothing."""


def predict(waiters: Sequence[QueuedRequest], predictor: LengthPredictor) -> Floats:
    """Give everyone its prediction; return their quantiles at `LEVELS`, (waiters, levels)."""
    began_s = monotonic()
    requests = [waiter.request for waiter in waiters]
    try:
        predictions = predictor.predict(requests)
    except Exception:  # whatever a predictor of someone's own does, no request may be lost by it
        _log.exception("the predictor failed; %d requests go without a prediction", len(requests))
        predictions = [UNKNOWN] * len(requests)

    quantiles = np.array([quantiles_of(prediction) for prediction in predictions])
    _heed_hints(waiters, quantiles)
    means = mean_tokens(quantiles).tolist()
    predicted_s = (began_s, monotonic())
    for waiter, mean, row in zip(waiters, means, quantiles.tolist(), strict=True):
        waiter.expected_tokens = mean
        waiter.predicted_s = predicted_s
        waiter.quantiles = row
    return quantiles


def _heed_hints(waiters: Sequence[QueuedRequest], quantiles: Floats) -> None:
    """Move the predictions of those whose clients expect a length towards it.

    What a client says is a measurement of the logarithm of the length, as sure as `HINT_SPREAD`;
    it moves a prediction by its weight against the prediction's own doubt (derived here).
    """
    for row, waiter in enumerate(waiters):
        if waiter.hint_tokens is None:
            continue
        logs = np.log1p(quantiles[row])
        spread = (logs[_P90] - logs[_P50]) / 1.2816
        weight = spread**2 / (spread**2 + HINT_SPREAD**2)
        moved = np.expm1(logs + weight * (np.log1p(waiter.hint_tokens) - logs[_P50]))
        limit = waiter.request.max_tokens or MAX_TOKENS
        quantiles[row] = np.clip(moved, 0.0, limit)


def give_keys(
    waiters: Sequence[QueuedRequest], quantiles: Floats, policy: OrderPolicy, service: ServiceTime
) -> None:
    """Set key, slope and work of everyone, as ``policy`` orders them."""
    view = View.of([waiter.request for waiter in waiters], quantiles, service)
    keys = policy.keys(view)
    slopes = np.zeros(len(view)) if keys.slope is None else keys.slope

    rows = zip(waiters, keys.key.tolist(), slopes.tolist(), view.service_s.tolist(), strict=True)
    for waiter, key, slope, work_s in rows:
        waiter.key, waiter.slope, waiter.work_s = key, slope, work_s
    if (dues := keys.dues) is None:
        return

    columns = (dues.due_s.tolist(), dues.work_s.tolist(), dues.value.tolist())
    for waiter, due_s, work_s, value in zip(waiters, *columns, strict=True):
        waiter.due_s, waiter.due_work_s, waiter.value = due_s, work_s, value
