"""What the policy is shown of requests: their predictions as a view, and the keys it gives them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from time import monotonic

import numpy as np

from headway.gateway.waiting import Ticket
from headway.predict.prediction import LengthPrediction
from headway.predict.predictor import LengthPredictor
from headway.schedule.order import OrderPolicy
from headway.schedule.view import LEVELS, MEAN_WEIGHTS, Floats, ServiceTime, View, quantiles_of
from headway.workload.request import Request

_log = logging.getLogger("headway.gateway")
UNKNOWN = LengthPrediction(((0.05, 20.0), (0.5, 250.0), (0.95, 2000.0)))


class Foreseen(Ticket):
    """A place in the queue of a request whose length is predicted.

    Attributes:
        request: as predictors and policies see it.
        expected_tokens: the mean of its prediction; a guess until there is one.
        p50_tokens, p90_tokens: quantiles of it; ``None`` until there is one.
        predicted_s: when the predictor began and ended with it, on the loop's clock.
    """

    __slots__ = ("expected_tokens", "p50_tokens", "p90_tokens", "predicted_s", "request")

    def __init__(self, request: Request) -> None:
        """Not predicted yet."""
        super().__init__(request.arrival_s, lane=request.tenant)
        self.request = request
        self.expected_tokens = 256.0
        self.p50_tokens: float | None = None
        self.p90_tokens: float | None = None
        self.predicted_s: tuple[float, float] | None = None


class Unpredicted:
    """Stands in where no predictor was given: every answer is as uncertain as the next."""

    def predict(self, requests: Sequence[Request]) -> list[LengthPrediction]:
        """The same wide distribution for every request."""
        return [UNKNOWN] * len(requests)

    def observe(self, request: Request, output_tokens: int) -> None:
        """Learn nothing."""


def predict(waiters: Sequence[Foreseen], predictor: LengthPredictor) -> Floats:
    """Give everyone its prediction; return their quantiles at `LEVELS`."""
    began_s = monotonic()
    requests = [waiter.request for waiter in waiters]
    try:
        predictions = predictor.predict(requests)
    except Exception:  # whatever a predictor of someone's own does, no request may be lost by it
        _log.exception("the predictor failed; %d requests go without a prediction", len(requests))
        predictions = [UNKNOWN] * len(requests)
    rows = np.array([quantiles_of(prediction) for prediction in predictions])
    means = (rows @ MEAN_WEIGHTS).tolist()
    span_s = (began_s, monotonic())
    for waiter, mean, row in zip(waiters, means, rows.tolist(), strict=True):
        waiter.expected_tokens = mean
        waiter.predicted_s = span_s
        waiter.p50_tokens, waiter.p90_tokens = row[_P50], row[_P90]
    return rows


def give_keys(
    waiters: Sequence[Foreseen], quantiles: Floats, policy: OrderPolicy, service: ServiceTime
) -> None:
    """Set key, slope and work of everyone, as ``policy`` orders them."""
    view = View.of([waiter.request for waiter in waiters], quantiles, service)
    keys = policy.keys(view)
    slopes = np.zeros(len(view)) if keys.slope is None else keys.slope
    rows = zip(waiters, keys.key.tolist(), slopes.tolist(), view.service_s.tolist(), strict=True)
    for waiter, key, slope, work_s in rows:
        waiter.key, waiter.slope, waiter.work_s = key, slope, work_s


_P50, _P90 = LEVELS.index(0.5), LEVELS.index(0.9)
