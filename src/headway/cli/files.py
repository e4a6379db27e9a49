"""Options that name the files an answer goes to, checked before any work is done for them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from headway.errors import InputError

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class AnswerFiles:
    """Where an answer goes beside the terminal; ``json`` may be ``-`` for stdout."""

    json: str | None = None
    html: Path | None = None
    png: Path | None = None
    csv: Path | None = None


def answer_files(command: Command) -> Command:
    """Add --json, --html, --png and --csv, as one argument ``files`` of `AnswerFiles`."""

    @wraps(command)
    def with_files(*args: Any, **options: Any) -> Any:
        names = ("json", "html", "png", "csv")
        files = AnswerFiles(**{name: options.pop(f"{name}_path") for name in names})
        return command(*args, files=files, **options)

    file = click.Path(path_type=Path)
    for flag, help in (
        ("--csv", "Write the rows as CSV."),
        ("--png", "Write a picture (needs the extra 'plot')."),
        ("--html", "Write a page that works offline."),
    ):
        with_files = click.option(
            flag, f"{flag[2:]}_path", type=file, metavar="FILE", callback=_checked, help=help
        )(with_files)
    json = json_option("Write JSON; - or nothing is stdout.", is_flag=False, flag_value="-")
    return json(with_files)  # type: ignore[return-value] # the same command with other options


def json_option(
    help: str = "Write the report; - is stdout.", **settings: Any
) -> Callable[[Command], Command]:
    """--json FILE, as ``json_path``: a path, - for stdout, or ``None``."""
    return click.option(
        "--json", "json_path", metavar="FILE", callback=_checked, help=help, **settings
    )


def picture_options(command: Command) -> Command:
    """Add --html FILE and --png FILE, as ``html_path`` and ``png_path``."""
    file = click.Path(path_type=Path)
    for flag, help in (
        ("--png", "Write a picture (needs the extra 'plot')."),
        ("--html", "Write a page that works offline."),
    ):
        option = click.option(
            flag, f"{flag[2:]}_path", type=file, metavar="FILE", callback=_checked, help=help
        )
        command = option(command)
    return command


def _checked(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    flag = param.opts[0]
    if value is None or (value == "-" and flag == "--json"):
        return value
    path = Path(value)
    if not str(value) or str(value) == "-":
        raise InputError(f"{flag} needs the name of a file, such as out{flag.replace('--', '.')}")
    if path.is_dir():
        raise InputError(f"cannot write {value}: it is a folder; {flag} needs the name of a file")
    if not path.parent.is_dir():
        raise InputError(f"cannot write {value}: there is no folder {path.parent}")
    others = (ctx.params.get(name) for name in ("json_path", "html_path", "png_path", "csv_path"))
    if any(other and os.path.realpath(other) == os.path.realpath(path) for other in others):
        raise InputError(f"{flag} and another option both write {value}; give two names")
    return value
