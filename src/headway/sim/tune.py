"""Our order for a place: all orders are simulated, and the best for a stated goal is taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from headway.errors import UnknownNameError
from headway.schedule.deadline import EarliestDeadline, Moore, Slack, StrictTiers
from headway.schedule.order import Aging, Fcfs, HighestResponseRatio, OrderPolicy, ShortestJob
from headway.schedule.policies import HEADWAY
from headway.schedule.uncertain import Boost, Gittins, Shift, TailInflated, WaitOverWork
from headway.sim.capacity import capacity_rps
from headway.sim.experiment import Case, Experiment

POWERS = (-1.0, -0.5, 0.0, 0.5, 1.0)
EXPONENTS = (0.3, 0.5, 0.7, 1.0, 1.4)
WINDOWS = (0.2, 0.35, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0)
AGING_RATES = (1e-3, 1e-2, 0.1)
GITTINS_AGING = (0.1, 0.3, 0.5, 1.0, 3.0)  # of the usual work over the usual wait
LATE_SHARES = (0.0, 0.05, 0.25)
P99_BOUND, MAX_BOUND = 0.02, 0.5
GOALS = ("attainment", "capacity", "slowdown", "ttft-p95", "mean")


@dataclass(frozen=True, slots=True)
class Quality:
    """What an order did on traces for training; times as means over them.

    Attributes:
        attainment: share of requests that met their objectives.
        mean_s, p99_s, max_s: of e2e.
        slowdown: mean of e2e over that alone.
        ttft_p95_s: of TTFT.
        capacity_rps: rate at which 90% meet their objectives; 0 where that was not asked.

    """

    attainment: float
    mean_s: float
    p99_s: float
    max_s: float
    slowdown: float
    ttft_p95_s: float
    capacity_rps: float = 0.0


@dataclass(frozen=True, slots=True)
class Tuned:
    """The order that was taken, and what it and first come first served did in training."""

    policy: OrderPolicy
    setting: str
    goal: str
    own: Quality
    fcfs: Quality

    @property
    def mean_vs_fcfs(self) -> float:
        """By how much the mean e2e differs, relatively."""
        return self.own.mean_s / self.fcfs.mean_s - 1

    @property
    def p99_vs_fcfs(self) -> float:
        """By how much the P99 of e2e differs, relatively."""
        return self.own.p99_s / self.fcfs.p99_s - 1

    @property
    def gain(self) -> str:
        """What it bought and what it cost in training, in words."""
        own, fcfs = self.own, self.fcfs
        bought = f"mean e2e {self.mean_vs_fcfs:+.0%}"
        if self.goal in ("attainment", "capacity"):
            bought = f"{fcfs.attainment:.0%} -> {own.attainment:.0%} in time, {bought}"
        payers = "those that are late pay for it" if self.p99_vs_fcfs > 0.05 else "the tail"
        max_vs_fcfs = own.max_s / fcfs.max_s - 1
        return f"{bought}; {payers}: P99 {self.p99_vs_fcfs:+.0%}, max {max_vs_fcfs:+.0%}"


def tune(
    experiment: Experiment,
    goal: str = "mean",
    p99_bound: float = P99_BOUND,
    max_bound: float = MAX_BOUND,
) -> Tuned:
    """Return the best order for the traces of ``experiment``.

    Args:
        experiment: traces for training, site, work, skill of predictions, objectives.
        goal: ``attainment`` of the objectives; ``capacity``, the rate at which 90% meet them;
            mean ``slowdown``; ``ttft-p95``; or ``mean`` e2e within the two bounds.
        p99_bound: by how much the P99 of e2e may exceed first come first served here, for the
            mean; on fresh traces it came out up to 3 points higher.
        max_bound: the same for the largest e2e.

    Raises:
        UnknownNameError: another goal.

    """
    if goal not in GOALS:
        raise UnknownNameError("goal", goal, GOALS)
    fcfs = quality(experiment, Fcfs(), goal == "capacity")

    def cost(own: Quality) -> tuple[float, float]:
        if goal == "mean" and (
            own.p99_s > (1 + p99_bound) * fcfs.p99_s or own.max_s > (1 + max_bound) * fcfs.max_s
        ):
            return np.inf, own.mean_s
        main = {
            "attainment": -own.attainment,
            "capacity": -own.capacity_rps,
            "slowdown": own.slowdown,
            "ttft-p95": own.ttft_p95_s,
            "mean": own.mean_s,
        }
        return main[goal], own.mean_s

    best, best_quality = (Fcfs(), fcfs)  # type: tuple[OrderPolicy, Quality]
    for policy in _candidates(experiment, goal):
        own = quality(experiment, policy, goal == "capacity")
        if cost(own) < cost(best_quality):
            best, best_quality = policy, own
    setting = getattr(best, "setting", best.name)
    return Tuned(_as_ours(best), setting, goal, best_quality, fcfs)


def quality(experiment: Experiment, policy: OrderPolicy, capacity: bool = False) -> Quality:
    """Return what ``policy`` does on all traces of ``experiment``."""
    rows = []
    for seed in range(len(experiment.traces)):
        run = experiment.run(Case(policy, seed))
        e2e_s, ttft_s = run.records.e2e_s, run.records.ttft_s
        ended = np.isfinite(e2e_s)
        rows.append(
            (
                float(experiment.good(run.records, seed).mean()),
                float(e2e_s[ended].mean()),
                float(np.percentile(e2e_s[ended], 99)),
                float(e2e_s[ended].max()),
                float((e2e_s / run.alone_s)[ended].mean()),
                float(np.percentile(ttft_s[ended], 95)),
            )
        )

    # Each trace counts the same, however many requests it has.
    attainment, mean_s, p99_s, max_s, slowdown, ttft_p95_s = np.mean(rows, axis=0).tolist()
    return Quality(
        attainment=attainment,
        mean_s=mean_s,
        p99_s=p99_s,
        max_s=max_s,
        slowdown=slowdown,
        ttft_p95_s=ttft_p95_s,
        capacity_rps=_mean_capacity_rps(experiment, policy) if capacity else 0.0,
    )


def _mean_capacity_rps(experiment: Experiment, policy: OrderPolicy) -> float:
    seeds = range(len(experiment.traces))
    return float(np.mean([capacity_rps(experiment, Case(policy, seed)) for seed in seeds]))


def _candidates(experiment: Experiment, goal: str) -> Sequence[OrderPolicy]:
    """Return the orders that may be best for ``goal``, their scales set for the place."""
    # The scales: the usual wait of a request, and its usual work.
    seeds = range(len(experiment.traces))
    waits_s = [float(np.nanmean(experiment.run(Case(Fcfs(), s)).records.ttft_s)) for s in seeds]
    wait_s = max(float(np.mean(waits_s)), 1e-3)
    trace = experiment.traces[0]
    usual_s = float(np.median(experiment.service.of(trace.prompt_tokens, trace.output_tokens)))

    orders: list[OrderPolicy] = [
        ShortestJob(),
        HighestResponseRatio(),
        TailInflated(),
        Gittins(),
        Boost(gamma_per_s=1 / wait_s),
        *(WaitOverWork(exponent, usual_s) for exponent in EXPONENTS),
        *(Aging(rate) for rate in AGING_RATES),
    ]
    if goal == "mean":  # the one goal for which many short moves are better than few long ones
        orders += [Shift(factor * wait_s, usual_s, p) for p in POWERS for factor in WINDOWS]
        orders += [Gittins(aging=factor * usual_s / wait_s) for factor in GITTINS_AGING]
    if experiment.has_objectives:
        orders += [EarliestDeadline(2 * wait_s), StrictTiers(2 * wait_s)]
        orders += [Moore(late_share=share) for share in LATE_SHARES]
        orders += [Slack(late_share=share) for share in LATE_SHARES]
    return orders


def _as_ours(policy: OrderPolicy) -> OrderPolicy:
    """Return ``policy`` under our name."""
    return replace(policy, name=HEADWAY)  # type: ignore[type-var]  # orders are dataclasses
