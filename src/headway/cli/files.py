"""Options that name the files an answer goes to, checked before any work is done for them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from headway.cli.options import as_object
from headway.errors import InputError


@dataclass(frozen=True, slots=True)
class AnswerFiles:
    """Where an answer goes beside the terminal; ``json`` may be ``-`` for stdout."""

    json: str | None = None
    html: Path | None = None
    png: Path | None = None
    csv: Path | None = None


def _checked(context: click.Context, option: click.Parameter, value: Any) -> Any:
    """Return ``value``; raise `InputError` unless a file of this name can be written."""
    flag = option.opts[0]
    if value is None or (value == "-" and flag == "--json"):
        return value

    path = Path(value)
    if not str(value) or str(value) == "-":
        raise InputError(f"{flag} needs the name of a file, such as out{flag.replace('--', '.')}")
    if path.is_dir():
        raise InputError(f"cannot write {value}: it is a folder; {flag} needs the name of a file")
    if not path.parent.is_dir():
        raise InputError(f"cannot write {value}: there is no folder {path.parent}")

    others = (context.params.get(name) for name in AnswerFiles.__dataclass_fields__)
    if any(other and os.path.realpath(other) == os.path.realpath(path) for other in others):
        raise InputError(f"{flag} and another option both write {value}; give two names")
    return value


answer_files = as_object(
    "files",
    AnswerFiles,
    [
        click.option(
            "--json",
            metavar="FILE",
            callback=_checked,
            is_flag=False,
            flag_value="-",
            help="Write JSON; - or nothing is stdout.",
        ),
        *(
            click.option(
                flag, type=click.Path(path_type=Path), metavar="FILE", callback=_checked, help=help
            )
            for flag, help in (
                ("--html", "Write a page that works offline."),
                ("--png", "Write a picture (needs the extra 'plot')."),
                ("--csv", "Write the rows as CSV."),
            )
        ),
    ],
)
