"""`headway possible`: whether a claimed figure can be true."""

from __future__ import annotations

import json
from typing import Any

import click

from headway.cli.files import answer_option, write_answer
from headway.cli.options import asked, number_option, only, shape_options
from headway.frontier.possible import possible as judge


@click.command()
@click.option("--model", required=True, help="A catalogue name or a path to config.json.")
@shape_options(context="0")
@number_option("--tok-s", "speed in tokens/s per user", "Claimed speed.", required=True)
@number_option(
    "--usd-per-mtok",
    "price in $ per million tokens",
    "Claimed $ per million output tokens; leave it out to claim a speed at any price.",
)
@number_option("--batch", "batch", "Sequences in flight, if claimed.", whole=True)
@answer_option()
def possible(
    model: str,
    tok_s: float,
    usd_per_mtok: float | None,
    batch: int | None,
    json_path: str | None,
    **options: Any,
) -> int:
    """Say whether MODEL can decode at --tok-s for --usd-per-mtok on an accelerator.

    Exits with 1 where the data sheet forbids the claim.
    """
    from dataclasses import asdict, replace

    given = asked(model, **options)
    question = replace(given.question, concurrency=batch)
    verdict = judge(question, only(given.clusters), tok_s, usd_per_mtok)
    if json_path is not None:
        write_answer(json.dumps(asdict(verdict)), json_path)
    else:
        bound = f" (bound: {verdict.bound})" if verdict.bound else ""
        click.echo(f"{verdict.verdict}{bound}: {verdict.sentence}")
    return 0 if verdict.possible else 1
