"""`headway simulate`: what a policy is worth before it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from headway.cli.options import number_option, report_options
from headway.cli.show import deliver, deliver_facts, number
from headway.cli.simulate_build import ROUTES, Built, build
from headway.cli.simulate_cost import PricedPool, priced
from headway.cli.simulate_tables import columns
from headway.errors import InputError
from headway.report.report import Report, Row, Value
from headway.sim.breakdown import explain as break_down
from headway.sim.experiment import Case, compare
from headway.sim.scenario import EngineScenario, PoolScenario, Scenario, read_scenario
from headway.sim.site import Disaggregation
from headway.workload.profile import find_profile, profile_names
from headway.workload.request import Slo

# What a scenario file says itself; the other options say how to run it and what to show.
SAID_BY_A_SCENARIO = {
    "deployment", "precision", "times", "policy", "predictor", "seeds", "rate", "load", "requests",
    "slo", "replicas", "disaggregate", "route", "max_num_seqs", "max_num_batched_tokens",
    "kv_blocks", "prefix_cache", "async_scheduling",
}  # fmt: skip


@click.command(epilog=f"Profiles: {', '.join(profile_names())}.")
@click.argument("workload")
@click.option(
    "--deployment",
    multiple=True,
    metavar="MODEL@HARDWARE:LAYOUT",
    help="What serves; several are pools that share the requests.",
)
@click.option("--precision", metavar="W[/A[/KV]]", help="Default: as the model was published.")
@click.option(
    "--times",
    default="analytic",
    show_default=True,
    metavar="analytic|ENGINE|FOLDER",
    help="Step times: from the data sheet, of a calibrated engine, or measured operators.",
)
@click.option("--policy", default="fcfs", show_default=True, metavar="NAMES", help="Orders.")
@click.option(
    "--predictor",
    default="tau=0.4",
    show_default=True,
    metavar="FOLDER|tau=SKILL",
    help="A trained predictor (for traces with prompts), default, oracle, or one of a skill.",
)
@number_option("--seeds", "seeds", "Runs of everything.", whole=True, default="5")
@number_option("--rate", "rate in requests/s", "Instead of the original's.")
@number_option("--load", "load", "Rate as a fraction of saturation, instead of --rate.")
@number_option("--requests", "requests", "Of a profile or a trace.", whole=True)
@click.option("--slo", metavar="TEXT", help="Objectives: 'ttft < 500ms, tpot < 50ms'.")
@number_option("--replicas", "replicas", "Engines per deployment.", whole=True, default="1")
@click.option(
    "--disaggregate",
    is_flag=True,
    help="Prefill on the first deployment, decode on the second, 1 ms of transfer between.",
)
@click.option("--route", type=click.Choice(sorted(ROUTES)), default="least-loaded")
@number_option("--max-num-seqs", "max_num_seqs", "Running at once.", whole=True, default="256")
@number_option("--max-num-batched-tokens", "tokens", "Of one step.", whole=True, default="2048")
@number_option("--kv-blocks", "KV blocks", "Instead of what fits.", whole=True)
@click.option("--prefix-cache/--no-prefix-cache", default=True, show_default=True)
@click.option("--async-scheduling/--no-async-scheduling", default=True, show_default=True)
@number_option(
    "--explain", "request", "Say where the time of this request went.", whole=True, zero=True
)
@click.option("--laws", is_flag=True, help="Check every run against the laws.")
@number_option("--workers", "workers", "Threads, or processes of Ray.", whole=True, default="1")
@click.option("--engine", type=click.Choice(["threads", "ray"]), default="threads")
@report_options
@click.pass_context
def simulate(
    context: click.Context,
    /,
    workload: str,
    explain: int | None,
    laws: bool,
    workers: int,
    engine: str,
    json_path: str | None,
    html_path: Path | None,
    png_path: Path | None,
    **said: Any,
) -> None:
    """Serve WORKLOAD and compare orders of service.

    WORKLOAD is a profile's name, a trace file, a gateway's record, or a scenario in TOML, which
    also knows failures, offload, tenants, and static batches (docs/simulate.md). Every order that
    predicts is shown twice: with its predictions, and with the same predictions dealt out at
    random. What the second gains does not come from predicting.
    """
    if workload.endswith(".toml"):
        for name in sorted(SAID_BY_A_SCENARIO):
            if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
                flag = name.replace("_", "-")
                raise InputError(f"--{flag} is for the scenario file {workload} to say")
        scenario = read_scenario(Path(workload))
    else:
        scenario = _scenario(workload, **said)
    built = build(scenario, laws)
    files = json_path, html_path, png_path
    if explain is not None:
        _explain(built, explain, *files)
        return
    rows = compare(built.experiment, built.policies, workers, engine)
    shown = tuple(priced(row, _pools(built)) for row in rows)
    report = Report(
        "simulate",
        _title(built),
        _question(built),
        shown,
        {"lowest mean": min(range(len(rows)), key=lambda k: float(rows[k]["e2e_mean_s"] or 0))},
        (*_notes(built), *_left_out(rows)),
        {"workload": _source(built)},
    )
    names = [name for name, _ in built.experiment.tenants]
    deliver(report, columns(names, built.experiment.slo != Slo()), *files)


def _scenario(
    workload: str,
    deployment: tuple[str, ...],
    precision: str | None,
    times: str,
    policy: str,
    predictor: str,
    seeds: int,
    rate: float | None,
    load: float | None,
    requests: int | None,
    slo: str | None,
    replicas: int,
    disaggregate: bool,
    route: str,
    max_num_seqs: int,
    max_num_batched_tokens: int,
    kv_blocks: int | None,
    prefix_cache: bool,
    async_scheduling: bool,
) -> Scenario:
    """The options as a scenario."""
    if rate is not None and load is not None:
        raise InputError("give either --rate or --load, not both")
    if not deployment:
        raise InputError(
            "say what serves: --deployment MODEL@HARDWARE:LAYOUT, such as llama-3.1-8b@h100:tp1"
        )
    pools = tuple(
        PoolScenario(
            name, precision, replicas, times, max_num_seqs, max_num_batched_tokens, kv_blocks
        )
        for name in deployment
    )
    return Scenario(
        workload,
        pools,
        requests,
        rate,
        load,
        seeds,
        tuple(name.strip() for name in policy.split(",") if name.strip()),
        predictor,
        route,
        slo,
        EngineScenario(asynchronous=async_scheduling, prefix_cache=prefix_cache),
        Disaggregation() if disaggregate else None,
    )


def _pools(built: Built) -> list[PricedPool]:
    trace = built.experiment.traces[0]
    context = float(trace.prompt_tokens.mean() + trace.output_tokens.mean() / 2)
    pairs = zip(built.deployments, built.scenario.pools, strict=True)
    return [PricedPool(deployment, pool.replicas, context) for deployment, pool in pairs]


def _title(built: Built) -> str:
    pairs = zip(built.deployments, built.scenario.pools, strict=True)
    joined = " + " if built.scenario.disaggregation is None else " -> "
    pools = joined.join(f"{p.replicas} x {d.model.name} @ {d.cluster.name}" for d, p in pairs)
    return (
        f"{built.workload.name}: {built.workload.requests} requests at "
        f"{built.experiment.traces[0].rate_rps:.2f}/s on {pools}, {built.scenario.seeds} seeds"
    )


def _question(built: Built) -> dict[str, Value]:
    """Everything that was asked, so that it can be asked again."""
    scenario, pools = built.scenario, built.scenario.pools
    question: dict[str, Value] = {
        "workload": built.workload.name,
        "deployment": ",".join(pool.deployment for pool in pools),
        "precision": ",".join(str(d.precision) for d in built.deployments),
        "times": ",".join(pool.times for pool in pools),
        "rate_rps": built.experiment.traces[0].rate_rps,
        "policies": ",".join(scenario.policies),
        "predictor": scenario.predictor,
        "seeds": scenario.seeds,
        "requests": built.workload.requests,
        "replicas": ",".join(str(pool.replicas) for pool in pools),
        "route": scenario.route,
        "slo": scenario.slo,
        **asdict(built.experiment.cluster.pools[0].engine),
    }
    parts = ("disaggregation", "offload", "batch")
    given = [(part, getattr(scenario, part)) for part in parts]
    for part, value in given:
        if value is not None:
            finite = {k: None if v == float("inf") else v for k, v in asdict(value).items()}
            question |= {f"{part}_{key}": item for key, item in finite.items()}
    for number_, outage in enumerate(scenario.outages):
        question |= {f"outage{number_}_{key}": item for key, item in asdict(outage).items()}
    for name, tenant in scenario.tenants:
        question |= {f"tenant_{name}_{key}": item for key, item in asdict(tenant).items()}
    return question


def _notes(built: Built) -> tuple[str, ...]:
    experiment = built.experiment
    service = experiment.service
    notes = [
        "differences are paired by seed; the interval is 95%, Student's t over seeds",
        f"work of a request: {service.prompt_token_s * 1e6:.1f} us per prompt token, "
        f"{service.output_token_s * 1e6:.1f} us per output token",
        "predictions are made from the truth with the stated skill, then calibrated"
        if experiment.predictor is None
        else "predictions are the predictor's on arrival; it does not learn during the run",
        "$ and J count the whole run, idle time included; J by the fitted power of the mean step",
    ]
    if experiment.lawful:
        notes.append("every run was checked: conservation, causality, memory, work, Little, tokens")
    if experiment.batch is not None:
        notes.append("a static batch answers as a whole: its first token comes with its last")
    return (*notes, *built.found)


def _left_out(rows: Sequence[Row]) -> list[str]:
    """What the figures of a run do not speak of: requests that never ended."""
    asked, lost = (
        max(float(row[key] or 0) for row in rows) for key in ("requests", "requests_unfinished")
    )
    if not lost:
        return []
    if lost >= asked:
        raise InputError(
            "no request fits: each needs more KV blocks or tokens than there are; give "
            "--kv-blocks more, or a deployment with more memory"
        )
    return [
        f"up to {lost:,.0f} of {asked:,.0f} requests never ended, for want of KV blocks or engines "
        "that are up; the figures are of the others"
    ]


def _source(built: Built) -> str:
    name = built.scenario.workload
    return find_profile(name).source if name in profile_names() else name


def _explain(
    built: Built,
    request: int,
    json_path: str | None,
    html_path: Path | None,
    png_path: Path | None,
) -> None:
    experiment, policy = built.experiment, built.policies[-1]
    trace = experiment.traces[0]
    if experiment.batch is not None:
        raise InputError("--explain takes continuous batching apart, not static batches")
    if request >= len(trace):
        raise InputError(f"--explain names request {request} of {len(trace)}")
    broken = break_down(experiment.outcome(Case(policy, 0)), trace, experiment.cluster, request)
    if broken is None:
        raise InputError(f"request {request} was not served to its end: it cannot fit the memory")
    row: Row = asdict(broken)
    report = Report(
        "simulate-explain",
        f"request {request} under {policy.name}: {trace.prompt_tokens[request]} prompt and "
        f"{trace.output_tokens[request]} output tokens",
        _question(built),
        (row,),
    )
    whole = max(broken.e2e_s, 1e-12)
    facts = [
        (name.removesuffix("_s"), f"{number(value)} s", f"{value / whole:.0%}")
        for name, value in row.items()
        if name.endswith("_s") and isinstance(value, float)
    ]
    facts += [("preemptions", str(broken.preemptions), ""), ("replica", str(broken.replica), "")]
    deliver_facts(report, facts, json_path, html_path, png_path)
