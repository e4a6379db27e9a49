"""`headway ideal`: idealized runtime, dollars and joules of requests on reference hardware."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from headway.cli.options import find_clusters, number_option, report_options
from headway.cli.show import Column, deliver, number
from headway.errors import InputError
from headway.ideal.answer import Asked, Question, ideal_report, read_asked
from headway.ideal.endpoint_answer import endpoint_report
from headway.ideal.idealized import reference
from headway.measure.measurement import read_measurements
from headway.model.architecture import ModelArchitecture
from headway.model.catalogue import find_model, find_precision
from headway.model.precision import Precision
from headway.papers.narayanan_2023.published import PublishedTable, read_tables
from headway.steptime.calibration import shipped


@click.command()
@click.argument("models", nargs=-1)
@click.option(
    "--on",
    default="a100",
    show_default=True,
    metavar="NAMES",
    help="Accelerators, comma-separated.",
)
@number_option(
    "--accelerators",
    "number of accelerators",
    "How many each model has to itself. Default: as few as hold it.",
    whole=True,
)
@click.option("--precision", metavar="W[/A[/KV]]", help="Default: as the model was published.")
@number_option("--price", "price in $ per accelerator-hour", "$ per accelerator-hour.")
@click.option(
    "--engine",
    default="vllm",
    show_default=True,
    metavar="NAME",
    help="The measured engine that runs the models, or none: from the data sheet alone.",
)
@click.option(
    "--requests",
    "requests_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="JSON lines with prompt_tokens, output_tokens and, if you like, scenario, model and "
    "cached_tokens.",
)
@number_option("--prompt", "prompt in tokens", "Without --requests.", whole=True, default="512")
@number_option("--output", "output in tokens", "Without --requests.", whole=True, default="64")
@click.option("--each", is_flag=True, help="One row per request instead of one per scenario.")
@click.option(
    "--profile",
    "profiles",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Measurements by `headway profile`, shown beside the models.",
)
@click.option(
    "--published",
    "published_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="HELM's inference_idealized_runtimes.json: the tables of its models, shown beside.",
)
@click.option(
    "--endpoint-profile",
    type=click.Path(dir_okay=False, path_type=Path),
    help="What `headway profile --endpoint` wrote: say where its time goes.",
)
@click.option("--against", "against_model", metavar="MODEL", help="The model behind that endpoint.")
@report_options
def ideal(
    models: tuple[str, ...],
    on: str,
    accelerators: int | None,
    precision: str | None,
    price: float | None,
    engine: str,
    requests_path: Path | None,
    prompt: int,
    output: int,
    each: bool,
    profiles: tuple[Path, ...],
    published_path: Path | None,
    endpoint_profile: Path | None,
    against_model: str | None,
    json_path: str | None,
    html_path: Path | None,
    png_path: Path | None,
) -> None:
    """Print what requests would take if each MODEL had reference accelerators to itself.

    With --endpoint-profile and --against, split the time of an endpoint into what is the model,
    the software, contention, queue and network.
    """
    clusters = find_clusters(on, price)
    if (endpoint_profile is None) != (against_model is None):
        raise InputError("--endpoint-profile and --against MODEL need each other")
    if endpoint_profile is not None and against_model is not None:
        if len(clusters) != 1 or models:
            raise InputError("an endpoint is held against one model on one accelerator")
        asked = _model(against_model, precision)
        made = reference(*asked, clusters[0], accelerators, engine=_engine(engine))
        report = endpoint_report(endpoint_profile, made)
        deliver(report, ENDPOINT_COLUMNS, json_path, html_path, png_path)
        return
    if not models and not profiles:
        raise InputError("name a model, such as headway ideal llama-3.1-8b --on h100")
    tables = read_tables(published_path) if published_path else {}
    requests = (
        read_asked(requests_path) if requests_path else (Asked(float(prompt), float(output)),)
    )
    question = Question(
        tuple(_model(name, precision) for name in models),
        clusters,
        accelerators,
        requests,
        _engine(engine),
        each,
        tuple((path, read_measurements(path)) for path in profiles),
        {name: table for model in models for name, table in _of(model, tables).items()},
    )
    deliver(ideal_report(question), COLUMNS, json_path, html_path, png_path)


def _model(name: str, precision: str | None) -> tuple[ModelArchitecture, Precision]:
    chosen = Precision.parse(precision) if precision else find_precision(name)
    return find_model(name), chosen


def _engine(name: str) -> str | None:
    if name == "none":
        return None
    shipped().check_engine(name)
    return name


def _of(model: str, tables: Mapping[str, PublishedTable]) -> dict[str, PublishedTable]:
    """The published tables of ``model``: those whose name, without its maker, begins it."""
    plain = _letters(Path(model).stem)
    return {
        name: table
        for name, table in tables.items()
        if plain.startswith(_letters(name.rpartition("/")[2]))
    }


def _letters(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


COLUMNS: list[Column] = [
    ("<", "model", lambda row: str(row["model"])),
    ("<", "on", lambda row: f"{number(row['num_accelerators'])} {row['accelerator']}"),
    ("<", "scenario", lambda row: number(row["scenario"])),
    (">", "requests", lambda row: number(row["requests"])),
    (">", "prompt", lambda row: number(row["prompt_tokens"])),
    (">", "output", lambda row: number(row["output_tokens"])),
    (">", "seconds", lambda row: number(row["runtime_s"])),
    (
        ">",
        "range",
        lambda row: (
            ""
            if row["runtime_s_lower"] is None
            else f"{number(row['runtime_s_lower'])}..{number(row['runtime_s_upper'])}"
        ),
    ),
    (">", "chip s", lambda row: number(row["accelerator_s"])),
    (">", "cents", lambda row: number(_cents(row["usd"]))),
    (">", "J", lambda row: number(row["energy_j"])),
    (
        ">",
        "range",
        lambda row: (
            ""
            if row["energy_j"] is None
            else f"{number(row['energy_j_lower'])}..{number(row['energy_j_upper'])}"
        ),
    ),
    ("<", "software", lambda row: number(row["software"])),
    ("<", "basis", lambda row: str(row["basis"])),
]
ENDPOINT_COLUMNS: list[Column] = [
    ("<", "part", lambda row: str(row["part"])),
    (">", "value", lambda row: number(row["value"])),
    (">", "lower", lambda row: number(row["lower"])),
    (">", "upper", lambda row: number(row["upper"])),
    ("<", "unit", lambda row: str(row["unit"])),
    (
        ">",
        "of raw",
        lambda row: "" if row["share"] is None else f"{100 * float(row['share']):.0f}%",
    ),
]


def _cents(usd: object) -> float | None:
    return None if usd is None else 100 * float(str(usd))
