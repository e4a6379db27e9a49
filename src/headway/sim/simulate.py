"""What orders of service are worth, as a report: the simulator's public face."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from headway.errors import InputError
from headway.predict import LengthPredictor
from headway.report.column import Value
from headway.report.report import Report
from headway.schedule.autoscale import Autoscaler, parse_autoscaler
from headway.schedule.order import OrderPolicy
from headway.schedule.route import Placement
from headway.sim.capacity import capacity_rps
from headway.sim.cost import PoolCost, with_cost
from headway.sim.experiment import Case, compare, run_all, with_controls
from headway.sim.policy_row import PolicyRow, charts, expected
from headway.sim.predictions import FromPrompts, Predictions, parse_predictions
from headway.sim.scenario import VLLM, EngineFeatures, PoolSpec, Scenario
from headway.sim.scenario_file import read_scenario
from headway.sim.site import Disaggregation, find_placement
from headway.sim.source import Workload
from headway.sim.study import Study, prepare_study
from headway.steptime.deployment import Deployment
from headway.steptime.deployment_name import deployment_name, parse_deployment
from headway.workload.objective import parse_slo
from headway.workload.oracle import Trace
from headway.workload.request import Slo

On = str | Deployment | PoolSpec


def simulate(
    workload: str | Path | Trace | Scenario,
    *,
    on: On | Sequence[On] = (),
    replicas: int = 1,
    policies: Sequence[str | OrderPolicy] = ("fcfs",),
    predictor: str | LengthPredictor = "tau=0.4",
    seeds: int = 5,
    rate: float | None = None,
    load: float | None = None,
    num_requests: int | None = None,
    slo: str | Slo | None = None,
    goal: str | None = None,
    route: str | Placement = "least-loaded",
    disaggregation: Disaggregation | None = None,
    autoscale: str | Autoscaler | None = None,
    features: EngineFeatures = VLLM,
    laws: bool = False,
    executor: str = "threads",
    workers: int = 1,
) -> Report[PolicyRow]:
    """Serve a workload by several orders and compare them with first come first served.

    Every order that predicts is there twice: with its predictions, and with the same predictions
    dealt out at random. What the second gains does not come from predicting.

    Args:
        workload: a profile's name, a trace, the path of one or of a gateway's record; or a
            `Scenario`, or the path of one (TOML), which says everything that decides the figures.
        on: what serves: deployments, or their names ``MODEL@HARDWARE:LAYOUT``; several are pools
            that share the requests.
        replicas: engines of every deployment.
        policies: orders of service, by name or as objects.
        predictor: where orders have the lengths of answers from: ``tau=SKILL``, oracle, default,
            a trained predictor or its folder.
        seeds: runs of everything.
        rate: requests per second, instead of the original's.
        load: the rate as a fraction of saturation, instead of ``rate``.
        num_requests: of a profile or a trace.
        slo: objectives, such as ``ttft < 500ms, tpot < 50ms``; orders see them, and rows show who
            met them.
        goal: what the order ``headway`` is chosen for among all, `headway.sim.tune`.
        route: how a replica is chosen.
        disaggregation: prefill on the first deployment and decode on the second.
        autoscale: how many replicas are on, instead of ``replicas``: a signal with the target of
            one replica, bounds, and times, such as ``work 60s, 1..8, delay 90s, wait 5m``.
        features: of the engines.
        laws: whether every run is checked against the laws of `headway.sim.laws`.
        executor: who runs the runs, threads or ray.
        workers: how many of them.

    Returns:
        A row per order, and behind it those of its tenants and pools where there are several.

    Raises:
        InputError: a name that is not known, or arguments that do not go together.

    """
    if isinstance(workload, str | Path) and Path(workload).suffix == ".toml":
        workload = read_scenario(Path(workload))
    if isinstance(workload, Scenario):
        if not (isinstance(on, Sequence) and not on):
            raise InputError("a scenario says itself what serves: leave out the deployments")
        return simulate_scenario(workload, laws=laws, executor=executor, workers=workers)

    several = [on] if isinstance(on, str | Deployment | PoolSpec) else on
    scenario = Scenario(
        workload=Workload.of(workload, num_requests),
        pools=tuple(_pool_spec(item, replicas) for item in several),
        rate_rps=rate,
        load=load,
        seeds=seeds,
        policies=tuple(policies),
        predictions=(
            parse_predictions(predictor) if isinstance(predictor, str) else FromPrompts(predictor)
        ),
        slo=parse_slo(slo) if isinstance(slo, str) else slo or Slo(),
        goal=goal,
        placement=find_placement(route) if isinstance(route, str) else route,
        features=features,
        disaggregation=disaggregation,
        autoscaler=parse_autoscaler(autoscale) if isinstance(autoscale, str) else autoscale,
    )
    return simulate_scenario(scenario, laws=laws, executor=executor, workers=workers)


def _pool_spec(on: On, replicas: int) -> PoolSpec:
    if isinstance(on, PoolSpec):
        return on
    deployment = parse_deployment(on) if isinstance(on, str) else on
    return PoolSpec(deployment=deployment, replicas=replicas)


def simulate_scenario(
    scenario: Scenario, *, laws: bool = False, executor: str = "threads", workers: int = 1
) -> Report[PolicyRow]:
    """Run ``scenario`` and return the report of `simulate`."""
    study = prepare_study(scenario, laws)
    rows = compare(study.experiment, study.policies, executor=executor, workers=workers)
    _check_any_done(rows)
    if study.experiment.has_objectives and scenario.batch is None and study.trace.rate_rps > 0:
        rows = _with_capacity(rows, study, executor, workers)

    rows = _priced(rows, study)
    first_rows = [number for number, row in enumerate(rows) if row.scope is None]
    lowest = min(first_rows, key=lambda number: expected(rows[number].e2e_mean_s) or math.inf)
    return Report(
        kind="simulate",
        title=_title(study),
        question=question_of(study),
        rows=rows,
        marks={"lowest mean": lowest},
        notes=(*_notes(study), *own_notes(scenario), *_prices(scenario), *_unfinished(rows)),
        sources={"workload": scenario.workload.citation},
        charts=charts(study.experiment.has_objectives),
    )


def _with_capacity(
    rows: Sequence[PolicyRow], study: Study, executor: str, workers: int
) -> tuple[PolicyRow, ...]:
    """Return the rows, those of all requests with the rate that their order can take."""
    cases = [Case(policy, 0, control) for policy, control in with_controls(study.policies)]
    rates = iter(
        run_all(partial(capacity_rps, study.experiment), cases, executor=executor, workers=workers)
    )
    return tuple(
        replace(row, capacity_rps=next(rates)) if row.scope is None else row for row in rows
    )


def _priced(rows: Sequence[PolicyRow], study: Study) -> tuple[PolicyRow, ...]:
    """Return the rows with dollars and joules; those of pools only where there are several."""
    trace, pools = study.trace, study.scenario.pools
    context = float(trace.prompt_tokens.mean() + trace.output_tokens.mean() / 2)
    costs = [PoolCost(pool.deployment, pool.replicas, context) for pool in pools]

    priced: list[PolicyRow] = []
    starts = [number for number, row in enumerate(rows) if row.scope is None]
    for start, stop in zip(starts, [*starts[1:], len(rows)], strict=True):
        own = rows[start:stop]
        pool_rows = [row for row in own if row.busy_s is not None and row.scope is not None]
        priced.append(with_cost(own[0], pool_rows, costs))
        priced += [row for row in own[1:] if row not in pool_rows or len(costs) > 1]
    return tuple(priced)


def _title(study: Study) -> str:
    scenario = study.scenario
    between = " + " if scenario.disaggregation is None else " -> "
    counts = [str(pool.replicas) for pool in scenario.pools]
    if scenario.autoscaler is not None:
        counts = [f"{scenario.autoscaler.min_replicas} to {counts[0]}"]
    pools = between.join(
        f"{count} x {pool.deployment.model.name} @ {pool.deployment.cluster.name}"
        for count, pool in zip(counts, scenario.pools, strict=True)
    )
    workload = scenario.workload
    return (
        f"{workload.name}: {workload.num_requests} requests at {study.trace.rate_rps:.2f}/s on "
        f"{pools}, {scenario.seeds} seeds"
    )


def question_of(study: Study) -> dict[str, Value]:
    """Return everything that was asked, so that it can be asked again."""
    scenario = study.scenario
    deployments = [pool.deployment for pool in scenario.pools]
    question: dict[str, Value] = {
        "workload": scenario.workload.name,
        "on": ",".join(map(deployment_name, deployments)),
        "precision": ",".join(str(deployment.precision) for deployment in deployments),
        "engine": ",".join(deployment.engine or "-" for deployment in deployments),
        "rate_rps": study.trace.rate_rps,
        "policies": ",".join(p if isinstance(p, str) else p.name for p in scenario.policies),
        "predictor": scenario.predictions.label,
        "seeds": scenario.seeds,
        "num_requests": scenario.workload.num_requests,
        "replicas": ",".join(str(pool.replicas) for pool in scenario.pools),
        "route": scenario.placement.name,
        "goal": scenario.goal,
        "autoscale": None if scenario.autoscaler is None else str(scenario.autoscaler),
        **asdict(scenario.slo),
        **asdict(study.experiment.site.pools[0].engine),
    }

    # The parts that only a scenario has.
    for name in ("disaggregation", "offload", "batch"):
        part = getattr(scenario, name)
        for key, value in asdict(part).items() if part is not None else ():
            question[f"{name}_{key}"] = None if value == math.inf else value
    for number, outage in enumerate(scenario.outages):
        question |= {f"outage{number}_{key}": value for key, value in asdict(outage).items()}
    for name, tenant in scenario.tenants:
        question |= {f"tenant_{name}_{key}": value for key, value in asdict(tenant).items()}
    return question


def _notes(study: Study) -> tuple[str, ...]:
    experiment = study.experiment
    service = experiment.service
    notes = [
        "differences are paired by seed; the interval is 95%, Student's t over seeds",
        f"work of a request: {service.prompt_token_s * 1e6:.1f} us per prompt token, "
        f"{service.output_token_s * 1e6:.1f} us per output token",
        _prediction_note(experiment.predictions),
        "$ and J count the whole run, idle time included; J by the fitted power of the mean step",
    ]
    if experiment.site.autoscaler is not None:
        notes.append(f"replicas come and go: {experiment.site.autoscaler}; all cost is of those on")
    if experiment.lawful:
        notes.append("every run was checked: conservation, causality, memory, work, Little, tokens")
    if experiment.batch is not None:
        notes.append("a static batch answers as a whole: its first token comes with its last")
    return (*notes, *study.remarks)


def own_notes(scenario: Scenario) -> Iterator[str]:
    """Say of every pool what the user's own points tell of it, where there are any."""
    for pool in scenario.pools:
        words = pool.deployment.own_words
        if words is not None:
            yield f"{deployment_name(pool.deployment)}: {words}"


