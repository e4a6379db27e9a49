"""The options of a load: the engine, the requests, the limits, the money, the calibration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from headway.cli.options import Command, number_option
from headway.errors import InputError
from headway.units import parse_number

NEEDS_ENGINE = "give --engine too, such as --engine vllm: only a named engine serves a load"


def load_options(required: bool) -> Callable[[Command], Command]:
    """Add --engine, the load, the engine's limits, money, and --calibration."""
    needed: dict[str, Any] = {"required": required}
    options = [
        click.option(
            "--engine",
            metavar="NAME",
            **needed,
            help="Engine under load: vllm, sglang or tensorrt-llm.",
        ),
        number_option("--isl", "prompt in tokens", "Prompt tokens of a request.", **needed),
        number_option("--osl", "answer in tokens", "Output tokens of a request.", **needed),
        click.option(
            "--concurrency",
            metavar="NUMBERS",
            callback=levels,
            **needed,
            help="Requests in the system at any time; 1,8,64 for several, 1..256 for doublings.",
        ),
        click.option(
            "--cached",
            "cached_fraction",
            type=float,
            default=0.0,
            show_default=True,
            help="Fraction of a prompt found in the prefix cache.",
        ),
        number_option(
            "--draft-tokens",
            "drafted tokens",
            "Tokens drafted per pass, with --speculate.",
            whole=True,
        ),
        number_option("--max-num-seqs", "max_num_seqs", "Sequences per engine.", whole=True),
        number_option(
            "--max-num-batched-tokens", "max_num_batched_tokens", "Tokens per step.", whole=True
        ),
        click.option(
            "--duty-cycle",
            type=float,
            default=1.0,
            show_default=True,
            help="Fraction of the paid hours with load.",
        ),
        click.option(
            "--usd-per-kwh",
            type=float,
            default=0.0,
            show_default=True,
            help="Electricity on top of the hourly price.",
        ),
        click.option(
            "--pue",
            type=float,
            default=1.0,
            show_default=True,
            help="Power of the building over that of the accelerators.",
        ),
        number_option("--api-in", "API price", "$ per million input tokens of an API."),
        number_option("--api-out", "API price", "$ per million output tokens of an API."),
        number_option(
            "--api-cached", "API price", "$ per million cached input tokens of an API.", zero=True
        ),
        click.option(
            "--calibration",
            "calibration_path",
            type=click.Path(dir_okay=False, path_type=Path),
            help="A file of headway calibrate, on top of what ships.",
        ),
        click.option(
            "--disaggregate",
            metavar="PxD",
            help="Prefill and decode on engines of their own, such as 2x1; auto for the best split "
            "of --accelerators.",
        ),
        click.option(
            "--kv-link",
            metavar="NAME",
            help="Over which link the cache goes: a name, or GB/s. Default: the outermost.",
        ),
        click.option(
            "--kv-overlap/--no-kv-overlap",
            default=True,
            show_default=True,
            help="Whether a layer's cache is sent while the next are computed.",
        ),
        click.option("--prefill-on", metavar="NAME", help="Accelerator that prefills, if another."),
        number_option("--prefill-tp", "tp", "Tensor-parallel ranks of prefill.", whole=True),
        number_option("--prefill-pp", "pp", "Pipeline stages of prefill.", whole=True),
        number_option("--prefill-dp", "dp", "Attention groups of prefill.", whole=True),
        number_option("--prefill-ep", "ep", "Expert-parallel groups of prefill.", whole=True),
    ]

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


LOAD_NAMES = (
    "engine",
    "isl",
    "osl",
    "concurrency",
    "cached_fraction",
    "draft_tokens",
    "max_num_seqs",
    "max_num_batched_tokens",
    "duty_cycle",
    "usd_per_kwh",
    "pue",
    "api_in",
    "api_out",
    "api_cached",
    "calibration_path",
    "disaggregate",
    "kv_link",
    "kv_overlap",
    "prefill_on",
    "prefill_tp",
    "prefill_pp",
    "prefill_dp",
    "prefill_ep",
)


def take_load(options: dict[str, Any]) -> dict[str, Any]:
    """Split the options of a load off the others."""
    return {name: options.pop(name) for name in LOAD_NAMES}


def check_unused(load: dict[str, Any]) -> None:
    """Raise `InputError` where part of a load is given without an engine."""
    idle = {
        "cached_fraction": 0.0,
        "duty_cycle": 1.0,
        "usd_per_kwh": 0.0,
        "pue": 1.0,
        "kv_overlap": True,
    }
    if any(value is not None and value != idle.get(name) for name, value in load.items()):
        raise InputError(NEEDS_ENGINE)


def levels(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """Read ``64``, ``1,8,64`` or ``1..256``, whose steps are doublings and whose ends are kept."""
    if value is None:
        return None
    found: list[int] = []
    for part in value.split(","):
        first, dots, last = part.partition("..")
        low, high = _whole(first), _whole(last if dots else first)
        if high < low:
            raise InputError(f"concurrency must rise from the first to the last, not {part!r}")
        while low < high:
            found.append(low)
            low *= 2
        found.append(high)
    return tuple(dict.fromkeys(found))


def _whole(text: str) -> int:
    number = parse_number(text, "concurrency")
    if not (1 <= number <= 1e9 and number == int(number)):
        raise InputError(f"concurrency must be a whole number from 1 to 1e9, not {text.strip()!r}")
    return int(number)
