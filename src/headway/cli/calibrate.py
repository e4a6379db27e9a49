"""`headway calibrate`: a user's own benchmark results on top of the shipped calibration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from headway.cli.files import AnswerFiles, answer_files
from headway.cli.options import FILE, degree_options, find_clusters, only, precision_option
from headway.cli.show import show
from headway.measure.calibrate import fit_files
from headway.model.catalogue import find_model, find_precision
from headway.report.files import write_atomically
from headway.steptime.calibration import own_to_json
from headway.steptime.deployment import Deployment
from headway.steptime.parallelism import Parallelism

Command = TypeVar("Command", bound=Callable[..., Any])


def served_options(required: bool) -> Callable[[Command], Command]:
    """Add --model, --on, --engine, --precision and the layout: what the FILES were measured on."""

    def add(command: Any) -> Any:
        command = precision_option(degree_options(command))
        for flag, help in (
            ("--engine", "Serving engine that ran: vllm, sglang or tensorrt-llm."),
            ("--on", "On which accelerator."),
            ("--model", "What was served: a name, or a config.json."),
        ):
            command = click.option(flag, required=required, metavar="NAME", help=help)(command)
        return click.argument(
            "benchmarks", metavar="FILES", nargs=-1, required=required, type=FILE
        )(command)

    return add


def served(
    model: str, on: str, engine: str, precision: str | None, degrees: Mapping[str, int | None]
) -> Deployment:
    """Return the deployment that the options name."""
    cluster = only(find_clusters(on))
    stored = find_precision(model, precision)
    layout = Parallelism(**{name: degree or 1 for name, degree in degrees.items()})
    return Deployment(
        find_model(model), cluster, parallelism=layout, precision=stored, engine=engine
    )


@click.command()
@served_options(required=True)
@click.option(
    "-o",
    "output",
    type=FILE,
    default=Path("headway-calibration.json"),
    metavar="FILE",
    help="Where the calibration goes.",
)
@answer_files
def calibrate(
    benchmarks: tuple[Path, ...],
    model: str,
    on: str,
    engine: str,
    precision: str | None,
    output: Path,
    files: AnswerFiles,
    **degrees: int | None,
) -> None:
    """Fit the shipped calibration to your own benchmark FILES: 5 to 10 loads are enough.

    FILES are results of vLLM bench serve, SGLang bench_serving, InferenceX, guidellm or aiperf.
    Give what comes out to any command that takes --calibration.
    """
    own, report = fit_files(benchmarks, served(model, on, engine, precision, degrees))
    write_atomically(output, own_to_json(own))
    show(report, files)
    click.echo(f"wrote {output}", err=True)
