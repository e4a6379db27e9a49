"""`headway ideal`: idealized runtime, dollars and joules of requests on reference hardware."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from headway.cli.files import AnswerFiles, answer_files
from headway.cli.options import COUNT, find_clusters, length_options, price_option, together
from headway.cli.show import show
from headway.ideal.compare import RequestLengths, ideal_report, read_requests
from headway.ideal.reference import Reference, idealize

Command = TypeVar("Command", bound=Callable[..., Any])
FILE = click.Path(dir_okay=False, path_type=Path)


def reference_options(command: Command) -> Command:
    """Add what shapes references and requests; read it with `references` and `requests`."""
    return together(
        [
            click.option(
                "--on",
                default="a100",
                show_default=True,
                metavar="NAMES",
                help="Accelerators, comma-separated.",
            ),
            click.option(
                "--accelerators",
                type=COUNT,
                help="How many each model has to itself. Default: as few as hold it.",
            ),
            click.option(
                "--precision", metavar="W[/A[/KV]]", help="Default: as the model was published."
            ),
            price_option,
            click.option(
                "--engine",
                default="vllm",
                show_default=True,
                metavar="NAME",
                help="The serving engine that runs the models, or none: the data sheet alone.",
            ),
            click.option(
                "--requests",
                "requests_file",
                type=FILE,
                metavar="FILE",
                help="JSON lines with prompt_tokens, output_tokens and, if you like, scenario, "
                "model and cached_tokens; instead of --prompt and --output.",
            ),
            length_options(prompt="512", output="64"),
            click.option(
                "--each", is_flag=True, help="One row per request instead of one per scenario."
            ),
        ]
    )(command)


def requests(requests_file: Path | None, prompt: int, output: int) -> tuple[RequestLengths, ...]:
    """Return the requests of the file, or the one of these lengths."""
    return read_requests(requests_file) if requests_file else (RequestLengths(prompt, output),)


def references(
    models: tuple[str, ...],
    lengths: tuple[RequestLengths, ...],
    *,
    on: str,
    price: float | None,
    accelerators: int | None,
    precision: str | None,
    engine: str,
) -> list[Reference]:
    """Return every model on every accelerator, with room for the longest request."""
    return [
        idealize(
            model,
            cluster,
            engine=None if engine == "none" else engine,
            precision=precision,
            num_accelerators=accelerators,
            context_tokens=max(r.prompt_tokens + r.output_tokens for r in lengths),
        )
        for model in models
        for cluster in find_clusters(on, price)
    ]


@click.command()
@click.argument("models", nargs=-1, required=True)
@reference_options
@answer_files
def ideal(
    models: tuple[str, ...],
    requests_file: Path | None,
    prompt: int,
    output: int,
    each: bool,
    files: AnswerFiles,
    **options: Any,
) -> None:
    """Print what requests would take if each MODEL had reference accelerators to itself."""
    lengths = requests(requests_file, prompt, output)
    show(ideal_report(references(models, lengths, **options), lengths, each=each), files)
