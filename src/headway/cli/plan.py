"""`headway plan`: what to buy for a demand, how sure that is, and what to measure first."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from headway.cli.files import AnswerFiles, answer_files
from headway.cli.options import (
    COUNT,
    COUNT_OR_ZERO,
    FRACTION,
    FRACTION_A_MONTH,
    RATE,
    TIME_OR_ZERO,
    USD_PER_HOUR,
    calibration_option,
    engine_option,
    length_options,
    on_option,
    precision_option,
    price_option,
    prices_option,
    slo_option,
)
from headway.cli.show import show
from headway.hardware.price import find_prices
from headway.plan.ask import plan as plan_fleet
from headway.plan.day import Day
from headway.plan.diff import changes
from headway.plan.emit import TARGETS
from headway.plan.problem import DEFAULT_SLO
from headway.report.files import write_together
from headway.report.report import Report
from headway.steptime.calibration import Calibration


@click.command()
@click.argument("model", required=False)
@click.option("--users", type=COUNT, help="People who ask again and again (closed loop).")
@click.option(
    "--think", type=TIME_OR_ZERO, default="30s", help="Between an answer and a user's next turn."
)
@click.option(
    "--turns", type=COUNT, default="1", help="Of a conversation, which a prompt carries along."
)
@click.option("--rate", type=RATE, help="Requests per second, such as 2 or 90/min (open loop).")
@click.option("--trace", metavar="FILE", help="Requests as they came: a trace or a record.")
@click.option(
    "--prometheus", metavar="FILE", help="What engines counted: an answer of query_range, as JSON."
)
@click.option("--workload", metavar="NAME", help="A profile that ships, such as azure-conv.")
@length_options()
@on_option(required=False)
@precision_option
@engine_option(help="Serving engine that is considered alone. Default: all that were measured.")
@calibration_option
@price_option
@prices_option
@slo_option
@click.option(
    "--sure",
    type=FRACTION,
    default="90%",
    help="Probability with which all objectives must be met; 50% is even odds.",
)
@click.option("--survive", type=COUNT_OR_ZERO, default="0", help="Replicas that may fail at once.")
@click.option(
    "--budget",
    type=USD_PER_HOUR,
    help="$ per hour, or 36k usd/month: the answer is how much of the demand they serve.",
)
@click.option(
    "--growth",
    type=FRACTION_A_MONTH,
    default="0",
    help="Of the demand per month, such as 8%: when the fleet is full.",
)
@click.option(
    "--day",
    metavar="DAY",
    help="What scaling over a day saves: 'servegen', or 24 numbers (or a file of them), one for "
    "each hour; the demand is that of the busiest.",
)
@click.option(
    "--provision", type=TIME_OR_ZERO, default="3m", help="Until ordered accelerators are there."
)
@click.option(
    "--lost", type=FRACTION, default="0", help="Of the replicas per hour (spot), with --day."
)
@click.option(
    "--apart", is_flag=True, help="Consider prefill and decode on engines of their own, too."
)
@click.option(
    "--now",
    metavar="FILE",
    help="The command line that runs today on the first of --on: what it costs, what flags save.",
)
@click.option("--replicas", type=COUNT, default="1", help="Of what runs today, with --now.")
@click.option("--or-api", is_flag=True, help="Compare with price lists of APIs (extra 'api').")
@click.option("--features", is_flag=True, help="Show what each feature of the engine is worth.")
@click.option("--benchmarks", is_flag=True, help="Show what each benchmark is worth beforehand.")
@click.option(
    "--emit",
    type=click.Choice(TARGETS),
    help="Write what starts the fleet into the folder of -o.",
)
@click.option(
    "-o",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("deploy"),
    metavar="FOLDER",
    help="Where --emit writes.",
)
@click.option(
    "--diff",
    "older",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A plan that --json wrote before: say what changed.",
)
@click.option("--seeds", type=COUNT, default="5", help="Runs that decide close calls.")
@answer_files
def plan(
    model: str | None,
    users: int | None,
    think: float,
    turns: int,
    rate: float | None,
    trace: str | None,
    prometheus: str | None,
    workload: str | None,
    prompt: int | None,
    output: int | None,
    on: str | None,
    precision: str | None,
    engine: str | None,
    calibration: Calibration | None,
    price: float | None,
    prices: str | None,
    slo: str | None,
    sure: float,
    survive: int,
    budget: float | None,
    growth: float,
    day: str | None,
    provision: float,
    lost: float,
    apart: bool,
    now: str | None,
    replicas: int,
    or_api: bool,
    features: bool,
    benchmarks: bool,
    emit: str | None,
    folder: Path,
    older: Path | None,
    seeds: int,
    files: AnswerFiles,
) -> None:
    """Say what to buy to serve MODEL: the cheapest fleet that meets the objectives.

    The demand is a number of users (--users, --think, --turns), a rate (--rate), a profile
    (--workload), a trace (--trace) or what engines counted (--prometheus). Without --prompt and
    --output, requests have 2,000 tokens in and 400 out in the mean. All accelerators with a price
    are considered unless --on names some.
    """
    hours = None
    if day is not None:
        hours = Day(Day.parse(day), provision_s=provision, loss_per_hour=lost)
    answer = plan_fleet(
        model,
        users=users,
        think=think,
        turns=turns,
        rate=rate,
        trace=trace,
        prometheus=prometheus,
        workload=workload,
        prompt=prompt,
        output=output,
        slo=slo or DEFAULT_SLO,
        on=on or "all",
        precision=precision,
        engine=engine,
        price=price,
        prices=find_prices(prices),
        sure=sure,
        survive=survive,
        budget=budget,
        growth=growth,
        or_api=or_api,
        apart=apart,
        now=now,
        replicas=replicas,
        seeds=seeds,
        calibration=calibration,
    )
    if answer.best is None:
        show(answer.report, files)
        sys.exit(1)

    report = answer.report
    if older is not None:
        lines = changes(Report.from_json(older.read_text("utf-8")), report)
        report = replace(
            report, notes=(*(f"since {older.name}: {x}" for x in lines), *report.notes)
        )
    more: list[Report[Any]] = [] if hours is None else [answer.day(hours)]
    more += [answer.features()] if features else []
    more += [answer.measurements()] if benchmarks else []
    show(replace(report, more=tuple(more)), files)
    if emit is not None:
        folder.mkdir(parents=True, exist_ok=True)
        contents: dict[Path, str | bytes] = {
            folder / name: text for name, text in answer.emit(emit).items()
        }
        write_together(contents)
        for path in contents:
            click.echo(f"wrote {path}", err=True)
