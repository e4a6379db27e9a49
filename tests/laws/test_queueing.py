"""The simulated replica with one slot and constant steps is a queue: theory knows its means."""

from __future__ import annotations

import numpy as np
import pytest
from tests.sim.worlds import LinearStepTime, pool

from headway.schedule.order import Fcfs, OrderPolicy, ShortestJob, ShortestRemaining
from headway.schedule.view import ServiceTime
from headway.sim.engine import Engine
from headway.sim.laws import check
from headway.sim.outcome import simulate_trace
from headway.sim.predictions import quantiles, shuffled, view_of
from headway.sim.site import Site
from headway.workload.aggregate import paired, t_quantile
from headway.workload.oracle import Trace

STEP_S = 1e-3
CONSTANT = LinearStepTime(STEP_S, 0.0, 0.0)
COUNT, SEEDS = 20_000, 12


def one_slot(slots: int = 1) -> Site:
    engine = Engine(max_num_seqs=slots, max_num_batched_tokens=4096, num_kv_blocks=10_000)
    return Site((pool(engine, CONSTANT),))


def arrivals(load: float, mean_tokens: float, seed: int) -> tuple[np.ndarray, np.random.Generator]:
    random = np.random.default_rng(seed)
    return np.cumsum(random.exponential(mean_tokens * STEP_S / load, COUNT)), random


def sojourn(times: np.ndarray, outputs: np.ndarray, policy: OrderPolicy, seed: int = 0) -> float:
    trace = Trace(times, np.ones(COUNT, dtype=np.int64), outputs)
    view = view_of(trace, quantiles(trace.output_tokens, 1.0, seed))
    outcome = simulate_trace(trace, one_slot(), policy, view)
    check(outcome)
    return float(outcome.records.e2e_s.mean())


def within(means: list[float], theory: float, slack: float = 0.0) -> bool:
    """Whether 1.5 times the 95% interval of the mean, widened by ``slack``, holds ``theory``."""
    half = 1.5 * t_quantile(len(means) - 1) * np.std(means, ddof=1) / len(means) ** 0.5
    return bool(abs(np.mean(means) - theory) <= half + slack * theory)


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_geometric_lengths_are_m_m_1(load: float) -> None:
    mean = 400.0
    means = []
    for seed in range(SEEDS):
        times, random = arrivals(load, mean, seed)
        means.append(sojourn(times, random.geometric(1 / mean, COUNT), Fcfs()))
    assert within(means, mean * STEP_S / (1 - load), slack=0.005)


@pytest.mark.parametrize(("load", "spread"), [(0.7, 0.5), (0.7, 1.0)])
def test_lognormal_lengths_follow_pollaczek_and_khinchine(load: float, spread: float) -> None:
    means, theory = [], []
    for seed in range(SEEDS):
        times, random = arrivals(load, 300.0, seed)
        lengths = np.maximum(np.rint(300 * random.lognormal(-(spread**2) / 2, spread, COUNT)), 1)
        service = lengths * STEP_S
        rate = load / (300 * STEP_S)
        rho = rate * service.mean()
        theory.append(service.mean() + rate * (service**2).mean() / (2 * (1 - rho)))
        means.append(sojourn(times, lengths, Fcfs()))
    relative = [m / t - 1 for m, t in zip(means, theory, strict=True)]
    assert within([1 + r for r in relative], 1.0, slack=0.01)


def test_srpt_follows_schrage_and_miller() -> None:
    """E[T(x)] = (rate m2(x) + rate x^2 (1 - F(x))) / (2 (1 - rho(x))^2) + sum dt / (1 - rho(t))."""
    load, mean = 0.8, 100.0
    sizes = np.arange(1, 3000)
    mass = (1 / mean) * (1 - 1 / mean) ** (sizes - 1)
    rate = load / (mean * STEP_S)
    below = np.cumsum(mass)
    x = sizes * STEP_S
    rho = np.cumsum(rate * x * mass)
    second = np.cumsum(x**2 * mass) + x**2 * (1 - below)
    residence = np.cumsum(STEP_S / (1 - np.concatenate([[0.0], rho[:-1]])))
    theory = float((mass * (rate * second / (2 * (1 - rho) ** 2) + residence)).sum())
    means = []
    for seed in range(SEEDS):
        times, random = arrivals(load, mean, seed)
        means.append(sojourn(times, random.geometric(1 / mean, COUNT), ShortestRemaining()))
    # Sizes are whole steps and a step is never cut: theory has it continuous, half a step apart.
    assert within(means, theory, slack=0.02)
    times, random = arrivals(load, mean, 0)
    lengths = random.geometric(1 / mean, COUNT)
    assert sojourn(times, lengths, ShortestRemaining()) < sojourn(times, lengths, ShortestJob())


def test_a_batch_of_one_replica_with_constant_steps_is_the_closed_form() -> None:
    """Waves of ``slots`` requests of L tokens: the k-th wave ends after k L steps."""
    slots, length, waves = 8, 30, 5
    trace = Trace(
        np.zeros(slots * waves),
        np.ones(slots * waves, dtype=np.int64),
        np.full(slots * waves, length),
    )
    outcome = simulate_trace(trace, one_slot(slots))
    ends = np.repeat(np.arange(1, waves + 1) * length, slots) * 1_000_000
    assert outcome.requests["last_ns"].tolist() == ends.tolist()


def test_shuffled_predictions_gain_nothing() -> None:
    """An order that knows nothing of sizes has the mean of first come first served."""
    real, control = [], []
    for seed in range(SEEDS):
        times, random = arrivals(0.8, 100.0, seed)
        trace = Trace(times, np.ones(COUNT, dtype=np.int64), random.geometric(0.01, COUNT))
        known = quantiles(trace.output_tokens, 0.4, seed)
        service = ServiceTime(0.0, 0.0, STEP_S)
        e2e = [
            float(
                simulate_trace(
                    trace, one_slot(), policy, view_of(trace, rows, service)
                ).records.e2e_s.mean()
            )
            for policy, rows in (
                (Fcfs(), known),
                (ShortestJob(), known),
                (ShortestJob(), shuffled(known, seed)),
            )
        ]
        real.append(e2e[1] / e2e[0])
        control.append(e2e[2] / e2e[0])
    assert paired(real, [1.0] * SEEDS).upper < -0.1
    nothing = paired(control, [1.0] * SEEDS)
    assert nothing.lower < 0 < nothing.upper or abs(nothing.mean) < 0.02
