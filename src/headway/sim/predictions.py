"""Predictions for a trace: made from the truth with a stated skill, or by a trained predictor.

A signal is the logarithm of the true length plus normal noise; the noise is as large as makes the
signal rank answers with the wanted Kendall tau. What is predicted is calibrated: the quantiles of
the true lengths among requests with a similar signal.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from headway.errors import InputError
from headway.predict import LengthPredictor, load
from headway.predict.prediction import LEVELS
from headway.predict.storage import default_predictor
from headway.schedule.view import Floats, Ints, ServiceTime, View
from headway.workload.oracle import Trace
from headway.workload.request import Slo

SAMPLE = 600


class Predictions(Protocol):
    """Where an order has the lengths of answers from."""

    @property
    def label(self) -> str:
        """What tables call it."""
        ...

    def quantiles(self, trace: Trace, seed: int) -> Floats:
        """Return predicted output tokens, ``(requests, levels)`` at `LEVELS`."""
        ...


@dataclass(frozen=True, slots=True)
class Skill:
    """Predictions of a stated skill, made from the truth.

    Attributes:
        tau: Kendall's tau between prediction and truth; 0 knows nothing, 1 is the truth.

    """

    tau: float = 0.4

    def __post_init__(self) -> None:
        if not 0 <= self.tau <= 1:
            raise InputError(f"the skill tau of a predictor must be from 0 to 1, not {self.tau}")

    @property
    def label(self) -> str:
        """The skill."""
        return f"tau {self.tau:g}"

    def quantiles(self, trace: Trace, seed: int) -> Floats:
        """Return predictions of this skill, the same for the same seed."""
        return quantiles(trace.output_tokens, self.tau, seed)


@dataclass(frozen=True, slots=True)
class FromPrompts:
    """What a trained predictor says on arrival; it does not learn during the run."""

    predictor: LengthPredictor

    @property
    def label(self) -> str:
        """That prompts are read."""
        return "from the prompt"

    def quantiles(self, trace: Trace, seed: int) -> Floats:
        """Return the predictor's quantiles.

        Raises:
            InputError: the trace holds no prompts to read.

        """
        if trace.prompts is None:
            raise InputError(
                f"trace {trace.name!r} holds lengths, not prompts, so a trained predictor has "
                "nothing to read: give a trace with a prompt column, or --predictor tau=0.4"
            )
        predictions = self.predictor.predict([trace.request(i) for i in range(len(trace))])
        return np.array([[p.at(level) for level in LEVELS] for p in predictions])


def parse_predictions(text: str) -> Predictions:
    """Return what ``text`` means: ``tau=0.4``, oracle, default, or a trained predictor's folder.

    Raises:
        InputError: it is none of these.

    """
    if text == "oracle":
        return Skill(1.0)
    if text == "default":
        return FromPrompts(default_predictor(embed=False))
    if Path(text).is_dir():
        return FromPrompts(load(Path(text)))
    match = re.fullmatch(r"(?:tau=)?(0(?:\.\d+)?|1(?:\.0+)?)", text)
    if match is None:
        raise InputError(
            f"a predictor is tau=SKILL from 0 to 1, oracle, default, or a trained one's folder, "
            f"not {text!r}"
        )
    return Skill(float(match[1]))


def quantiles(output_tokens: Ints, tau: float, seed: int, bins: int = 40) -> Floats:
    """Return predicted quantiles at `LEVELS` with skill ``tau``, one row per request."""
    if tau == 1:
        return np.repeat(output_tokens.astype(np.float64)[:, None], len(LEVELS), axis=1)

    signal = signals(output_tokens, tau, np.random.default_rng([seed, 7]))
    order = np.argsort(signal, kind="stable")
    groups = np.array_split(order, max(1, min(bins, len(order) // 20)))
    centres = np.array([float(np.median(signal[group])) for group in groups])
    tables = np.array([np.quantile(output_tokens[group], LEVELS) for group in groups])

    # Between bins the quantiles move smoothly with the signal, so that no two requests tie.
    smooth = [np.interp(signal, centres, tables[:, k]) for k in range(len(LEVELS))]
    return np.asarray(np.maximum(np.stack(smooth, axis=1), 1.0))


def signals(output_tokens: Ints, tau: float, random: np.random.Generator) -> Floats:
    """Return one number per request; they rank ``output_tokens`` with skill ``tau``."""
    Skill(tau)
    truth = np.log(output_tokens.astype(np.float64))
    noise = random.standard_normal(len(truth))
    if tau == 0:
        return noise
    if tau == 1:
        return truth

    # More noise is less skill: bisect for the noise.
    sample = np.linspace(0, len(truth) - 1, min(SAMPLE, len(truth))).astype(np.int64)
    low, high = 0.0, 16.0 * max(float(truth.std()), 1e-9)
    for _ in range(14):
        middle = (low + high) / 2
        if kendall_tau(truth[sample], truth[sample] + middle * noise[sample]) > tau:
            low = middle
        else:
            high = middle
    return np.asarray(truth + (low + high) / 2 * noise)


def kendall_tau(a: Floats, b: Floats) -> float:
    """Kendall's tau-b (Kendall 1945) of two columns; 0 where one of them is constant."""
    da, db = np.sign(a[:, None] - a[None, :]), np.sign(b[:, None] - b[None, :])
    scale = np.sqrt(float((da != 0).sum()) * float((db != 0).sum()))
    return float((da * db).sum() / scale) if scale > 0 else 0.0


def shuffled(rows: Floats, seed: int) -> Floats:
    """Return the same predictions dealt out at random: the control that must gain nothing."""
    return rows[np.random.default_rng([seed, 11]).permutation(len(rows))]


def view_of(
    trace: Trace,
    predicted: Floats,
    service: ServiceTime | None = None,
    slos: Sequence[Slo] = (),
) -> View:
    """Return what a policy sees of ``trace`` with the quantiles ``predicted``.

    ``slos`` are objectives by tenant number; those of everybody where there is only one.
    """
    n = len(trace)
    view = View(
        arrival_s=trace.arrival_s,
        prompt_tokens=trace.prompt_tokens.astype(np.float64),
        quantiles=predicted,
        deadline_s=np.full(n, np.inf),
        produced_tokens=np.zeros(n),
        tenants=np.zeros(n, dtype=np.int64) if trace.tenants is None else trace.tenants,
        service=service or ServiceTime(),
    )
    if not slos:
        return view
    return view.promising([slos[tenant if len(slos) > 1 else 0] for tenant in view.tenants])
