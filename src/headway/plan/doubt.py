"""Doubt in the step times, pushed through load and queue: replicas needed, and how surely.

An error of the time per token stretches every step: the fleet does in stretched time what it does
nominally under more load, which its curve knows. An error of the time to first token beyond that
stretches what is left of it. Both are drawn jointly over candidates, so that what is wrong for one
is wrong for its relatives, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from statistics import NormalDist

import numpy as np

from headway.plan.candidate import Candidate
from headway.plan.problem import Problem
from headway.serving.closed_loop import ClosedLoop
from headway.serving.doubt import Doubt, LogErrors
from headway.sim.world import Floats
from headway.steptime.work import Array

NUM_DRAWS = 2000
STRETCHES = np.arange(-1.5, 1.5001, 0.03)  # log-errors of the time per token that are tabulated
EXCESSES = np.arange(-2.0, 2.0001, 0.08)  # of the time to first token, beyond the former
NO_EXCESS = int(np.argmin(np.abs(EXCESSES)))
MAX_GROWTH = 10.0  # replicas over those of the curve that are looked at
MAX_COUNTS = 120
NEVER = np.inf


def errors_of(problem: Problem, points: Sequence[Candidate]) -> LogErrors:
    """Return the errors of candidates at their usual load, all from one joint model.

    Where prefill and decode are apart, times per token err as decoding alone does, and times to
    first token as prompts alone do.
    """
    doubt = Doubt.of_calibration(problem.calibration)
    loops = [stage_loops(problem, one) for one in points]
    errors = doubt.of([(one.deployment, loop[1]) for one, loop in zip(points, loops, strict=True)])
    if not any(one.cell[0] for one in points):
        return errors

    prompts = doubt.of([(one.deployment, loop[0]) for one, loop in zip(points, loops, strict=True)])
    return replace(
        errors,
        mean={**errors.mean, "ttft": prompts.mean["ttft"]},
        covariance={**errors.covariance, "ttft": prompts.covariance["ttft"]},
    )


def stage_loops(problem: Problem, candidate: Candidate) -> tuple[ClosedLoop, ClosedLoop]:
    """Return the loads of the engines that prefill and of those that decode, each in the mean."""
    loop = problem.loop(candidate.concurrency)
    if not candidate.cell[0]:
        return loop, loop
    return (
        ClosedLoop(loop.prompt_tokens, 1, 1.0, loop.cached_fraction),
        ClosedLoop(loop.prompt_tokens, loop.output_tokens, loop.concurrency, prefilled=True),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """Draws of one candidate's log-errors (true over predicted), shape ``(NUM_DRAWS,)``."""

    tpot: Floats
    ttft: Floats

    @classmethod
    def of(cls, problem: Problem, candidate: Candidate) -> Draws:
        """Draw from the joint error model."""
        errors = errors_of(problem, [candidate])
        z_tpot, z_ttft = standard_draws()
        return cls(
            tpot=errors.mean["tpot"][0] + np.sqrt(errors.covariance["tpot"][0, 0]) * z_tpot,
            ttft=errors.mean["ttft"][0] + np.sqrt(errors.covariance["ttft"][0, 0]) * z_ttft,
        )

    def of_quantity(self, quantity: str) -> Floats:
        """Return the errors of a quantity that an objective bounds."""
        return self.ttft if quantity == "ttft" else self.tpot


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """What a fleet does under parts and multiples of its demand; arrays over volumes.

    Attributes:
        replicas: of the fleet.
        volumes: multiples of the demand.
        requests_per_s: that came.
        e2e_s: mean.
        statistics_s: by objective, rising with the volume, shape ``(objectives, volumes)``.

    """

    replicas: int
    volumes: Array
    requests_per_s: Array
    e2e_s: Array
    statistics_s: Array


@dataclass(frozen=True, slots=True, eq=False)
class Outlook:
    """How many replicas a candidate needs, whatever the errors turn out to be.

    Attributes:
        problem: what is asked.
        candidate: which.
        replicas: by error of the time per token and excess of the time to first token, shape
            ``(len(STRETCHES), len(EXCESSES))``; infinite where no number is enough.

    """

    problem: Problem
    candidate: Candidate
    replicas: Floats

    @classmethod
    def of(
        cls,
        problem: Problem,
        candidate: Candidate,
        curve: Curve,
        counts: Floats | None = None,
    ) -> Outlook:
        """Tabulate from what a fleet does under parts and multiples of its demand.

        ``counts`` are the numbers of replicas that are looked at; they need not be whole.
        """
        if counts is None:
            counts = _counts(curve.replicas, candidate.max_replicas)
        stretched = [_stretched(problem, curve, counts, float(stretch)) for stretch in STRETCHES]
        if candidate.cell[0]:
            table = _apart(problem, stretched, counts)
        else:
            table = np.stack([_least(problem, statistics, counts) for statistics in stretched])

        # More error never needs fewer.
        table = np.maximum.accumulate(np.maximum.accumulate(table, axis=0), axis=1)
        return cls(problem, candidate, table)

    def needed(self, tpot_errors: Array, ttft_errors: Array) -> Floats:
        """Return the replicas that are needed where the log-errors are these."""
        row = np.searchsorted(STRETCHES - 0.015, tpot_errors, side="right") - 1
        place = np.searchsorted(EXCESSES - 0.04, ttft_errors - tpot_errors, side="right") - 1
        last_row, last_place = len(STRETCHES) - 1, len(EXCESSES) - 1
        replicas: Floats = self.replicas[np.clip(row, 0, last_row), np.clip(place, 0, last_place)]
        return np.where((tpot_errors > STRETCHES[-1] + 0.015), NEVER, replicas)


