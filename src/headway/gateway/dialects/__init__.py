"""The names under which engines publish their queue: one TOML file for each dialect.

A file names the gauges of requests that run and of requests that wait; several are summed. It may
name the field in which requests bring what the engine's API does not know. A new dialect is a new
file in this folder.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from headway.errors import InputError

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


@dataclass(frozen=True, slots=True)
class Dialect:
    """Names of Prometheus gauges.

    Attributes:
        engine: who speaks it.
        running: gauges of requests that the engine works on.
        waiting: gauges of requests that wait in it.
        looked_up: counters of tokens of prompts, looked for in its prefix cache; may be none.
        cached: counters of those that it found there.
        extra_arguments: field of a request for what the engine's API does not know; may be none.

    """

    engine: str
    running: tuple[str, ...]
    waiting: tuple[str, ...]
    looked_up: tuple[str, ...] = ()
    cached: tuple[str, ...] = ()
    extra_arguments: str = ""

    def __post_init__(self) -> None:
        for name in (*self.running, *self.waiting, *self.looked_up, *self.cached):
            if not _NAME.fullmatch(name):
                raise InputError(f"dialect {self.engine} names {name!r}, which is no metric's name")
        if not self.running or not self.waiting:
            raise InputError(f"dialect {self.engine} needs gauges of running and waiting requests")

    @classmethod
    def parse(cls, text: str) -> Dialect:
        """Return the dialect that a file describes."""
        tree = tomllib.loads(text)
        return cls(
            engine=tree["engine"],
            running=tuple(tree["running"]),
            waiting=tuple(tree["waiting"]),
            looked_up=tuple(tree.get("looked_up", ())),
            cached=tuple(tree.get("cached", ())),
            extra_arguments=tree.get("extra_arguments", ""),
        )


@dataclass(frozen=True, slots=True)
class EngineQueue:
    """Requests that an engine works on, and requests that wait in it.

    ``prompt_tokens`` were looked for in its prefix cache so far, and ``cached_tokens`` of them
    found; ``None`` if it does not say. ``extra_arguments`` is the field of its dialect.
    """

    running: float
    waiting: float
    prompt_tokens: float | None = None
    cached_tokens: float | None = None
    extra_arguments: str = ""


@cache
def shipped_dialects() -> tuple[Dialect, ...]:
    """Return the dialects of this folder, by name of file."""
    folder = files("headway.gateway.dialects")
    paths = sorted((p for p in folder.iterdir() if p.name.endswith(".toml")), key=lambda p: p.name)
    return tuple(Dialect.parse(path.read_text("utf-8")) for path in paths)


def queue_of(text: bytes, dialects: Sequence[Dialect] = ()) -> EngineQueue | None:
    """Return the queue that metrics in Prometheus' ``text`` format tell, ``None`` if none.

    ``dialects`` are those that are tried, in this order; the shipped ones by default.
    """
    for dialect in dialects or shipped_dialects():
        running, waiting = _sum(text, dialect.running), _sum(text, dialect.waiting)
        if running is not None and waiting is not None:
            looked_up = _sum(text, dialect.looked_up) if dialect.looked_up else None
            cached = _sum(text, dialect.cached) if dialect.cached else None
            return EngineQueue(running, waiting, looked_up, cached, dialect.extra_arguments)
    return None


def _sum(text: bytes, names: tuple[str, ...]) -> float | None:
    """Return the sum of all values of the gauges ``names``; ``None`` where there is none."""
    try:
        values = [float(value) for value in _gauge(names).findall(text)]
    except ValueError:
        return None
    return sum(values) if values else None


@cache
def _gauge(names: tuple[str, ...]) -> re.Pattern[bytes]:
    alternatives = "|".join(re.escape(name) for name in names)
    line = rf"^(?:{alternatives})(?:\{{[^}}\n]*\}})?\s+([0-9.eE+]+)"
    return re.compile(line.encode(), re.MULTILINE)
