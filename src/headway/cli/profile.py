"""`headway profile`: measure a local engine, or an endpoint that one can only ask."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from headway.cli.options import number_option, report_options
from headway.cli.show import Column, deliver, number
from headway.errors import InputError
from headway.ideal.adaptive import Adaptive, measured_until
from headway.ideal.next_request import Target
from headway.measure.endpoint.budget import TokenPrice
from headway.measure.endpoint.campaign_report import (
    Order,
    campaign_report,
    expected_cost,
    run_campaign,
)
from headway.measure.endpoint.endpoint import Address
from headway.measure.endpoint.probing import Plan
from headway.measure.engine_report import measurements_report
from headway.measure.harness import MOST_REPEATS, Engine, measure
from headway.measure.measurement import (
    Clock,
    Load,
    Measurement,
    RequestLoad,
    StepLoad,
    write_measurements,
)
from headway.measure.meter import meter_of
from headway.model.catalogue import find_entry
from headway.model.huggingface.config import load_config
from headway.units import GB

ENGINES = ("transformers", "openvino", "vllm")


@click.command()
@click.argument("model", required=False)
@click.option("--engine", type=click.Choice(ENGINES), default="transformers", show_default=True)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:1.")
@click.option("--dtype", default="float32", show_default=True, help="As the engine calls it.")
@click.option("--threads", type=click.IntRange(1, 512), default=1, show_default=True)
@click.option("--prompts", default="1,32,128,512", show_default=True, help="Prompt tokens.")
@click.option("--outputs", default="1,16", show_default=True, help="Output tokens (engines).")
@click.option("--batches", default="1", show_default=True, help="Batch sizes of steps (engines).")
@click.option("--trials", type=click.IntRange(1, 1000), default=5, show_default=True)
@click.option(
    "--repeats",
    type=click.IntRange(1, MOST_REPEATS),
    default=3,
    show_default=True,
    help="Of short loads in each trial (engines).",
)
@number_option(
    "--within",
    "doubt in percent",
    "Choose what to measure, up to the largest --prompts and --outputs, until runtimes are known "
    "within so many percent (engines).",
)
@click.option("--graphs", is_flag=True, help="Let vLLM compile and capture graphs (slow start).")
@click.option(
    "--clock",
    type=click.Choice(["wall", "process_cpu"]),
    help="Default: process CPU time for one thread on a CPU, else wall time.",
)
@click.option("--endpoint", metavar="URL", help="An OpenAI-compatible endpoint, ending in /v1.")
@click.option("--model", "asked_model", metavar="NAME", help="The model's name at the endpoint.")
@click.option("--api-key-env", metavar="NAME", help="Environment variable that holds the key.")
@click.option("--completions", is_flag=True, help="Ask /completions, not /chat/completions.")
@click.option("--extra", metavar="JSON", help="Further fields of every request.")
@click.option("--max-tokens", type=click.IntRange(2, 100_000), default=32, show_default=True)
@click.option(
    "--max-requests", type=click.IntRange(1, 1_000_000), help="Default: the plan and its retries."
)
@number_option("--budget-usd", "budget in $", "Dollars that are never exceeded.", zero=True)
@number_option("--prompt-price", "price of prompt tokens", "$ per million tokens.", zero=True)
@number_option("--output-price", "price of output tokens", "$ per million tokens.", zero=True)
@number_option("--pause", "pause in seconds", "Between requests.", zero=True, default="0")
@click.option("--seed", type=int, default=0, show_default=True, help="Of prompts and order.")
@click.option("--yes", is_flag=True, help="Do not ask before money is spent.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Where to measure to.")
@report_options
def profile(
    model: str | None,
    asked_model: str | None,
    endpoint: str | None,
    json_path: str | None,
    html_path: Path | None,
    png_path: Path | None,
    **options: Any,
) -> None:
    """Measure MODEL on a local engine with random weights, or a black box with --endpoint.

    MODEL is a name of the catalogue or the path of a config.json. An endpoint is asked one request
    at a time; what it says is kept in --out, and the same command goes on where it was stopped.
    """
    if (model is None) == (endpoint is None):
        raise InputError("give either a MODEL to run here or an --endpoint to ask")
    if endpoint is not None:
        report = _endpoint(endpoint, asked_model or "", options)
        columns = ENDPOINT_COLUMNS
    else:
        assert model is not None  # exactly one of the two is given
        report = _engine(model, options)
        columns = ENGINE_COLUMNS
    deliver(report, columns, json_path, html_path, png_path)


def _endpoint(url: str, model: str, options: Mapping[str, Any]) -> Any:
    variable = options["api_key_env"]
    if variable and variable not in os.environ:
        raise InputError(f"the environment has no variable {variable!r}")
    extra = _extra(options["extra"])
    address = Address(
        url,
        model,
        os.environ.get(variable) if variable else None,
        not options["completions"],
        extra,
    )
    plan = Plan(
        tuple(whole_numbers(options["prompts"], "--prompts")),
        options["max_tokens"],
        options["trials"],
        pause_s=options["pause"] or 0.0,
        seed=options["seed"],
    )
    prices = (options["prompt_price"], options["output_price"])
    if (prices[0] is None) != (prices[1] is None):
        raise InputError("--prompt-price and --output-price need each other")
    if options["budget_usd"] is not None and prices[0] is None:
        raise InputError("a budget in dollars needs --prompt-price and --output-price")
    price = None if prices[0] is None else TokenPrice(*prices)
    limit = options["max_requests"] or plan.num_requests * (plan.retries + 1)
    out = options["out"] or Path(f"profile-{_file_name(model)}.jsonl")
    order = Order(address, plan, out, limit, options["budget_usd"], price)
    click.echo(expected_cost(order), err=True)
    if not options["yes"]:
        click.confirm("Go ahead?", abort=True, err=True)
    return campaign_report(order, run_campaign(order, lambda text: click.echo(text, err=True)))


def _engine(name: str, options: Mapping[str, Any]) -> Any:
    config, short = _config(name)
    prompts = whole_numbers(options["prompts"], "--prompts")
    outputs = whole_numbers(options["outputs"], "--outputs")
    loads: list[Load] = [RequestLoad(1, p, o) for p in prompts for o in outputs]
    for batch in whole_numbers(options["batches"], "--batches"):
        loads += [StepLoad(batch, 1, prompt) for prompt in prompts]
    engine = _built(config, short, options)
    one_thread = options["device"] == "cpu" and options["threads"] == 1
    clock = Clock(options["clock"] or ("process_cpu" if one_thread else "wall"))
    meter, why_not = meter_of(options["device"])

    def run(
        chosen: Sequence[Load], notice: Callable[[int, int], object] = lambda done, total: None
    ) -> tuple[Measurement, ...]:
        return measure(
            engine, chosen, options["trials"], clock=clock, seed=options["seed"], notice=notice,
            meter=meter, repeats=options["repeats"],
        )  # fmt: skip

    if options["within"] is None:
        found = _all_of(run, loads)
    else:
        target = Target.up_to(max(prompts), max(outputs))
        state = measured_until(run, target, options["within"] / 100, notice=_say)
        found = state.measurements
    out = options["out"] or Path(f"profile-{_file_name(short)}.jsonl")
    write_measurements(out, found)
    click.echo(f"wrote {out}", err=True)
    return measurements_report(found, why_not)


def _all_of(run: Callable[..., tuple[Measurement, ...]], loads: list[Load]) -> Any:
    # Seen where stderr is a terminal only.
    with click.progressbar(label="measuring", length=1, file=sys.stderr) as bar:

        def notice(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        return run(loads, notice)


def _say(state: Adaptive) -> None:
    last = state.measurements[-1].load
    assert isinstance(last, RequestLoad)  # an adaptive profile is of requests
    click.echo(
        f"after {len(state.measurements)} requests (the last: {last.prompt_tokens} prompt and "
        f"{last.output_tokens} output tokens): within {100 * state.half_width:.1f}%",
        err=True,
    )


def _built(config: Mapping[str, object], name: str, options: Mapping[str, Any]) -> Engine:
    if options["engine"] == "openvino":
        if options["device"] != "cpu":
            raise InputError("the engine openvino is measured on --device cpu only")
        from headway.engines.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(config, name, options["threads"])
    where = (options["device"], options["dtype"], options["threads"])
    if options["engine"] == "vllm":
        from headway.engines.vllm_engine import VllmEngine

        return VllmEngine(config, name, *where, eager=not options["graphs"])
    from headway.engines.transformers_engine import TransformersEngine

    return TransformersEngine(config, name, *where)


def _config(name: str) -> tuple[Mapping[str, object], str]:
    if "/" in name or name.endswith(".json") or Path(name).is_dir():
        path = Path(name)
        return load_config(path), (path.parent if path.name == "config.json" else path).stem
    entry = find_entry(name)
    return entry.config, entry.name


def _extra(text: str | None) -> Mapping[str, object]:
    if text is None:
        return {}
    try:
        extra = json.loads(text)
    except ValueError:
        extra = None
    if not isinstance(extra, dict):
        raise InputError(
            f'--extra must be a JSON object such as {{"ignore_eos": true}}, not {text[:40]!r}'
        )
    return extra


def whole_numbers(text: str, option: str) -> list[int]:
    """The whole numbers in ``text``, comma-separated; raise `InputError` for anything else."""
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1 or max(numbers) > 10_000_000:
        raise InputError(f"{option} must be whole numbers such as 1,64,512, not {text[:40]!r}")
    return list(dict.fromkeys(numbers))


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-._" else "-" for c in name)[:80] or "endpoint"


ENDPOINT_COLUMNS: list[Column] = [
    (">", "prompt", lambda row: number(row["prompt_tokens"])),
    (">", "answers", lambda row: number(row["answers"])),
    (">", "first token", lambda row: f"{number(row['ttft_s'])} s"),
    (">", "range", lambda row: f"{number(row['ttft_s_lower'])}..{number(row['ttft_s_upper'])}"),
    (">", "mean", lambda row: f"{number(row['mean_ttft_s'])} s"),
    (">", "per token", lambda row: f"{number(row['tpot_s'])} s"),
    (">", "range", lambda row: f"{number(row['tpot_s_lower'])}..{number(row['tpot_s_upper'])}"),
    (">", "mean", lambda row: f"{number(row['mean_tpot_s'])} s"),
]
ENGINE_COLUMNS: list[Column] = [
    ("<", "load", lambda row: str(row["load"])),
    (">", "batch", lambda row: number(row["batch"])),
    (">", "prompt or cached", lambda row: number(row["prompt_tokens"])),
    (">", "output or new", lambda row: number(row["output_tokens"])),
    (">", "seconds", lambda row: number(row["duration_s"], 4)),
    (
        ">",
        "range",
        lambda row: f"{number(row['duration_s_lower'])}..{number(row['duration_s_upper'])}",
    ),
    (">", "mean", lambda row: number(row["mean_s"])),
    (">", "J", lambda row: number(row["energy_j"])),
    (">", "peak GB", lambda row: number(_gb(row["peak_memory_bytes"]))),
]


def _gb(held: object) -> float | None:
    return None if held is None else float(str(held)) / GB
