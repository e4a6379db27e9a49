"""Predictions for a trace: made from the truth with a stated skill, or by a trained predictor.

A signal is the logarithm of the true length plus normal noise; the noise is as large as makes the
signal rank answers with the wanted Kendall tau. What is predicted is calibrated: the quantiles of
the true lengths among requests with a similar signal.
"""

from __future__ import annotations

import numpy as np

from headway.errors import InputError
from headway.predict.predictor import LengthPredictor
from headway.schedule.view import LEVELS, Floats, Ints, ServiceTime, View
from headway.workload.oracle import Trace

SAMPLE = 600


def kendall_tau(a: Floats, b: Floats) -> float:
    """Kendall's tau-b (Kendall 1945) of two columns; 0 where one of them is constant."""
    da, db = np.sign(a[:, None] - a[None, :]), np.sign(b[:, None] - b[None, :])
    scale = np.sqrt(float((da != 0).sum()) * float((db != 0).sum()))
    return float((da * db).sum() / scale) if scale > 0 else 0.0


def signals(output_tokens: Ints, tau: float, random: np.random.Generator) -> Floats:
    """One number per request that ranks ``output_tokens`` with skill ``tau``."""
    if not 0 <= tau <= 1:
        raise InputError(f"the skill tau of a predictor must lie from 0 to 1, not at {tau}")
    truth = np.log(output_tokens.astype(np.float64))
    noise = random.standard_normal(len(truth))
    if tau == 0:
        return noise
    if tau == 1:
        return truth
    some = np.linspace(0, len(truth) - 1, min(SAMPLE, len(truth))).astype(np.int64)
    low, high = 0.0, 16.0 * max(float(truth.std()), 1e-9)
    for _ in range(14):
        middle = (low + high) / 2
        if kendall_tau(truth[some], truth[some] + middle * noise[some]) > tau:
            low = middle
        else:
            high = middle
    return np.asarray(truth + (low + high) / 2 * noise)


def quantiles(output_tokens: Ints, tau: float, seed: int, bins: int = 40) -> Floats:
    """Predicted quantiles at `LEVELS` with skill ``tau``, one row per request; 1 is the truth."""
    if tau == 1:
        return np.repeat(output_tokens.astype(np.float64)[:, None], len(LEVELS), axis=1)
    signal = signals(output_tokens, tau, np.random.default_rng([seed, 7]))
    order = np.argsort(signal, kind="stable")
    count = max(1, min(bins, len(order) // 20))
    groups = np.array_split(order, count)
    centres = np.array([float(np.median(signal[g])) for g in groups])
    tables = np.array([np.quantile(output_tokens[g], LEVELS) for g in groups])
    # Between bins the quantiles move smoothly with the signal, so that no two requests tie.
    smooth = [np.interp(signal, centres, tables[:, k]) for k in range(len(LEVELS))]
    return np.asarray(np.maximum(np.stack(smooth, axis=1), 1.0))


def predicted_by(predictor: LengthPredictor, trace: Trace) -> Floats:
    """Quantiles at `LEVELS` that ``predictor`` gives on arrival, one row per request.

    Raises:
        InputError: the trace holds no prompts to read.

    """
    if trace.prompts is None:
        raise InputError(
            f"trace {trace.name!r} holds lengths, not prompts, so a trained predictor has nothing "
            "to read: give a trace with a prompt column, or --predictor tau=0.4"
        )
    predictions = predictor.predict([trace.request(i).request for i in range(len(trace))])
    return np.array([[p.at(level) for level in LEVELS] for p in predictions])


def shuffled(rows: Floats, seed: int) -> Floats:
    """The same predictions dealt out at random: the control that must gain nothing."""
    return rows[np.random.default_rng([seed, 11]).permutation(len(rows))]


def view_of(
    trace: Trace,
    predicted: Floats,
    service: ServiceTime | None = None,
    deadline_s: Floats | None = None,
) -> View:
    """What a policy sees of ``trace`` with these predictions."""
    n = len(trace)
    return View(
        trace.arrival_s,
        trace.prompt_tokens.astype(np.float64),
        predicted,
        np.full(n, np.inf) if deadline_s is None else deadline_s,
        np.zeros(n),
        np.zeros(n, dtype=np.int64) if trace.tenants is None else trace.tenants,
        service or ServiceTime(),
    )