def _prices(scenario: Scenario) -> Iterator[str]:
    """Say what the accelerators of every pool cost, and by whose quote."""
    clusters = {pool.deployment.cluster.name: pool.deployment.cluster for pool in scenario.pools}
    for name, cluster in clusters.items():
        if cluster.price is not None:
            yield f"{name}: {cluster.price}"


def _prediction_note(predictions: Predictions) -> str:
    if isinstance(predictions, FromPrompts):
        return "predictions are the predictor's on arrival; it does not learn during the run"
    return "predictions are made from the truth with the stated skill, then calibrated"


def _check_any_done(rows: Sequence[PolicyRow]) -> None:
    if all(row.unfinished >= row.requests for row in rows if row.scope is None):
        raise InputError(
            "no request fits: each needs more KV blocks or tokens than there are; give more KV "
            "blocks, or a deployment with more memory"
        )


def _unfinished(rows: Sequence[PolicyRow]) -> list[str]:
    """Return what the figures do not speak of: requests that never ended."""
    unfinished = max(row.unfinished for row in rows if row.scope is None)
    if not unfinished:
        return []
    return [
        f"up to {unfinished:,.0f} of {rows[0].requests:,.0f} requests never ended, for want of KV "
        "blocks or engines that are up; the figures are of the others"
    ]
