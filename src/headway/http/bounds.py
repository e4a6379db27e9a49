"""What the wire holds, waits for and counts at most: one table, read by the code that keeps to it.

A bound is a field of a frozen dataclass whose metadata say whose it is and what happens beyond it,
so that documents show it, and a test walks it and tries each.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

CLIENT, ENGINE, RECORD = "client", "engine", "record"


@dataclass(frozen=True, slots=True)
class Bound:
    """What a bound is about.

    Attributes:
        where: at whose side: a client's, an engine's or the record's.
        what: it bounds.
        beyond: what happens then.

    """

    where: str
    what: str
    beyond: str


def bound(default: Any, where: str, what: str, beyond: str) -> Any:
    """Declare a field with its `Bound`; its name ends in the unit."""
    return field(default=default, metadata={"bound": Bound(where, what, beyond)})


@dataclass(frozen=True, slots=True)
class WireBounds:
    """Bounds that no configuration changes."""

    num_headers: int = bound(256, CLIENT, "headers of a request", "431, closed")
    early_body_bytes: int = bound(
        16_384, CLIENT, "body of a request that needs none or has no key", "413, closed"
    )
    num_fields: int = bound(200_000, CLIENT, "fields in a request's JSON", "400")
    num_commas: int = bound(1_000_000, CLIENT, "commas in a request's JSON, text included", "400")
    num_pipelined: int = bound(
        64, CLIENT, "requests behind one that is being answered", "those are answered, then closed"
    )
    unread_bytes: int = bound(
        256 * 1024, CLIENT, "sent and not read", "its engine pauses, its next request waits"
    )
    unread_s: float = bound(30.0, CLIENT, "for reading 64 KiB of what is unread", "closed")
    idle_s: float = bound(75.0, CLIENT, "without a request", "closed")
    spared_s: float = bound(
        1.0, CLIENT, "idle, with as many connections as the system allows", "closed for another"
    )
    linger_s: float = bound(0.5, CLIENT, "for reading a refusal", "closed")
    flush_s: float = bound(30.0, CLIENT, "for reading the last answers when we stop", "closed")

    quiet_bytes: int = bound(
        65_536, ENGINE, "head of an answer, or between parts of its body", "502, closed"
    )
    held_event_bytes: int = bound(
        256 * 1024, ENGINE, "of an event that is not complete", "it goes on as it comes"
    )
    fetched_bytes: int = bound(4 * 2**20, ENGINE, "its models, its metrics", "it counts as down")
    look_s: float = bound(5.0, ENGINE, "for its models or metrics", "it counts as down")
    pass_s: float = bound(
        0.02, ENGINE, "for company, of bytes after the first token, when busy", "read"
    )
    said_all_s: float = bound(
        0.5, ENGINE, "after the last event, for the end of the answer", "it is complete"
    )
    num_idle: int = bound(1024, ENGINE, "connections kept for the next request", "closed")
    kept_s: float = bound(30.0, ENGINE, "that a free connection is kept", "closed")
    renew_s: float = bound(
        60.0, ENGINE, "age of a connection to a name, which may have moved", "closed once free"
    )


BOUNDS = WireBounds()
UNREAD_STEP_BYTES = 65_536
