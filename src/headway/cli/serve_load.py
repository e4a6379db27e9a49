"""What `estimate --engine` prints: one load in full, several as a table, or two stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headway.cli.serving import question_of, serving_report
from headway.cli.serving_facts import LEVELS, serving_facts
from headway.cli.show import deliver, deliver_facts
from headway.errors import InputError
from headway.steptime.parallelism import Parallelism

Files = tuple[str | None, Path | None, Path | None]


def estimate_load(
    load: dict[str, Any],
    layout: Parallelism | None,
    accelerators: int | None,
    options: dict[str, Any],
    files: Files,
) -> None:
    """Answer and deliver the load of the options to ``files``: JSON, HTML, PNG."""
    if load["disaggregate"] is not None:
        from headway.cli.disaggregated import disaggregated_report
        from headway.cli.disaggregated_facts import COLUMNS, disaggregated_facts

        report = disaggregated_report(load, layout, accelerators, options)
        if accelerators is None:
            deliver_facts(report, disaggregated_facts(report.rows[0]), *files)
        else:
            deliver(report, COLUMNS, *files)
        return
    if accelerators is not None:
        raise InputError("--engine takes a layout (--tp, --pp, --dp, --ep), not --accelerators")
    check_alone(load)
    question, tariff, notes = question_of(load, layout, options)
    report = serving_report(question, tariff, load, notes)
    if len(report.rows) == 1:
        deliver_facts(report, serving_facts(report.rows[0]), *files)
    else:
        deliver(report, LEVELS, *files)


def check_alone(load: dict[str, Any]) -> None:
    """Raise `InputError` where part of a disaggregation is given without it."""
    names = ("kv_link", "prefill_on", "prefill_tp", "prefill_pp", "prefill_dp", "prefill_ep")
    for name in names:
        if load[name] is not None:
            raise InputError(
                f"--{name.replace('_', '-')} goes with --disaggregate, such as --disaggregate 1x1"
            )
