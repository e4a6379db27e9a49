"""`headway profile`: measure a program on this machine, or an endpoint that one can only ask."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from headway.cli.files import AnswerFiles, answer_files
from headway.cli.options import (
    COUNT,
    COUNTS,
    FILE,
    FRACTION,
    NUMBER_OR_ZERO,
    TIME_OR_ZERO,
    length_options,
)
from headway.cli.show import show
from headway.engines.runtimes import RUNTIMES, start_runtime
from headway.errors import InputError
from headway.ideal.adaptive import Progress
from headway.ideal.profile import profile as measure_profile
from headway.ideal.profile import profile_report
from headway.measure.endpoint.budget import Budget
from headway.measure.endpoint.campaign import Plan
from headway.measure.endpoint.endpoint import Address, parse_extra
from headway.measure.endpoint.report import expected_cost, profile_endpoint
from headway.measure.harness import MAX_REPEATS
from headway.measure.measurement import Clock, write_measurements
from headway.serving.token_prices import ApiPrices

WITHIN_HELP = (
    "Choose what to measure, up to the largest --prompt and --output, until runtimes are known "
    "within this, such as 5%."
)
CLOCK_HELP = "Default: process CPU time for one thread on a CPU, else wall time."


@click.command()
@click.argument("model", required=False)
@click.option(
    "--runtime", type=click.Choice(RUNTIMES), default="transformers", help="What computes."
)
@click.option("--device", default="cpu", help="cpu, cuda or cuda:1.")
@click.option("--dtype", default="float32", help="As torch calls it.")
@click.option("--threads", type=click.IntRange(1, 512), default=1, help="Of a CPU.")
@click.option("--graphs", is_flag=True, help="Let vLLM compile and capture graphs (slow start).")
@length_options(several=True, prompt="1,32,128,512")
@click.option("--batch", type=COUNTS, default="1", help="Sequences of steps.")
@click.option(
    "--trials", type=click.IntRange(1, 1000), default=5, help="Rounds of all that is timed."
)
@click.option(
    "--repeats", type=click.IntRange(1, MAX_REPEATS), default=3, help="Of short loads, a round."
)
@click.option("--within", type=FRACTION, help=WITHIN_HELP)
@click.option("--clock", type=click.Choice(["wall", "process_cpu"]), help=CLOCK_HELP)
@click.option("--endpoint", metavar="URL", help="An OpenAI-compatible endpoint, ending in /v1.")
@click.option(
    "--model",
    "endpoint_model",
    default="",
    show_default=False,
    help="The model's name at the endpoint.",
)
@click.option("--api-key-env", metavar="NAME", help="Environment variable that holds the key.")
@click.option("--completions", is_flag=True, help="Ask /completions, not /chat/completions.")
@click.option("--extra", metavar="JSON", help="Further fields of every request.")
@click.option("--max-requests", type=COUNT, help="Default: the plan and its retries.")
@click.option("--budget-usd", type=NUMBER_OR_ZERO, help="Dollars that are never exceeded.")
@click.option("--prompt-price", type=NUMBER_OR_ZERO, help="$ per million prompt tokens.")
@click.option("--output-price", type=NUMBER_OR_ZERO, help="$ per million output tokens.")
@click.option("--pause", type=TIME_OR_ZERO, default="0s", help="Between requests.")
@click.option("--seed", type=int, default=0, help="Of prompts and order.")
@click.option("--yes", is_flag=True, help="Do not ask before money is spent.")
@click.option("-o", "out", type=FILE, metavar="FILE",
              help="Where to measure to. Default: profile-MODEL.jsonl.")  # fmt: skip
@answer_files
def profile(
    model: str | None,
    runtime: str,
    device: str,
    dtype: str,
    threads: int,
    graphs: bool,
    prompt: tuple[int, ...],
    output: tuple[int, ...] | None,
    batch: tuple[int, ...],
    trials: int,
    repeats: int,
    within: float | None,
    clock: str | None,
    endpoint: str | None,
    endpoint_model: str,
    api_key_env: str | None,
    completions: bool,
    extra: str | None,
    max_requests: int | None,
    budget_usd: float | None,
    prompt_price: float | None,
    output_price: float | None,
    pause: float,
    seed: int,
    yes: bool,
    out: Path | None,
    files: AnswerFiles,
) -> None:
    """Measure MODEL with random weights on this machine, or a black box with --endpoint.

    MODEL is a name of the catalogue or the path of a config.json. An endpoint is asked one request
    at a time; what it says is kept in -o, and the same command goes on where it was stopped.
    --output is 1,16 for a model and 32, the most that is asked for, of an endpoint.
    """
    if (model is None) == (endpoint is None):
        raise InputError("give either a MODEL to run here or an --endpoint to ask")

    if model is not None:
        engine = start_runtime(
            model, runtime, device=device, dtype=dtype, threads=threads, compile_graphs=graphs
        )
        # Seen where stderr is a terminal only.
        with click.progressbar(label="measuring", length=1, file=sys.stderr) as bar:

            def notice(num_runs: int, total: int) -> None:
                bar.length = total
                bar.update(num_runs - bar.pos)

            measurements = measure_profile(
                engine,
                prompts=prompt,
                outputs=output or (1, 16),
                batches=batch,
                within=within,
                trials=trials,
                repeats=repeats,
                clock=Clock(clock) if clock else None,
                seed=seed,
                notice=notice,
                notice_progress=_print_progress,
            )
        out = out or _default_path(engine.setup.model)
        write_measurements(out, measurements)
        click.echo(f"wrote {out}", err=True)
        show(profile_report(measurements), files)
        return

    if api_key_env and api_key_env not in os.environ:
        raise InputError(f"the environment has no variable {api_key_env!r}")
    if (prompt_price is None) != (output_price is None):
        raise InputError("--prompt-price and --output-price need each other")
    prices = None
    if prompt_price is not None and output_price is not None:
        prices = ApiPrices(prompt_price, output_price)

    address = Address(
        url=endpoint or "",
        model=endpoint_model,
        api_key=os.environ.get(api_key_env) if api_key_env else None,
        chat=not completions,
        extra=parse_extra(extra),
    )
    plan = Plan(prompt, max_tokens=max(output or (32,)), trials=trials, pause_s=pause, seed=seed)
    budget = Budget(max_requests or plan.max_requests, budget_usd, prices)
    click.echo(expected_cost(address, plan, budget), err=True)
    if not yes:
        click.confirm("Go ahead?", abort=True, err=True)
    report = profile_endpoint(
        address,
        plan,
        budget=budget,
        ledger_path=out or _default_path(endpoint_model),
        notice=lambda sentence: click.echo(sentence, err=True),
    )
    show(report, files)


def _print_progress(progress: Progress) -> None:
    prompt, output = progress.last_request
    click.echo(
        f"after {len(progress.measurements)} requests (the last: {prompt} prompt and {output} "
        f"output tokens): within {100 * progress.half_width:.1f}%",
        err=True,
    )


def _default_path(model: str) -> Path:
    name = "".join(c if c.isalnum() or c in "-._" else "-" for c in model)[:80]
    return Path(f"profile-{name or 'endpoint'}.jsonl")
