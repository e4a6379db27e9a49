"""`headway reach`: what would have to change."""

from __future__ import annotations

import json
from typing import Any

import click

from headway.cli.files import write_answer
from headway.cli.options import asked, only, shape_options, target_options
from headway.cli.show import number
from headway.frontier.inverse import KNOBS, Target, changes


@click.command()
@click.argument("model")
@shape_options()
@target_options
def reach(
    model: str, tok_s: float, usd_per_mtok: float, json_path: str | None, **options: Any
) -> int:
    """Print, for each property alone, the change that brings MODEL to the target.

    Exits with 1 where no single change does.
    """
    from rich.console import Console
    from rich.progress import track

    given = asked(model, **options)
    target = Target(tok_s, usd_per_mtok)
    answers = list(
        track(
            changes(given.question, only(given.clusters), target),
            description="searching",
            total=len(KNOBS),
            console=Console(stderr=True),
            transient=True,
        )
    )
    if json_path is not None:
        write_answer(json.dumps({change.what: change.factor for change in answers}), json_path)
    elif all(change.factor == 1 for change in answers):
        click.echo(f"reaches {tok_s:g} tok/s/user at ${usd_per_mtok:g}/Mtok as it is")
    else:
        click.echo(f"to reach {tok_s:g} tok/s/user at ${usd_per_mtok:g}/Mtok, change one of:\n")
        for change in answers:
            click.echo(f"  {change.what:<17} {_factor(change.factor)}")
    return 0 if any(change.factor is not None for change in answers) else 1


def _factor(factor: float | None) -> str:
    if factor is None:
        return "no change of this alone is enough"
    return "as it is" if factor == 1 else f"x {number(factor)}"
