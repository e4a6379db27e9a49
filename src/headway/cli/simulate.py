"""`headway simulate`: what a policy is worth before it runs."""

from __future__ import annotations

from pathlib import Path

import click

from headway.cli.files import AnswerFiles, answer_files
from headway.cli.options import (
    COUNT,
    COUNT_OR_ZERO,
    NUMBER,
    RATE,
    calibration_option,
    engine_option,
    precision_option,
    price_option,
    prices_option,
    refuse_given,
    slo_option,
)
from headway.cli.show import show
from headway.hardware.price import find_prices
from headway.schedule.autoscale import EXAMPLE, parse_autoscaler
from headway.sim.breakdown import explain_request
from headway.sim.experiment import EXECUTORS
from headway.sim.predictions import parse_predictions
from headway.sim.scenario import EngineFeatures, PoolSpec, Scenario
from headway.sim.scenario_file import read_scenario
from headway.sim.simulate import simulate_scenario
from headway.sim.site import PLACEMENTS, Disaggregation, find_placement
from headway.sim.source import Workload
from headway.sim.tune import GOALS
from headway.steptime.calibration import Calibration
from headway.steptime.deployment_name import parse_deployment, split_names
from headway.workload.objective import parse_slo
from headway.workload.profile import profile_names

# What a scenario file says itself; the other options say how to run it and what to show.
IN_A_SCENARIO = (
    "on", "precision", "engine", "operators", "calibration", "price", "policy", "predictor",
    "seeds", "rate", "load", "num_requests", "slo", "goal", "replicas", "disaggregate", "route",
    "max_num_seqs", "max_num_batched_tokens", "kv_blocks", "prefix_cache", "async_scheduling",
    "autoscale",
)  # fmt: skip


@click.command(epilog=f"Profiles: {', '.join(profile_names())}.")
@click.argument("workload")
@click.option(
    "--on",
    multiple=True,
    metavar="MODEL@HARDWARE:LAYOUT",
    help="What serves, such as llama-3.1-8b@8xh100:tp8; several are pools that share the requests.",
)
@precision_option
@engine_option()
@click.option(
    "--operators",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    metavar="FOLDER",
    help="Step times from measured operators, instead of an engine's or the data sheet's.",
)
@calibration_option
@price_option
@prices_option
@click.option("--replicas", type=COUNT, default="1", help="Of each deployment.")
@click.option("--policy", default="fcfs", metavar="NAMES", help="Orders.")
@click.option(
    "--predictor",
    default="tau=0.4",
    metavar="FOLDER|tau=SKILL",
    help="A trained predictor (for traces with prompts), default, oracle, or one of a skill.",
)
@click.option("--seeds", type=COUNT, default="5", help="Runs of everything.")
@click.option("--rate", type=RATE, help="Requests per second, instead of the original's.")
@click.option("--load", type=NUMBER, help="Rate as a fraction of saturation, instead of --rate.")
@click.option("--num-requests", type=COUNT, help="Of a profile or a trace.")
@slo_option
@click.option(
    "--goal",
    type=click.Choice(GOALS),
    help="What headway is chosen for; default: attainment with --slo, else the mean.",
)
@click.option(
    "--disaggregate",
    is_flag=True,
    help="Prefill on the first deployment, decode on the second, 1 ms of transfer between.",
)
@click.option(
    "--autoscale",
    metavar="RULE",
    help=f"Replicas that come and go, instead of --replicas: {EXAMPLE}; or requests, or waiting.",
)
@click.option(
    "--route",
    type=click.Choice(sorted(PLACEMENTS)),
    default="least-loaded",
    help="Which replica a request goes to.",
)
@click.option("--max-num-seqs", type=COUNT, help="Default: the engine's; 256 without one.")
@click.option("--max-num-batched-tokens", type=COUNT, help="Default: the engine's, or 2048.")
@click.option("--kv-blocks", type=COUNT, help="Instead of what fits.")
@click.option(
    "--prefix-cache/--no-prefix-cache",
    default=True,
    help="Whether prompts that begin alike are computed once.",
)
@click.option(
    "--async-scheduling/--no-async-scheduling",
    default=True,
    help="Whether a step is scheduled while the one before it runs.",
)
@click.option("--explain", type=COUNT_OR_ZERO, help="Say where the time of this request went.")
@click.option("--laws", is_flag=True, help="Check every run against the laws.")
@click.option(
    "--executor", type=click.Choice(EXECUTORS), default="threads", help="Who runs the sweep."
)
@click.option("--workers", type=COUNT, default="1", help="Of the executor.")
@answer_files
def simulate(
    workload: str,
    on: tuple[str, ...],
    precision: str | None,
    engine: str | None,
    operators: Path | None,
    calibration: Calibration | None,
    price: float | None,
    prices: str | None,
    replicas: int,
    policy: str,
    predictor: str,
    seeds: int,
    rate: float | None,
    load: float | None,
    num_requests: int | None,
    slo: str | None,
    goal: str | None,
    disaggregate: bool,
    autoscale: str | None,
    route: str,
    max_num_seqs: int | None,
    max_num_batched_tokens: int | None,
    kv_blocks: int | None,
    prefix_cache: bool,
    async_scheduling: bool,
    explain: int | None,
    laws: bool,
    executor: str,
    workers: int,
    files: AnswerFiles,
) -> None:
    """Serve WORKLOAD and compare orders of service.

    WORKLOAD is a profile's name, a trace file, a gateway's record, or a scenario in TOML, which
    also knows failures, offload, tenants, and static batches (docs/simulate.md). Every order that
    predicts is shown twice: with its predictions, and with the same predictions dealt out at
    random. What the second gains does not come from predicting.
    """
    if workload.endswith(".toml"):
        refuse_given(f"is for the scenario file {workload} to say", *IN_A_SCENARIO)
        scenario = read_scenario(Path(workload))
    else:
        pools = tuple(
            PoolSpec(
                deployment=parse_deployment(
                    name,
                    precision,
                    engine,
                    calibration=calibration,
                    operators=operators,
                    usd_per_accelerator_hour=price,
                    prices=find_prices(prices),
                ),
                replicas=replicas,
                max_num_seqs=max_num_seqs,
                max_num_batched_tokens=max_num_batched_tokens,
                num_kv_blocks=kv_blocks,
            )
            for names in on
            for name in split_names(names)
        )
        scenario = Scenario(
            workload=Workload.of(workload, num_requests),
            pools=pools,
            rate_rps=rate,
            load=load,
            seeds=seeds,
            policies=tuple(name.strip() for name in policy.split(",") if name.strip()),
            predictions=parse_predictions(predictor),
            placement=find_placement(route),
            slo=parse_slo(slo),
            goal=goal,
            features=EngineFeatures(asynchronous=async_scheduling, prefix_cache=prefix_cache),
            disaggregation=Disaggregation() if disaggregate else None,
            autoscaler=None if autoscale is None else parse_autoscaler(autoscale),
        )

    if explain is not None:
        show(explain_request(scenario, explain, laws), files)
    else:
        show(simulate_scenario(scenario, laws=laws, executor=executor, workers=workers), files)
