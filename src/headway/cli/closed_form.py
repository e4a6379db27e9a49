"""`headway closed-form`: the back of the envelope."""

from __future__ import annotations

import click

from headway.cli.files import json_option
from headway.cli.options import find_clusters, number_option, only
from headway.cli.show import deliver_facts, number
from headway.model.catalogue import find_model, find_precision
from headway.model.precision import Precision
from headway.papers.erdil_2025.envelope import closed_form as closed_form_report
from headway.report.report import Row


@click.command()
@click.argument("model")
@click.option("--on", required=True, metavar="NAME", help="Catalogue name or your own .toml file.")
@click.option("--precision", metavar="W[/A[/KV]]", help="Default: as the model was published.")
@number_option("--hop-us", "time of a hop in us", "One hop of a reduction, us.", default="1")
@number_option("--price", "price in $ per accelerator-hour", "$ per accelerator-hour.")
@json_option()
def closed_form(
    model: str,
    on: str,
    precision: str | None,
    hop_us: float,
    price: float | None,
    json_path: str | None,
) -> None:
    """Print the fastest cluster N*, the least time per token, and what that costs."""
    chosen = Precision.parse(precision) if precision else find_precision(model)
    cluster = only(find_clusters(on, price))
    report = closed_form_report(find_model(model), chosen, cluster, hop_us * 1e-6)
    deliver_facts(report, facts(report.rows[0]), json_path, None, None)


def facts(row: Row) -> list[tuple[str, str, str]]:
    """Label, value and remark of every line."""

    def milliseconds(key: str) -> str:
        return f"{number(float(row[key] or 0) * 1e3, 4)} ms"

    speed, cost = number(row["tok_per_s_per_user"], 4), number(row["usd_per_mtok"])
    return [
        ("weights read once", milliseconds("read_s"), "by one accelerator"),
        ("one hop everywhere", milliseconds("hops_s"), "all reductions of a pass"),
        (
            "critical batch b*",
            number(row["critical_batch"], 4),
            "arithmetic takes as long as memory",
        ),
        ("N*", number(row["num_accelerators"], 4), "accelerators of the fastest cluster"),
        ("t_min", milliseconds("step_s"), f"{speed} tok/s/user"),
        ("cost at t_min", f"${cost}/Mtok", "at b* sequences"),
        ("floor", f"${number(row['usd_per_mtok_floor'])}/Mtok", "arithmetic alone, fully used"),
    ]
