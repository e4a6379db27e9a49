"""Policies against each other: the same traces, the same predictions, paired by seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from headway.predict.predictor import LengthPredictor
from headway.report.report import Value
from headway.schedule.consolidate import Consolidation
from headway.schedule.offload import Offload
from headway.schedule.order import Fcfs, OrderPolicy
from headway.schedule.route import LowestScore
from headway.schedule.view import ServiceTime, View
from headway.sim.alone import alone_ns
from headway.sim.figures import Figures, between_tokens, figures, use_of
from headway.sim.laws import check
from headway.sim.outcome import Outcome, simulate_trace
from headway.sim.predictions import predicted_by, quantiles, shuffled, view_of
from headway.sim.site import Site
from headway.sim.static_batch import batch_time, serve_batches
from headway.sim.sweep import run_all
from headway.sim.world import Floats, Ints
from headway.workload.aggregate import averaged, paired
from headway.workload.oracle import Trace
from headway.workload.record import Records
from headway.workload.request import Slo

NO_OBJECTIVES = Slo()
COMPARED = ("e2e_mean_s", "e2e_p99_s", "e2e_max_s", "ttft_mean_s", "ttft_p99_s", "slowdown_mean")


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
        cluster: what serves.
        service: what policies take a request to cost.
        tau: skill of the predictions; 1 is the truth.
        slo: objectives.
        lawful: whether every run is checked against the laws.
        predictor: makes the predictions from the prompts instead, if given.
        tenants: names and objectives by tenant number.
        offload_share: of the requests, those with the longest predicted answers go to the second
            pool and all others to the first; ``None`` lets any request go to any pool.
        offload_level: quantile of the prediction that counts for that.
        batch: static batches on the first pool instead of continuous batching.

    """

    traces: tuple[Trace, ...]
    cluster: Site
    service: ServiceTime
    tau: float = 0.4
    slo: Slo = NO_OBJECTIVES
    lawful: bool = False
    predictor: LengthPredictor | None = None
    tenants: tuple[tuple[str, Slo], ...] = ()
    offload_share: float | None = None
    offload_level: float = 0.9
    batch: Consolidation | None = None
    _known: dict[int, Floats] = field(default_factory=dict, init=False, repr=False)

    def run(self, case: Case) -> Figures:
        """The figures of one run."""
        trace = self.traces[case.seed]
        if self.batch is not None:
            fast = batch_time(self.cluster.pools[0], trace, self.batch.max_batch)
            alone_s = np.asarray(fast.fixed_s + fast.token_s * trace.output_tokens, np.float64)
            return figures(self._batches(case), alone_s, self.slo, trace, self.tenants)
        outcome = self.outcome(case)
        row = figures(outcome.records, self._alone_s(trace), self.slo, trace, self.tenants)
        return row | between_tokens(outcome.gaps, outcome.records) | use_of(outcome, self.cluster)

    def outcome(self, case: Case) -> Outcome:
        """One run of continuous batching in full."""
        trace = self.traces[case.seed]
        place = self.cluster.placement
        routed = isinstance(place, LowestScore) and place.per_token != 0  # by predicted work
        if isinstance(case.policy, Fcfs) and self.offload_share is None and not routed:
            outcome = simulate_trace(trace, self.cluster, case.policy)
        else:
            view = self._view(case)
            outcome = simulate_trace(trace, self.cluster, case.policy, view, self._bound(view))
        if self.lawful:
            check(outcome)
        return outcome

    def _view(self, case: Case) -> View:
        trace = self.traces[case.seed]
        return view_of(trace, self._predicted(case), self.service, self._deadlines(trace))

    def _bound(self, view: View) -> Ints | None:
        """The pool of every request, where long answers are kept apart."""
        if self.offload_share is None:
            return None
        if self.offload_share == 0:
            return np.zeros(len(view), dtype=np.int64)
        rule = Offload.at_share(view.at(self.offload_level), self.offload_share, self.service)
        return replace(rule, level=self.offload_level).long(view)

    def _batches(self, case: Case) -> Records:
        trace, view, batch = self.traces[case.seed], self._view(case), self.batch
        assert batch is not None  # `run` asked
        fast = batch_time(self.cluster.pools[0], trace, batch.max_batch)
        if not self.offload_share:
            return serve_batches(trace, view, case.policy, batch, fast)
        slow = batch_time(self.cluster.pools[1], trace, 1)
        costs = ServiceTime(slow.fixed_s, 0.0, slow.token_s)
        rule = Offload.at_share(view.at(self.offload_level), self.offload_share, costs)
        rule = replace(rule, level=self.offload_level)
        return serve_batches(trace, view, case.policy, batch, fast, rule, slow)

    def _alone_s(self, trace: Trace) -> Floats:
        pools = self.cluster.pools
        decode_pool = pools[-1] if self.cluster.disaggregation else pools[0]
        prefill, decode = alone_ns(trace.prompt_tokens, trace.output_tokens, pools[0], decode_pool)
        return np.asarray((prefill + decode) * 1e-9, dtype=np.float64)

    def _predicted(self, case: Case) -> Floats:
        rows = self._known.get(case.seed)
        if rows is None:  # made once: every policy is given the same
            trace = self.traces[case.seed]
            if self.predictor is not None:
                rows = predicted_by(self.predictor, trace)
            else:
                rows = quantiles(trace.output_tokens, self.tau, case.seed)
            self._known[case.seed] = rows
        return shuffled(rows, case.seed) if case.control else rows

    def _deadlines(self, trace: Trace) -> Floats | None:
        own = [slo.e2e_s for _, slo in self.tenants]
        if trace.tenants is None or not any(own):
            return None if self.slo.e2e_s is None else trace.arrival_s + self.slo.e2e_s
        limits = np.array([limit or np.inf for limit in own])
        return np.asarray(trace.arrival_s + limits[trace.tenants])


def compare(
    experiment: Experiment,
    policies: Sequence[OrderPolicy],
    workers: int = 1,
    engine: str = "threads",
) -> list[dict[str, Value]]:
    """One row per policy, and one for each that predicts with its predictions shuffled.

    Figures are means over seeds; differences are relative to first come first served, paired by
    seed, with 95% intervals.
    """
    seeds = range(len(experiment.traces))
    named: list[tuple[OrderPolicy, bool]] = [(Fcfs(), False)]
    for policy in policies:
        if policy.name != "fcfs":
            named += [(policy, False)]
            named += [(policy, True)] if policy.uses_predictions else []
    cases = [Case(policy, seed, control) for policy, control in named for seed in seeds]
    found = run_all(experiment.run, cases, workers, engine)
    rows: list[dict[str, Value]] = []
    base = found[: len(seeds)]
    for k, (policy, control) in enumerate(named):
        own = found[k * len(seeds) : (k + 1) * len(seeds)]
        made = f"tau {experiment.tau:g}" if experiment.predictor is None else "from the prompt"
        blind = not policy.uses_predictions
        shown = "-" if blind else "shuffled" if control else made
        row: dict[str, Value] = {"policy": policy.name, "predictions": shown}
        row |= averaged(own)
        for key in COMPARED:
            mine = [run[key] for run in own]
            theirs = [run[key] for run in base]
            if k == 0 or None in mine or None in theirs:
                continue
            difference = paired([m or 0.0 for m in mine], [t or 1.0 for t in theirs])
            row[f"{key}_vs_fcfs"] = difference.mean
            if len(own) > 1:
                row[f"{key}_vs_fcfs_lower"] = difference.lower
                row[f"{key}_vs_fcfs_upper"] = difference.upper
        rows.append(row)
    return rows
