"""`headway largest`: how large a model may be."""

from __future__ import annotations

import json
from typing import Any

import click

from headway.cli.files import write_answer
from headway.cli.options import asked, only, shape_options, target_options
from headway.cli.show import number
from headway.frontier.inverse import Target
from headway.frontier.inverse import largest as find_largest
from headway.frontier.pareto import pareto_front
from headway.frontier.search import search


@click.command()
@click.option(
    "--like", default="llama-3.1-70b", show_default=True, help="The model whose shape is scaled."
)
@shape_options()
@target_options
def largest(
    tok_s: float, usd_per_mtok: float, like: str, json_path: str | None, **options: Any
) -> int:
    """Print the largest model that reaches --tok-s per user at --usd-per-mtok.

    Exits with 1 where no size does.
    """
    from dataclasses import replace

    given = asked(like, **options)
    cluster = only(given.clusters)
    found = find_largest(given.question, cluster, Target(tok_s, usd_per_mtok))
    if found is None:
        if json_path is not None:
            write_answer(json.dumps({"params": None}), json_path)
        else:
            click.echo(
                f"no model shaped like {like} reaches {tok_s:g} tok/s/user at "
                f"${usd_per_mtok:g}/Mtok on {cluster.name}"
            )
        return 1
    points = search(replace(given.question, model=found), cluster)
    fast = points.take(points.tok_per_s_per_user >= tok_s)
    best = fast.take(pareto_front(fast.tok_per_s_per_user, fast.usd_per_mtok_output)[-1:])
    answer = {
        "params": found.total_params,
        "active_params": found.active_params,
        "hidden_size": found.hidden_size,
        "num_layers": found.num_layers,
        "tok_per_s_per_user": float(best.tok_per_s_per_user[0]),
        "usd_per_mtok": float(best.usd_per_mtok_output[0]),
        "num_accelerators": int(best.num_accelerators[0]),
        "batch": int(best.concurrency[0]),
    }
    if json_path is not None:
        write_answer(json.dumps(answer), json_path)
        return 0
    click.echo(
        f"{number(found.total_params / 1e9)}B parameters ({number(found.active_params / 1e9)}B "
        f"active): {found.num_layers} layers of {found.hidden_size}, shaped like {like}"
    )
    click.echo(
        f"reaches {number(answer['tok_per_s_per_user'])} tok/s/user at "
        f"${number(answer['usd_per_mtok'])}/Mtok on {answer['num_accelerators']} {cluster.name} "
        f"with batch {answer['batch']}"
    )
    return 0