def _counts(around: int, maximum: int) -> Floats:
    """Return numbers of replicas to look at: all of them, or evenly on a log scale."""
    largest = max(min(int(MAX_GROWTH * around) + 1, maximum), 1)
    if largest <= MAX_COUNTS:
        return np.arange(1.0, largest + 1.0)
    steps = np.unique(np.round(np.geomspace(1, largest, MAX_COUNTS)))
    near = np.arange(max(around - 20.0, 1.0), min(around + 20.0, largest) + 1.0)
    return np.union1d(steps, near)


def _stretched(problem: Problem, curve: Curve, counts: Floats, stretch: float) -> Array:
    """Return the logs of the statistics of every number of replicas with stretched steps.

    Shape ``(objectives, counts)``; infinite beyond the curve's loads.
    """
    # The load of each replica is the one at which as many requests come as are asked: of a closed
    # loop fewer, the longer answers take.
    arrivals_per_s = problem.demand.requests_per_s(np.exp(stretch) * curve.e2e_s)
    surplus = np.maximum.accumulate(np.log(curve.requests_per_s) - np.log(arrivals_per_s))
    target = stretch + np.log(curve.replicas / counts)
    log_volumes = np.interp(target, surplus, np.log(curve.volumes))

    logs = np.log(curve.statistics_s)
    statistics = np.stack([np.interp(log_volumes, np.log(curve.volumes), row) for row in logs])
    return np.where(target > surplus[-1], NEVER, statistics + stretch)


def _least(problem: Problem, statistics: Array, counts: Floats) -> Floats:
    """Return the least of ``counts`` that meets all objectives, for every one of `EXCESSES`."""
    meets = np.ones((len(EXCESSES), len(counts)), dtype=np.bool_)
    for objective, row in zip(problem.objectives, statistics, strict=True):
        excess = EXCESSES if objective.quantity == "ttft" else np.zeros_like(EXCESSES)
        meets &= row[None, :] + excess[:, None] <= np.log(objective.bound_s)
    first = meets.argmax(axis=1)
    return np.where(meets.any(axis=1), counts[first], NEVER)


def _apart(problem: Problem, stretched: Sequence[Array], counts: Floats) -> Floats:
    """Return the table of engines that only prefill, which are as slow as their own error says.

    Both kinds of engines must be enough, each stretched by its own error.
    """
    first = np.array([[objective.quantity == "ttft"] for objective in problem.objectives])
    prefill, decode = (
        np.array(
            [_least(problem, np.where(own, one, -NEVER), counts)[NO_EXCESS] for one in stretched]
        )
        for own in (first, ~first)
    )
    errors = STRETCHES[:, None] + EXCESSES
    places = np.clip(np.searchsorted(STRETCHES, errors - 1e-9), 0, len(STRETCHES) - 1)
    prompts = np.where(errors > STRETCHES[-1], NEVER, prefill[places])
    return np.asarray(np.maximum(decode[:, None], prompts))


@cache
def standard_draws(size: int = NUM_DRAWS, seed: int = 0) -> tuple[Floats, Floats]:
    """Return independent standard normals for both quantities, as even as their number permits."""
    random = np.random.default_rng([seed, 40])
    levels = (np.arange(size) + 0.5) / size
    normals = _normal_quantile(levels)
    return normals, random.permutation(normals)


def _normal_quantile(levels: Floats) -> Floats:
    """Return quantiles of the standard normal distribution."""
    inverse = NormalDist().inv_cdf
    return np.array([inverse(float(level)) for level in levels])


def quantile(replicas: Floats, level: float) -> Floats:
    """Return the number that is enough in ``level`` of the draws, which lie on the last axis."""
    count = replicas.shape[-1]
    place = min(int(np.ceil(level * count)), count) - 1
    return np.asarray(np.partition(replicas, place, axis=-1)[..., place])
