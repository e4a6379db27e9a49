"""How many replicas there should be: a target for each of them, as KEDA divides a metric by one."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from headway.errors import InputError, UnknownNameError
from headway.schedule.view import Floats, ServiceTime
from headway.units import check_positive, parse_positive, parse_time_s

WORK, REQUESTS, WAITING = "work", "requests", "waiting"
SIGNALS = (WORK, REQUESTS, WAITING)
EXAMPLE = "work 60s, 1..8, delay 90s, wait 5m, every 15s"
MAX_REPLICAS = 4096
ALONE = ServiceTime()
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscaler:
    """A fleet that follows its load.

    There should be as many replicas as the signal has targets, rounded up, within two bounds. More
    are ordered at once; fewer only when no look within the last ``wait_s`` wanted more. A replica
    that goes takes no new requests and finishes those that it has.

    Attributes:
        signal: ``work``, seconds of the requests that wait or run, prompts and predicted answers,
            as the gateway publishes (``headway:predicted_work_seconds``); ``requests``, their
            number; ``waiting``, the number of those that wait.
        target: what one replica should have of it.
        min_replicas, max_replicas: bounds; a run begins with the smaller.
        delay_s: from ordering a replica, which is when it begins to cost, until it serves.
        wait_s: of how long a time the largest wish counts before the fleet shrinks.
        every_s: between two looks at the signal; with 0 at every arrival, before it is routed.
        service: what a request takes an engine that has it alone: prices the work.

    """

    signal: str = WORK
    target: float
    min_replicas: int = 1
    max_replicas: int
    delay_s: float = 0.0
    wait_s: float = 300.0
    every_s: float = 15.0
    service: ServiceTime = ALONE

    def __post_init__(self) -> None:
        if self.signal not in SIGNALS:
            raise UnknownNameError("signal", self.signal, SIGNALS)
        check_positive(self.target, f"target of {self.signal}", maximum=1e9)
        if not 1 <= self.min_replicas <= self.max_replicas <= MAX_REPLICAS:
            raise InputError(
                f"an autoscaler has 1 to {MAX_REPLICAS} replicas, the fewest first, such as 1..8, "
                f"not {self.min_replicas}..{self.max_replicas}"
            )
        if min(self.delay_s, self.wait_s, self.every_s) < 0:
            raise InputError("times of an autoscaler must not be negative")

    def __str__(self) -> str:
        unit = "s" if self.signal == WORK else ""
        return (
            f"{self.signal} {self.target:g}{unit}, {self.min_replicas}..{self.max_replicas}, "
            f"delay {self.delay_s:g}s, wait {self.wait_s:g}s, every {self.every_s:g}s"
        )

    def shares(self, prompt_tokens: Floats, predicted_tokens: Floats) -> Floats:
        """Return what every request adds to the signal while it is there, in targets."""
        if self.signal != WORK:
            return np.full(len(prompt_tokens), 1 / self.target)
        return self.service.of(prompt_tokens, predicted_tokens) / self.target

    def wanted(self, targets: float) -> int:
        """Return how many replicas there should be when the signal has so many targets."""
        return min(max(math.ceil(targets), self.min_replicas), self.max_replicas)


def parse_autoscaler(text: str) -> Autoscaler:
    """Return the autoscaler in ``text``: ``work 60s, 1..8, delay 90s, wait 5m, every 15s``.

    Raises:
        InputError: ``text`` is none.

    """
    first, *others = (part.strip() for part in text.lower().split(","))
    signal, _, target = first.partition(" ")
    times: dict[str, Any] = {}  # fields of an autoscaler, all of them seconds
    bounds: tuple[int, int] | None = None
    if signal not in SIGNALS or not target:
        raise _refused(text)

    for part in others:
        name, _, value = part.partition(" ")
        between = _RANGE.fullmatch(part)
        if between is not None:
            bounds = (int(between[1]), int(between[2]))
        elif name in ("delay", "wait", "every") and value:
            times[f"{name}_s"] = parse_time_s(value, name, zero=True)
        else:
            raise _refused(text)
    if bounds is None:
        raise _refused(text)
    is_time = signal == WORK
    return Autoscaler(
        signal=signal,
        target=parse_time_s(target, signal) if is_time else parse_positive(target, signal),
        min_replicas=bounds[0],
        max_replicas=bounds[1],
        **times,
    )


def _refused(text: str) -> InputError:
    return InputError(
        f"an autoscaler is a signal ({', '.join(SIGNALS)}) with its target and the fewest and most "
        f"replicas, such as {EXAMPLE!r}, not {text[:60]!r}"
    )
