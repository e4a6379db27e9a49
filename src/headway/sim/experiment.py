"""Orders of service against each other: the same traces and predictions, paired by seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any, TypeVar

import numpy as np

from headway.errors import UnknownNameError, need
from headway.schedule.consolidate import Consolidation
from headway.schedule.offload import Offload
from headway.schedule.order import Fcfs, OrderPolicy
from headway.schedule.route import LowestScore
from headway.schedule.view import ServiceTime, View
from headway.sim.laws import check
from headway.sim.outcome import Outcome, simulate_trace
from headway.sim.policy_row import PolicyRow, Run, difference_row, mean_row
from headway.sim.predictions import Predictions, Skill, shuffled, view_of
from headway.sim.site import Site, alone_ns
from headway.sim.static_batch import Second, batch_time, serve_batches
from headway.sim.world import Floats, Ints
from headway.workload.aggregate import meets
from headway.workload.oracle import Trace
from headway.workload.record import Bools, Records
from headway.workload.request import Slo

NO_OBJECTIVES = Slo()
SKILL = Skill()


@dataclass(frozen=True, slots=True)
class Case:
    """One run: which policy, which trace, and whether its predictions are dealt out at random."""

    policy: OrderPolicy
    seed: int
    control: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Experiment:
    """What is compared.

    Attributes:
        traces: by seed.
        site: what serves.
        service: what policies take a request to cost.
        predictions: of the lengths of answers.
        slo: objectives.
        lawful: whether every run is checked against the laws.
        tenants: names and objectives by tenant number.
        offload_share: of the requests, those with the longest predicted answers go to the second
            pool and all others to the first; ``None`` lets any request go to any pool.
        offload_level: quantile of the prediction that counts for that.
        batch: static batches on the first pool instead of continuous batching.

    """

    traces: tuple[Trace, ...]
    site: Site
    service: ServiceTime
    predictions: Predictions = SKILL
    slo: Slo = NO_OBJECTIVES
    lawful: bool = False
    tenants: tuple[tuple[str, Slo], ...] = ()
    offload_share: float | None = None
    offload_level: float = 0.9
    batch: Consolidation | None = None
    _views: dict[tuple[int, bool], View] = field(default_factory=dict, init=False, repr=False)

    def rows(self, case: Case) -> tuple[PolicyRow, ...]:
        """Return the row of one run, and those of its tenants and pools."""
        return self.run(case).rows(self.traces[case.seed], self.tenants)

    def outcome(self, case: Case) -> Outcome:
        """Return one run of continuous batching in full."""
        outcome = self._serve(case, self.traces[case.seed])
        if self.lawful:
            check(outcome)
        return outcome

    def _serve(self, case: Case, trace: Trace) -> Outcome:
        """Return what becomes of ``trace``, the case's own or the same at another rate."""
        placement = self.site.placement
        routed_by_work = isinstance(placement, LowestScore) and placement.per_output_token != 0
        blind = not routed_by_work and self.site.autoscaler is None
        if isinstance(case.policy, Fcfs) and self.offload_share is None and blind:
            return simulate_trace(trace, self.site, case.policy)

        view = self._view(case)
        if trace is not self.traces[case.seed]:
            view = view.arriving(trace.arrival_s)
        return simulate_trace(trace, self.site, case.policy, view, self._bound(view))

    @property
    def has_objectives(self) -> bool:
        """Whether any request has an objective."""
        slos = [slo for _, slo in self.tenants] or [self.slo]
        return any(slo.ttft_s or slo.tpot_s or slo.e2e_s for slo in slos)

    def good(self, records: Records, seed: int) -> Bools:
        """Return which requests of the trace of ``seed`` met all their objectives."""
        tenants = self.traces[seed].tenants
        if not self.tenants or tenants is None:
            return meets(records, self.slo)
        good = np.zeros(len(records), dtype=np.bool_)
        for number, (_, slo) in enumerate(self.tenants):
            good |= meets(records, slo) & (tenants == number)
        return good

    def attainment(self, case: Case, rate_rps: float) -> float:
        """Return the share of requests that meet their objectives at another rate."""
        trace = self.traces[case.seed].at_rate(rate_rps)
        return float(self.good(self._serve(case, trace).records, case.seed).mean())

    def run(self, case: Case) -> Run:
        """Return one run, for its rows."""
        trace = self.traces[case.seed]
        label = self.predictions.label
        if not case.policy.uses_predictions:
            label = "-"
        elif case.control:
            label = "shuffled"

        if self.batch is not None:
            time = batch_time(self.site.pools[0], trace, self.batch.max_batch)
            return Run(
                policy=case.policy.name,
                predictions=label,
                records=self._batches(case, self.batch),
                alone_s=time.of(1, trace.output_tokens),
                slo=self.slo,
            )

        outcome = self.outcome(case)
        return Run(
            policy=case.policy.name,
            predictions=label,
            records=outcome.records,
            alone_s=self._alone_s(trace),
            slo=self.slo,
            outcome=outcome,
            pool_names=tuple(pool.name for pool in self.site.pools),
        )

    def _batches(self, case: Case, batch: Consolidation) -> Records:
        """Return one run of static batches."""
        trace, view = self.traces[case.seed], self._view(case)
        time = batch_time(self.site.pools[0], trace, batch.max_batch)
        second = None
        if self.offload_share:
            slow = batch_time(self.site.pools[1], trace, 1)
            second = Second(self._offload(view, self.offload_share, slow.service(1)), slow)
        return serve_batches(trace, view, case.policy, batch, time=time, second=second)

    def _bound(self, view: View) -> Ints | None:
        """Return the pool of every request, where long answers are kept apart."""
        if self.offload_share is None:
            return None
        if self.offload_share == 0:
            return np.zeros(len(view), dtype=np.int64)
        return self._offload(view, self.offload_share, self.service).long(view)

    def _offload(self, view: View, share: float, service: ServiceTime) -> Offload:
        rule = Offload.at_share(view.at(self.offload_level), share, service)
        return replace(rule, level=self.offload_level)

    def _view(self, case: Case) -> View:
        """Return what the policy may know."""
        key = (case.seed, case.control)
        if key not in self._views:  # once: every policy gets the same
            trace = self.traces[case.seed]
            quantiles = self.predictions.quantiles(trace, case.seed)
            if case.control:
                quantiles = shuffled(quantiles, case.seed)
            slos = [slo for _, slo in self.tenants] or [self.slo]
            self._views[key] = view_of(trace, quantiles, self.service, slos)
        return self._views[key]

    def _alone_s(self, trace: Trace) -> Floats:
        """Return the e2e of every request on an empty site."""
        pools = self.site.pools
        decode_pool = pools[-1] if self.site.disaggregation else pools[0]
        prefill, decode = alone_ns(trace.prompt_tokens, trace.output_tokens, pools[0], decode_pool)
        overhead = pools[0].table.overhead_ns(trace.prompt_tokens)
        return np.asarray((overhead + prefill + decode) * 1e-9, dtype=np.float64)


