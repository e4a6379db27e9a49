"""What no simulation can beat: how much of a demand one replica of each layout could carry.

All layouts and numbers of requests at once are one evaluation of the serving model in its steady
state. Arrivals that vary only make it worse: a state whose mean already misses an objective is
never met at its P50 or above. The bound is taken `SLACK` looser than the model says, because the
simulation differs from the steady state by a few percent in either direction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from statistics import NormalDist
from types import MappingProxyType

import numpy as np

from headway.errors import DoesNotFitError, InputError
from headway.frontier.search import concurrencies
from headway.hardware.cluster import Cluster
from headway.hardware.stacks import engine_runs
from headway.model.precision import Precision
from headway.plan.apart import States, apart
from headway.plan.candidate import Candidate, Reach
from headway.plan.problem import Problem
from headway.serving.closed_loop import ClosedLoop
from headway.serving.estimate import ServingEstimate, serve
from headway.serving.load_times import LoadTimes
from headway.serving.quantity import Quantity
from headway.serving.served_load import serve_loop
from headway.steptime.deployment import Deployment, EngineLimits
from headway.steptime.layouts import layouts, single
from headway.steptime.placed_model import Drafting
from headway.steptime.work import Array, BoolArray
from headway.workload.objective import Objective

SLACK = 1.08
MAX_SEQUENCES = 1024  # of one engine; what vLLM runs at once by default
MIN_SEQUENCES = 32
NO_ERRORS: Mapping[str, Array] = MappingProxyType({})
_Z = np.linspace(-6.0, 6.0, 1201)
_PHI = np.array([NormalDist().cdf(z) for z in _Z])
Z_90 = NormalDist().inv_cdf(0.9)  # standard deviations from the median to the end of an interval


def candidates(problem: Problem) -> tuple[list[Candidate], list[Reach]]:
    """Return what could be bought, cheapest bound first, and what could not and why."""
    chosen: list[Candidate] = []
    reaches: list[Reach] = []
    for cluster in problem.clusters:
        options, missed = [], []
        for engine in engines_on(problem, cluster):
            for precision, drafting in product(problem.precisions, problem.drafts):
                of_kind, reach = _screen(problem, cluster, engine, precision, drafting)
                options += of_kind
                missed.append(reach)
        chosen += options
        reaches += [] if options else missed
    chosen.sort(key=lambda c: (c.least_usd_per_hour, c.least_replicas * c.usd_per_hour))
    return chosen, reaches


def engines_on(problem: Problem, cluster: Cluster) -> list[str | None]:
    """Return the engines whose step times are known on ``cluster``; none: its data sheet alone."""
    calibration, chip = problem.calibration, cluster.accelerator
    measured: list[str | None] = [
        engine
        for engine in sorted(calibration.engines)
        if calibration.has_measured(chip.vendor, engine) and engine_runs(engine, chip)
    ]
    if problem.engine is not None:
        calibration.check_engine(problem.engine)
        return [problem.engine] if problem.engine in measured else []
    return measured or [None]


def _screen(
    problem: Problem,
    cluster: Cluster,
    engine: str | None,
    precision: Precision | None,
    drafting: Drafting | None,
) -> tuple[list[Candidate], Reach]:
    """Return the layouts of one kind that may carry the demand."""
    out = Reach(accelerator=cluster.name, engine=engine, best_s={}, reason="")
    limit = min(problem.max_replica_accelerators, cluster.num_accelerators)
    try:
        family = Deployment(
            problem.model,
            cluster,
            parallelism=layouts(problem.model, cluster, limit, two_dimensional=engine is None),
            precision=precision,
            engine=engine,
            limits=EngineLimits(max_num_seqs=MAX_SEQUENCES),
            drafting=drafting,
            calibration=problem.calibration,
        )
        sizes = concurrencies(MAX_SEQUENCES)
        served = serve(family, problem.loop(sizes))
    except (DoesNotFitError, InputError) as error:
        return [], replace(out, reason=str(error))

    fits = (served.shape.seats >= sizes) & (served.shape.starved == 0)
    if not fits.any():
        reason = f"the model does not fit {limit} of them with one request"
        return [], replace(out, reason=reason)

    times = with_long_prompts(problem, family, served.times)
    both = States(family, served, sizes, times, fits)
    best_s = {
        objective.quantity: float(np.min(seconds_of(objective, times)[fits]))
        for objective in problem.objectives
    }
    chosen = _chosen(problem, both)
    if problem.apart and engine is not None:
        chosen += _chosen(problem, apart(problem, both))
    return chosen, replace(out, best_s=best_s, reason=_miss(problem, best_s))


def _chosen(problem: Problem, states: States) -> list[Candidate]:
    """Return the layouts that may carry the demand in one of their states."""
    demand, times, sizes = problem.demand, states.times, states.sizes
    concurrency = sizes * states.cells[:, 1:]
    shares = demand.share(concurrency, times.requests_per_s)
    meeting = states.fits & _meets(problem, times, 1.0)
    likely, place = _largest(shares, meeting)
    most, _ = _largest(shares, states.fits & _meets(problem, times, SLACK))

    # Where a whole number of replicas has less to do than it could, fewer are at work at once.
    part = 1 / np.ceil(1 / np.maximum(likely, 0.5 * most).clip(min=1e-9) - 1e-9)
    enough = meeting & (shares >= part[:, None])
    place = np.where(enough.any(axis=1), enough.argmax(axis=1), place)

    # Each objective must hold at its own quantile of the error, and all of them together.
    z_sure = NormalDist().inv_cdf(problem.sure)
    served = states.served
    errors = {
        "tpot": _log_error(served.tpot_s, z_sure),
        "ttft": _log_error(served.ttft_s, z_sure),
    }
    slower = np.exp(np.maximum(errors["tpot"], 0.0))
    sure_shares = demand.share(concurrency, times.requests_per_s / slower)
    is_sure = states.fits & _meets(problem, times, SLACK, errors)
    is_sure &= _probability(problem, times, served) >= problem.sure
    surely, _ = _largest(sure_shares, is_sure)

    chosen = []
    for index in np.flatnonzero(most > 0):
        usual = float(sizes[place[index]])
        layout = single(states.family.parallelism, int(index))
        limits = _limits(usual, float(np.ravel(states.family.parallelism.dp)[index]))
        candidate = Candidate(
            deployment=states.family.with_parallelism(layout).with_limits(limits),
            concurrency=usual,
            least_replicas=_count(most[index] * SLACK),
            likely_replicas=_count(max(likely[index], 0.5 * most[index])),
            surely_least=_count(surely[index] * SLACK) if surely[index] > 0 else math.inf,
            share=float(max(likely[index], 0.5 * most[index])),
            cell=(int(states.cells[index, 0]), int(states.cells[index, 1])),
        )
        if candidate.least_replicas <= candidate.max_replicas:
            chosen.append(candidate)
    return chosen


def with_long_prompts(problem: Problem, family: Deployment, times: LoadTimes) -> LoadTimes:
    """Return ``times`` with the time to first token of the prompt at the objective's percentile.

    Whoever bounds P95 must serve the prompt that is longer than 95% of the others: it takes longer
    by what it takes longer alone.
    """
    for objective in problem.objectives:
        if objective.quantity != "ttft" or objective.percentile is None:
            continue
        tokens = problem.demand.prompt_quantile(objective.percentile / 100)
        if tokens <= problem.demand.prompt_tokens:
            continue
        alone = problem.loop(1.0)
        longer = ClosedLoop(tokens, alone.output_tokens, 1.0, alone.cached_fraction)
        usual_s = serve_loop(family, alone).times.ttft_s
        added_s = np.maximum(serve_loop(family, longer).times.ttft_s - usual_s, 0.0)
        return replace(times, ttft_s=times.ttft_s + added_s, e2e_s=times.e2e_s)
    return times


def _count(share: float) -> int:
    """Return how many replicas carry all, where each carries ``share``."""
    return max(math.ceil(1 / share - 1e-9), 1)


def _log_error(quantity: Quantity, level: float) -> Array:
    """Return the log-error at ``level`` standard deviations, of the interval taken as normal."""
    low = np.log(quantity.lower / quantity.expected)
    high = np.log(quantity.upper / quantity.expected)
    return np.asarray((low + high) / 2 + level * (high - low) / (2 * Z_90))


def _probability(problem: Problem, times: LoadTimes, served: ServingEstimate) -> Array:
    """Return how probably the typical request meets all objectives, `SLACK` times looser.

    Errors of time per token and of time to first token are independent of each other.
    """
    probability = np.ones(times.tpot_s.shape)
    quantities = {"tpot": served.tpot_s, "ttft": served.ttft_s}
    for objective in problem.objectives:
        quantity = quantities.get(objective.quantity)
        if quantity is None:
            continue
        middle = _log_error(quantity, 0.0)
        spread = np.maximum(_log_error(quantity, 1.0) - middle, 1e-9)
        room = np.log(objective.bound_s * SLACK / seconds_of(objective, times))
        probability = probability * _normal((room - middle) / spread)
    return probability


def _normal(z: Array) -> Array:
    """Return the standard normal distribution function (a table, linear in between)."""
    return np.asarray(np.interp(z, _Z, _PHI))


def _meets(
    problem: Problem, times: LoadTimes, slack: float, errors: Mapping[str, Array] = NO_ERRORS
) -> BoolArray:
    """Return the states whose typical request meets every objective, ``slack`` times looser.

    ``errors`` are log-factors on what is predicted, by quantity.
    """
    meets = np.ones(times.tpot_s.shape, dtype=np.bool_)
    for objective in problem.objectives:
        factor = np.exp(errors.get(objective.quantity, np.zeros(())))
        meets &= seconds_of(objective, times) * factor <= objective.bound_s * slack
    return meets


def seconds_of(objective: Objective, times: LoadTimes) -> Array:
    """Return the typical value of the quantity that ``objective`` bounds."""
    values: Array = getattr(times, f"{objective.quantity}_s")
    return values


def _largest(shares: Array, possible: BoolArray) -> tuple[Array, Array]:
    """Return for every layout the largest share among the possible states, and its place."""
    allowed = np.where(possible, np.broadcast_to(shares, possible.shape), 0.0)
    return allowed.max(axis=1), allowed.argmax(axis=1)


def _limits(concurrency: float, groups: float) -> EngineLimits:
    """Return engine limits: seats for four times the requests that are usual, in a power of two.

    Seats beyond that only let a burst slow down all who are being answered.
    """
    usual = max(concurrency / max(groups, 1.0), 1.0)
    seats = 2 ** math.ceil(math.log2(4 * usual))
    return EngineLimits(max_num_seqs=int(np.clip(seats, MIN_SEQUENCES, MAX_SEQUENCES)))


def _miss(problem: Problem, best_s: dict[str, float]) -> str:
    """Say which objective no layout reaches, or that only all of them together are out."""
    for objective in problem.objectives:
        if best_s[objective.quantity] > objective.bound_s * SLACK:
            return (
                f"{objective.quantity} of {1e3 * best_s[objective.quantity]:,.0f} ms at best, "
                f"not {1e3 * objective.bound_s:g}"
            )
    return "no number of them carries the demand within all objectives together"
