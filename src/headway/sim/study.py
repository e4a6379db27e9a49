"""A scenario as an experiment: traces drawn, step times tabulated, orders set for the place."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from headway.errors import InputError
from headway.schedule.expectation import expected_service
from headway.schedule.fair import FairShares
from headway.schedule.order import Fcfs, OrderPolicy
from headway.schedule.policies import HEADWAY, find_policy
from headway.schedule.route import WORK_LEFT_NAME, work_left
from headway.schedule.view import ServiceTime
from headway.sim.experiment import Case, Experiment
from headway.sim.outcome import simulate_trace
from headway.sim.policy_row import expected
from headway.sim.scenario import OffloadRule, Scenario
from headway.sim.site import Site, share_of_work
from headway.sim.static_batch import batch_time
from headway.sim.tune import tune
from headway.units import check_positive
from headway.workload.oracle import Trace
from headway.workload.request import Slo

OFFLOAD_SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)  # of requests, to choose from


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """A scenario that is ready to run.

    Attributes:
        scenario: what was asked.
        experiment: traces, site and what is known of requests.
        policies: orders of service.
        remarks: in words, what was chosen by simulation on training traces.

    """

    scenario: Scenario
    experiment: Experiment
    policies: tuple[OrderPolicy, ...]
    remarks: tuple[str, ...] = ()

    @property
    def trace(self) -> Trace:
        """The requests of the first seed."""
        return self.experiment.traces[0]


def prepare_study(scenario: Scenario, laws: bool = False) -> Study:
    """Return the experiment of ``scenario``, its open choices made on training traces.

    Args:
        scenario: what is simulated.
        laws: whether every run is checked against the laws.

    Raises:
        InputError: parts that do not go together.

    """
    workload = scenario.workload
    site = Site(
        pools=tuple(pool.pool(scenario.features) for pool in scenario.pools),
        placement=scenario.placement,
        disaggregation=scenario.disaggregation,
        outages=scenario.outages,
    )

    # Traces at the rate that was asked for.
    rate_rps = scenario.rate_rps
    if scenario.load is not None:
        rate_rps = scenario.load * _saturation_rps(scenario, workload.draw(0), site)
    if scenario.autoscaler is not None:
        alone = expected_service(scenario.pools[0].deployment)
        site = replace(site, autoscaler=replace(scenario.autoscaler, service=alone))
    traces = tuple(workload.draw(seed, rate_rps) for seed in range(scenario.seeds))
    service = _service(scenario, site, traces[0])
    if site.placement.name == WORK_LEFT_NAME:
        site = replace(site, placement=work_left(service))
    experiment = Experiment(
        traces=traces,
        site=site,
        service=service,
        predictions=scenario.predictions,
        slo=scenario.slo,
        lawful=laws and scenario.batch is None,
        tenants=_tenant_slos(scenario, traces[0]),
        batch=scenario.batch,
    )

    # What is left open is chosen on traces of its own.
    training = workload.training(rate_rps)
    remarks: list[str] = []
    if scenario.offload is not None:
        share, remark = _offload_share(scenario.offload, experiment, training)
        experiment = replace(experiment, offload_share=share, offload_level=scenario.offload.level)
        remarks.append(remark)
    policies = _policies(scenario, experiment)
    if HEADWAY in scenario.policies and scenario.batch is None:
        goal = scenario.goal or ("attainment" if experiment.has_objectives else "mean")
        tuned = tune(replace(experiment, traces=training, lawful=False), goal)
        policies[scenario.policies.index(HEADWAY)] = tuned.policy
        source = workload.training_source
        remarks.append(f"headway is {tuned.setting}; chosen for {goal} by simulation on {source}")
        remarks.append(f"there, against fcfs: {tuned.gain}")
    return Study(scenario, experiment, tuple(policies), tuple(remarks))


def saturation_rps(trace: Trace, site: Site) -> float:
    """Return requests per second when all of ``trace`` are there at once: the middle of that run.

    Raises:
        InputError: there are too few requests to tell.

    """
    at_once = Trace(
        arrival_s=np.zeros(len(trace)),
        prompt_tokens=trace.prompt_tokens,
        output_tokens=trace.output_tokens,
        name=trace.name,
        prefixes=trace.prefixes,
    )
    ends_s = np.sort(simulate_trace(at_once, site).requests["last_ns"]) * 1e-9
    ends_s = ends_s[ends_s > 0]
    low, high = len(ends_s) // 5, 4 * len(ends_s) // 5
    if high <= low or ends_s[high] <= ends_s[low]:
        raise InputError("too few requests to measure saturation; give a rate instead of a load")
    return check_positive(float((high - low) / (ends_s[high] - ends_s[low])), "saturation")


def _saturation_rps(scenario: Scenario, trace: Trace, site: Site) -> float:
    """Return the rate at load 1; a second pool that only takes what is offloaded counts not."""
    if scenario.batch is None:
        first = site if scenario.offload is None else replace(site, pools=site.pools[:1])
        return saturation_rps(trace, replace(first, outages=()))

    size = scenario.batch.max_batch
    if len(trace) < size:
        raise InputError(f"a load in batches of {size} needs at least as many requests")
    whole = trace.output_tokens[: len(trace) // size * size].reshape(-1, size)
    longest = round(float(np.mean(whole.max(axis=1))))
    return size / float(batch_time(site.pools[0], trace, size).of(size, longest))


def _service(scenario: Scenario, site: Site, trace: Trace) -> ServiceTime:
    """Return what orders take a request to cost, from the step times of the pools it passes."""
    if scenario.batch is not None:
        size = scenario.batch.max_batch
        return batch_time(site.pools[0], trace, size).service(size)
    first = share_of_work(site.pools[0], trace)
    if scenario.disaggregation is None:
        return first
    second = share_of_work(site.pools[1], trace)
    return ServiceTime(0.0, first.prompt_token_s, second.output_token_s)


def _tenant_slos(scenario: Scenario, trace: Trace) -> tuple[tuple[str, Slo], ...]:
    """Return objectives by tenant number; those of everybody where a tenant has none of its own."""
    if not scenario.tenants:
        return ()
    tenants = dict(scenario.tenants)
    strangers = sorted(set(tenants) - set(trace.tenant_names))
    if strangers:
        raise InputError(
            f"trace {trace.name} has no tenant {strangers[0]!r}; it has "
            + (", ".join(trace.tenant_names) or "no tenant column")
        )
    return tuple(
        (name, tenants[name].slo(scenario.slo) if name in tenants else scenario.slo)
        for name in trace.tenant_names
    )


def _offload_share(
    rule: OffloadRule, experiment: Experiment, training: tuple[Trace, ...]
) -> tuple[float, str]:
    """Return the share of the rule, or the one with the least mean e2e on ``training``."""
    if rule.share is not None:
        return rule.share, f"offload: {rule.share:.0%} of the requests, as asked"
    on_training = replace(experiment, traces=training, offload_level=rule.level)

    def mean_e2e_s(share: float) -> float:
        with_share = replace(on_training, offload_share=share)
        rows = [with_share.rows(Case(Fcfs(), k))[0] for k in range(len(training))]
        return float(np.mean([expected(row.e2e_mean_s) or np.inf for row in rows]))

    best = min(OFFLOAD_SHARES, key=mean_e2e_s)
    return best, f"offload: {best:.0%} of the requests, the least mean e2e on training traces"


def _policies(scenario: Scenario, experiment: Experiment) -> list[OrderPolicy]:
    """Return the orders, those by name with the time constants of this place."""
    first = experiment.rows(Case(Fcfs(), 0))[0]
    trace = experiment.traces[0]
    work_s = experiment.service.of(trace.prompt_tokens, trace.output_tokens)
    usual_wait_s, usual_work_s = expected(first.ttft_mean_s) or 1.0, float(work_s.mean())
    policies = [
        find_policy(policy, usual_wait_s, usual_work_s) if isinstance(policy, str) else policy
        for policy in scenario.policies
    ]

    # Fair shares go by the weights of the tenants.
    tenants = dict(scenario.tenants)
    weights = tuple(
        (number, tenants[name].weight)
        for number, (name, _) in enumerate(experiment.tenants)
        if name in tenants
    )
    return [FairShares(weights) if p.name == "fair" and weights else p for p in policies]