def compare(
    experiment: Experiment,
    policies: Sequence[OrderPolicy],
    *,
    executor: str = "threads",
    workers: int = 1,
) -> tuple[PolicyRow, ...]:
    """Return a row per policy, and one for each that predicts with its predictions shuffled.

    Behind each are the rows of its tenants and pools. Figures are means over seeds; differences
    are relative to first come first served, paired by seed, with 95% intervals.
    """
    orders = with_controls(policies)
    seeds = range(len(experiment.traces))
    cases = [Case(policy, seed, control) for policy, control in orders for seed in seeds]
    runs = run_all(experiment.rows, cases, executor=executor, workers=workers)

    # By order and scope, over seeds.
    rows: list[PolicyRow] = []
    base = list(zip(*runs[: len(seeds)], strict=True))
    for number in range(len(orders)):
        own = zip(*runs[number * len(seeds) : (number + 1) * len(seeds)], strict=True)
        for by_seed, base_by_seed in zip(own, base, strict=True):
            row = mean_row(by_seed)
            rows.append(row if number == 0 else difference_row(row, by_seed, base_by_seed))
    return tuple(rows)


def with_controls(policies: Sequence[OrderPolicy]) -> list[tuple[OrderPolicy, bool]]:
    """Return first come first served, then all orders, and a control of each that predicts."""
    orders: list[tuple[OrderPolicy, bool]] = [(Fcfs(), False)]
    for policy in policies:
        if policy.name != "fcfs":
            orders += [(policy, False)]
            orders += [(policy, True)] if policy.uses_predictions else []
    return orders


Task = TypeVar("Task")
Result = TypeVar("Result")
EXECUTORS = ("threads", "ray")


def run_all(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    executor: str = "threads",
    workers: int = 1,
) -> list[Result]:
    """Return ``function`` of every task, in order, whoever runs them.

    The compiled loop holds no lock of the interpreter, so threads are enough on one machine.
    """
    if executor not in EXECUTORS:
        raise UnknownNameError("executor", executor, EXECUTORS)
    if executor == "ray":
        return _on_ray(function, tasks, workers)
    if workers <= 1:
        return [function(task) for task in tasks]

    first = [function(tasks[0])] if tasks else []  # compiles, once
    with ThreadPoolExecutor(workers) as pool:
        return first + list(pool.map(function, tasks[1:]))


def _on_ray(
    function: Callable[[Task], Result], tasks: Sequence[Task], workers: int
) -> list[Result]:
    """Run a few tasks per message; what the function carries is sent once."""
    need("ray", "running on Ray", "ray")
    ray: Any = import_module("ray")
    if not ray.is_initialized():
        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)

    def run_part(carried: Callable[[Task], Result], part: list[Task]) -> list[Result]:
        return [carried(task) for task in part]

    remote, carried = ray.remote(run_part), ray.put(function)
    size = max(1, len(tasks) // (4 * workers))
    parts = [list(tasks[k : k + size]) for k in range(0, len(tasks), size)]
    results = ray.get([remote.remote(carried, part) for part in parts])
    return [result for part in results for result in part]
