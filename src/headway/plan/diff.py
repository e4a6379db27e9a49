"""What changed between two plans: fleet, price, certainty, and the question itself."""

from __future__ import annotations

from typing import Any

from headway.errors import InputError
from headway.report.report import Report

FLEET = ("accelerator", "replicas", "layout", "engine", "num_accelerators")


def changes(old: Report[Any], new: Report[Any]) -> list[str]:
    """Return in words how the best fleet of ``new`` differs from that of ``old``.

    Raises:
        InputError: ``old`` is no plan.

    """
    if old.kind != "plan":
        raise InputError(f"a plan is compared with a plan, not with a report of {old.kind!r}")
    lines = [
        f"asked: {name} was {old.question.get(name)}, is {value}"
        for name, value in new.question.items()
        if name in old.question and old.question[name] != value
    ]
    if not old.rows or not new.rows:
        return [*lines, f"was: {old.title}"] if old.title != new.title else lines

    # The first row is what is bought.
    before, now = old.rows[0], new.rows[0]
    if any(getattr(before, name) != getattr(now, name) for name in FLEET):
        lines.append(f"fleet: was {_fleet(before)}, is {_fleet(now)}")
    for name, words in (("usd_per_hour", "${:,.2f}/h"), ("probability", "{:.0%} sure")):
        was, value = getattr(before, name), getattr(now, name)
        if was is not None and value is not None and words.format(was) != words.format(value):
            lines.append(f"was {words.format(was)}, is {words.format(value)}")
    return lines or ["nothing changed"]


def _fleet(row: Any) -> str:
    return (
        f"{row.num_accelerators} x {row.accelerator} ({row.replicas} x {row.layout}, {row.engine})"
    )
