"""A scenario becomes objects: deployments, cluster, traces, experiment, orders of service."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from headway.cli.simulate_options import (
    Workload,
    engine_of,
    parse_predictor,
    pool_of,
    saturation_rps,
)
from headway.errors import InputError, UnknownNameError
from headway.schedule.fair import FairShares
from headway.schedule.order import Fcfs, OrderPolicy
from headway.schedule.policies import find_policy
from headway.schedule.route import (
    LEAST_LOADED,
    PREDICTED_WORK,
    PREFIX_AFFINE,
    Placement,
    RoundRobin,
)
from headway.schedule.view import ServiceTime
from headway.sim.alone import share_of_work
from headway.sim.experiment import Case, Experiment
from headway.sim.scenario import OffloadScenario, PoolScenario, Scenario
from headway.sim.site import Pool, Site
from headway.sim.static_batch import batch_time
from headway.sim.tune import tune
from headway.steptime.deployment import Deployment
from headway.steptime.deployment_name import parse_deployment
from headway.workload.objective import parse_slo
from headway.workload.oracle import Trace
from headway.workload.request import Slo

ROUTES: dict[str, Placement] = {
    route.name: route for route in (RoundRobin(), LEAST_LOADED, PREDICTED_WORK, PREFIX_AFFINE)
}
SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)  # of requests to offload, to choose from


@dataclass(frozen=True, slots=True, eq=False)
class Built:
    """A scenario as objects.

    Attributes:
        scenario: as it was said.
        workload: where requests come from.
        rate_rps: asked for, or that of the load; ``None`` for the original's.
        deployments: one per pool.
        experiment: traces, cluster and what is known of requests.
        policies: orders of service.
        found: in words, what was found by simulation on training traces.

    """

    scenario: Scenario
    workload: Workload
    rate_rps: float | None
    deployments: tuple[Deployment, ...]
    experiment: Experiment
    policies: tuple[OrderPolicy, ...]
    found: tuple[str, ...]


def build(scenario: Scenario, lawful: bool = False) -> Built:
    """Look everything up, and find by simulation what is to be found on training traces.

    Raises:
        InputError: a name that is not known, or parts that do not go together.

    """
    deployments = tuple(_deployment(pool) for pool in scenario.pools)
    cluster = _cluster(scenario, deployments)
    workload = _workload(scenario)
    rate = scenario.rate_rps
    if scenario.load is not None:
        rate = scenario.load * _saturation_rps(scenario, workload.draw(0, None), cluster)
    traces = tuple(workload.draw(seed, rate) for seed in range(scenario.seeds))
    skill, trained = parse_predictor(scenario.predictor)
    experiment = Experiment(
        traces,
        cluster,
        _service(scenario, cluster, traces[0]),
        skill,
        parse_slo(scenario.slo),
        lawful and scenario.batch is None,
        trained,
        _tenants(scenario, traces[0]),
        batch=scenario.batch,
    )
    found: list[str] = []
    if scenario.offload is not None:
        share, said = _offload_share(scenario.offload, experiment, workload.training(rate))
        experiment = replace(experiment, offload_share=share, offload_level=scenario.offload.level)
        found.append(f"offload: {said}")
    policies, tuned = _policies(scenario, experiment, workload, rate)
    return Built(scenario, workload, rate, deployments, experiment, policies, (*found, *tuned))


def _deployment(pool: PoolScenario) -> Deployment:
    built = parse_deployment(pool.deployment, pool.precision)
    if pool.usd_per_accelerator_hour is None:
        return built
    return replace(built, cluster=built.cluster.at_price(pool.usd_per_accelerator_hour))


def _cluster(scenario: Scenario, deployments: tuple[Deployment, ...]) -> Site:
    if scenario.route not in ROUTES:
        raise UnknownNameError("route", scenario.route, ROUTES)
    return Site(
        tuple(_pool(scenario, *pair) for pair in zip(scenario.pools, deployments, strict=True)),
        ROUTES[scenario.route],
        scenario.disaggregation,
        scenario.outages,
    )


def _pool(scenario: Scenario, pool: PoolScenario, deployment: Deployment) -> Pool:
    shared, groups = scenario.engine, int(deployment.parallelism.dp)
    engine = engine_of(
        deployment,
        max_num_seqs=pool.max_num_seqs * groups,
        max_num_batched_tokens=pool.max_num_batched_tokens * groups,
        num_kv_blocks=pool.num_kv_blocks,
        kv_block_tokens=shared.kv_block_tokens,
        chunked_prefill=shared.chunked_prefill,
        reserve_full_prompt=shared.reserve_full_prompt,
        asynchronous=shared.asynchronous,
        prefix_cache=shared.prefix_cache,
    )
    batch = scenario.batch
    if batch is not None and batch.max_batch > engine.max_num_seqs:
        raise InputError(
            f"a static batch of {batch.max_batch} needs a pool with max_num_seqs of as many"
        )
    return pool_of(deployment, engine, pool.replicas, pool.times)


def _workload(scenario: Scenario) -> Workload:
    workload = Workload.of(scenario.workload, scenario.requests)
    shares = tuple((n, t.share) for n, t in scenario.tenants if t.share is not None)
    if workload.trace is None and scenario.tenants and not shares:
        raise InputError(
            f"profile {workload.name} does not say who asks: give every tenant a share"
        )
    if workload.trace is not None and shares:
        raise InputError(f"trace {workload.name} says itself who asks: leave out the shares")
    return replace(workload, shares=shares)


def _tenants(scenario: Scenario, trace: Trace) -> tuple[tuple[str, Slo], ...]:
    """Objectives by tenant number; those of everybody where a tenant has none of its own."""
    if not scenario.tenants:
        return ()
    said = dict(scenario.tenants)
    strangers = sorted(set(said) - set(trace.tenant_names))
    if strangers:
        raise InputError(
            f"trace {trace.name} has no tenant {strangers[0]!r}; it has "
            + (", ".join(trace.tenant_names) or "no tenant column")
        )
    common = parse_slo(scenario.slo)
    return tuple(
        (
            name,
            Slo(
                said[name].ttft_s or common.ttft_s,
                said[name].tpot_s or common.tpot_s,
                said[name].e2e_s or common.e2e_s,
            )
            if name in said
            else common,
        )
        for name in trace.tenant_names
    )


def _service(scenario: Scenario, cluster: Site, trace: Trace) -> ServiceTime:
    """What orders take a request to cost, from the step times of the pools it passes."""
    if scenario.batch is not None:
        fast = batch_time(cluster.pools[0], trace, scenario.batch.max_batch)
        return ServiceTime(fast.fixed_s, 0.0, fast.token_s)
    first = share_of_work(cluster.pools[0], trace)
    if scenario.disaggregation is None:
        return first
    second = share_of_work(cluster.pools[1], trace)
    return ServiceTime(0.0, first.prompt_token_s, second.output_token_s)


def _saturation_rps(scenario: Scenario, trace: Trace, cluster: Site) -> float:
    if scenario.batch is None:
        fast = cluster if scenario.offload is None else replace(cluster, pools=cluster.pools[:1])
        return saturation_rps(trace, replace(fast, outages=()))
    size = scenario.batch.max_batch
    if len(trace) < size:
        raise InputError(f"a load in batches of {size} needs at least as many requests")
    whole = trace.output_tokens[: len(trace) // size * size].reshape(-1, size)
    longest = round(float(np.mean(whole.max(axis=1))))
    return size / batch_time(cluster.pools[0], trace, size).of(longest)


def _offload_share(
    rule: OffloadScenario, experiment: Experiment, training: tuple[Trace, ...]
) -> tuple[float, str]:
    """The share that was said, or the one with the least mean e2e on ``training``."""
    if rule.share is not None:
        return rule.share, f"{rule.share:.0%} of the requests, as was said"
    tried = replace(experiment, traces=training, offload_level=rule.level)

    def mean_s(share: float) -> float:
        with_share = replace(tried, offload_share=share)
        runs = [with_share.run(Case(Fcfs(), k))["e2e_mean_s"] for k in range(len(training))]
        return float(np.mean([mean or np.inf for mean in runs]))

    best = min(SHARES, key=mean_s)
    return best, f"{best:.0%} of the requests, the least mean e2e on training traces"


def _policies(
    scenario: Scenario, experiment: Experiment, workload: Workload, rate: float | None
) -> tuple[tuple[OrderPolicy, ...], tuple[str, ...]]:
    base = experiment.run(Case(Fcfs(), 0))
    trace = experiment.traces[0]
    work_s = experiment.service.of(trace.prompt_tokens, trace.output_tokens)
    usual = float(base["ttft_mean_s"] or 1.0), float(work_s.mean())
    policies = [find_policy(name, *usual) for name in scenario.policies]
    names = dict(scenario.tenants)
    weights = tuple(
        (number, names[name].weight)
        for number, (name, _) in enumerate(experiment.tenants)
        if name in names
    )
    policies = [FairShares(weights) if p.name == "fair" and weights else p for p in policies]
    if "headway" not in scenario.policies or scenario.batch is not None:
        return tuple(policies), ()
    tuned = tune(replace(experiment, traces=workload.training(rate), lawful=False))
    policies[scenario.policies.index("headway")] = tuned.policy
    said = f"headway: {tuned.policy.setting}, found by simulation on {workload.trained_on}"
    return tuple(policies), (said,)
