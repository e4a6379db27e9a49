"""A row of an answer that lists what is known of one thing, with the page each number is from."""

from __future__ import annotations

from dataclasses import dataclass

from headway.report.column import column


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of a data sheet."""

    fact: str = column("", "what it is")
    value: str = column("value", "with its unit")
    note: str | None = column("note", "what to know about the number", default=None)
    date: str | None = column("date", "when the source was read, or its own date", default=None)
    source: str | None = column("source", "where it was read", default=None)
