"""`headway ideal`: idealized runtime, dollars and joules of requests on reference hardware."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from headway.cli.files import AnswerFiles, answer_files
from headway.cli.options import (
    COUNT,
    FILE,
    calibration_option,
    engine_option,
    find_clusters,
    length_options,
    precision_option,
    price_option,
    prices_option,
    together,
)
from headway.cli.show import show
from headway.hardware.price import find_prices
from headway.ideal.compare import Footing, RequestLengths, ideal_report, read_requests
from headway.steptime.calibration import Calibration

Command = TypeVar("Command", bound=Callable[..., Any])
REQUESTS_HELP = (
    "JSON lines with prompt_tokens, output_tokens and, if you like, scenario, model and "
    "cached_tokens; instead of --prompt and --output."
)
OPTIONS: list[Callable[[Any], Any]] = [
    click.option("--on", default="a100", metavar="NAMES", help="Accelerators, by comma."),
    click.option("--accelerators", type=COUNT, help="Of each model. Default: as few as hold it."),
    precision_option,
    price_option,
    prices_option,
    engine_option(),
    calibration_option,
    click.option("--lengths", "path", type=FILE, metavar="FILE", help=REQUESTS_HELP),
    length_options(prompt="512", output="64"),
    click.option("--each", is_flag=True, help="One row per request, not one per scenario."),
]


def footing_options(command: Command) -> Command:
    """Add what models are compared on, as one argument ``footing``."""

    @wraps(command)
    def with_footing(
        *args: Any,
        on: str,
        accelerators: int | None,
        precision: str | None,
        price: float | None,
        prices: str | None,
        engine: str | None,
        calibration: Calibration | None,
        path: Path | None,
        prompt: int,
        output: int,
        each: bool,
        **others: Any,
    ) -> Any:
        footing = Footing(
            clusters=find_clusters(on, price, find_prices(prices)),
            requests=read_requests(path) if path else (RequestLengths(prompt, output),),
            engine=engine,
            calibration=calibration,
            precision=precision,
            num_accelerators=accelerators,
            each=each,
        )
        return command(*args, footing=footing, **others)

    return together(OPTIONS)(with_footing)  # type: ignore[return-value] # with other options


@click.command()
@click.argument("models", nargs=-1, required=True)
@footing_options
@answer_files
def ideal(models: tuple[str, ...], footing: Footing, files: AnswerFiles) -> None:
    """Print what requests would take if each MODEL had reference accelerators to itself."""
    show(ideal_report(models, footing), files)
