"""Options that several commands share: strings become objects here, once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from headway.errors import InputError
from headway.hardware.catalogue import find_clusters as find_clusters
from headway.units import (
    parse_count,
    parse_counts,
    parse_fraction,
    parse_monthly_fraction,
    parse_numbers,
    parse_positive,
    parse_rate_rps,
    parse_rates_rps,
    parse_time_s,
    parse_usd_per_hour,
)

if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType  # before click 8.2 it takes no parameter

One = TypeVar("One")
Command = TypeVar("Command", bound=Callable[..., Any])


class Parsed(ParamType):
    """The type of an option whose text a parser of `headway.units` reads; errors name the option.

    A default is written as text too, and shown as it is written.
    """

    def __init__(self, name: str, parse: Callable[[str, str], Any]) -> None:
        """Call the value ``name`` in the help, and read it with ``parse(text, what)``."""
        self.name = name
        self.parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return what the text means, in SI units."""
        what = param.opts[0] if param else self.name
        return self.parse(value, what) if isinstance(value, str) else value


def _read_calibrations(
    _ctx: click.Context, _param: click.Parameter, paths: tuple[Path, ...]
) -> Any:
    """Return the files of `headway calibrate` as one calibration, on top of what ships."""
    from headway.steptime.calibration import read_calibration  # NumPy, for who asks for it

    return read_calibration(*paths) if paths else None


NUMBER = Parsed("number", parse_positive)  # above 0: 2.5, 1e6
NUMBER_OR_ZERO = Parsed("number", partial(parse_positive, zero=True))
NUMBERS = Parsed("numbers", parse_numbers)  # 0.7,1.3
COUNT = Parsed("number", parse_count)  # 1 and above: 256, 4k
COUNT_OR_ZERO = Parsed("number", partial(parse_count, minimum=0))
COUNTS = Parsed("numbers", parse_counts)  # 1,64,256 and 1..256
TIME = Parsed("time", parse_time_s)  # above 0: 500ms, 2s, 5m
TIME_OR_ZERO = Parsed("time", partial(parse_time_s, zero=True))
FRACTION = Parsed("fraction", parse_fraction)  # 0.3, 30%
FRACTION_A_MONTH = Parsed("fraction", parse_monthly_fraction)  # 0.08, 8%/month
USD_PER_HOUR = Parsed("usd", parse_usd_per_hour)  # 50, 50usd/h, 36k usd/month
RATES = Parsed("rates", parse_rates_rps)  # 5,20 and 5..40
RATE = Parsed("rate", parse_rate_rps)  # per second, or 600/min
FILE = click.Path(dir_okay=False, path_type=Path)

# As the same word in several commands is read and explained.
precision_option = click.option(
    "--precision",
    metavar="W[/A[/KV]]",
    help="Formats of weights, activations and KV cache, such as fp8 or int4/bf16/fp8. "
    "Default: as the model was published.",
)
pipeline_option = click.option(
    "--pipeline/--no-pipeline", default=True, help="Whether pipeline parallelism is considered."
)
demand_option = click.option(
    "--demand", type=NUMBER, help="The most output tokens per second that one engine can sell."
)
price_option = click.option(
    "--price", type=NUMBER, help="$ per accelerator-hour, instead of a quote."
)
prices_option = click.option(
    "--prices",
    metavar="FILE|KIND",
    help="A file of quotes on those that ship, a kind (on-demand, reserved, spot, owned), or one "
    "at a share of on demand: spot=30%.",
)
calibration_option = click.option(
    "--calibration",
    type=FILE,
    multiple=True,
    callback=_read_calibrations,
    metavar="FILE",
    help="A file of headway calibrate, on what ships; again for another deployment's.",
)
slo_option = click.option(
    "--slo",
    metavar="OBJECTIVES",
    help='What each request is promised, such as "ttft p95 < 500ms, tpot p95 < 50ms".',
)


def on_option(
    help: str = "Accelerators, comma-separated: catalogue names, 8xh200, your own .toml, or all.",
    required: bool = True,
) -> Callable[[Command], Command]:
    """--on NAMES, as ``on``: the text; read it with `find_clusters`."""
    return click.option("--on", required=required, metavar="NAMES", help=help)


def engine_option(
    required: bool = False,
    help: str = "Serving engine whose measured step times are taken: vllm, sglang, tensorrt-llm; "
    "llama.cpp (ollama) by public scores; mlc, lmdeploy, atom by the data sheet, where they run; "
    "none: the data sheet alone; vllm@0.19 for a version. Default: vllm where it was measured.",
) -> Callable[[Command], Command]:
    """--engine NAME, as ``engine``: a serving engine's name, or ``None``."""
    return click.option("--engine", metavar="NAME", required=required, help=help)


def length_options(
    several: bool = False, required: bool = False, **defaults: str
) -> Callable[[Command], Command]:
    """--prompt and --output (aliases --isl and --osl), as ``prompt`` and ``output``.

    Args:
        several: whether lists and doublings are read, into tuples.
        required: whether both must be given.
        defaults: texts by name.

    """
    kind, s = (COUNTS, "s, such as 1k,4k or 512..8k") if several else (COUNT, "")
    settings: dict[str, Any] = {"type": kind, "required": required}
    prompt = click.option(
        "--prompt", "--isl", "prompt", default=defaults.get("prompt"),
        help=f"Prompt tokens of a request{s}.", **settings,
    )  # fmt: skip
    output = click.option(
        "--output", "--osl", "output", default=defaults.get("output"),
        help=f"Output tokens of a request{s}.", **settings,
    )  # fmt: skip
    return together([prompt, output])


def degree_options(command: Command) -> Command:
    """--tp, --pp, --dp and --ep, each a number or ``None``."""
    return together(
        [
            click.option("--tp", type=COUNT, help="Tensor-parallel ranks."),
            click.option("--pp", type=COUNT, help="Pipeline stages."),
            click.option("--dp", type=COUNT, help="Groups with attention of their own."),
            click.option("--ep", type=COUNT, help="Expert-parallel groups."),
        ]
    )(command)


def together(options: list[Callable[[Any], Any]]) -> Callable[[Command], Command]:
    """Return one decorator that adds ``options`` in this order."""

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def as_object(
    name: str, cls: type[Any], options: list[Callable[[Any], Any]]
) -> Callable[[Command], Command]:
    """Return a decorator that adds ``options`` and passes them as one ``cls`` called ``name``."""

    def add(command: Command) -> Command:
        @wraps(command)
        def with_object(*args: Any, **values: Any) -> Any:
            own = {field.name: values.pop(field.name) for field in fields(cls)}
            return command(*args, **values, **{name: cls(**own)})

        return together(options)(with_object)  # type: ignore[return-value] # more options only

    return add


def refuse_given(why: str, *names: str) -> None:
    """Raise `InputError` for an option among ``names`` that was written but changes nothing."""
    context = click.get_current_context(silent=True)
    for param in context.command.params if context else ():
        source = context.get_parameter_source(param.name or "") if context else None
        if param.name in names and source is ParameterSource.COMMANDLINE:
            raise InputError(f"{'/'.join((*param.opts, *param.secondary_opts))} {why}")


def only(clusters: tuple[One, ...]) -> One:
    """Return the one accelerator of a command that takes one."""
    if len(clusters) != 1:
        raise InputError(
            f"this takes one accelerator, not {len(clusters)}; to compare, use headway frontier"
        )
    return clusters[0]
