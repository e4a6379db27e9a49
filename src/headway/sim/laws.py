"""What must hold of every run, whatever the policy: checked afterwards, on what was recorded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headway.errors import HeadwayError
from headway.sim.simulate import Outcome
from headway.sim.state import (
    ADMITTED_,
    ARRIVAL_,
    BUSY_NS,
    CACHED,
    CAPACITY,
    DECODES,
    FIRST_,
    FREE,
    IDLE_VIOLATIONS,
    KV,
    LAST_,
    LEAST_FREE,
    NONE,
    OUTPUT_,
    PRODUCED_,
    RUNNING,
    UP,
    WAITING,
)


class BrokenLawError(HeadwayError):
    """A run broke a law: the simulator is wrong, not the input."""


@dataclass(frozen=True, slots=True)
class Law:
    """One law and whether it held."""

    name: str
    holds: bool
    said: str


def laws(outcome: Outcome) -> tuple[Law, ...]:
    """Check a run.

    Conservation: every request ends exactly once, or was refused for a reason, or waits for a
    replica that never came back; nothing is left behind in a replica. Causality: arrival, first
    schedule, first token, last token in this order. Memory: free blocks never below zero, all
    given back. Work conservation: no replica idles beside waiting work. Little: the time average
    of the requests in the system is rate times mean sojourn. Tokens: every token but a request's
    first ends one gap, and a request's gaps fill the time from its first token to its last.
    """
    q, rows = outcome.q, outcome.rows
    records = outcome.records
    up = rows[:, UP] == 1
    unfinished = ~records.done & ~records.rejected
    lost = int(unfinished.sum()) if np.all(up) else 0
    produced = int((q[records.done, PRODUCED_] != q[records.done, OUTPUT_]).sum())
    left = int(rows[:, [DECODES, KV, RUNNING, WAITING]].sum())
    order = q[records.done][:, [ARRIVAL_, ADMITTED_, FIRST_, LAST_]]
    backwards = int((np.diff(order, axis=1) < 0).any(axis=1).sum())
    least, capacity = rows[:, LEAST_FREE], rows[:, CAPACITY]
    leaked = int((rows[:, FREE] != capacity).sum())
    uncounted = int((rows[:, CACHED] > rows[:, FREE]).sum())
    idle = int(rows[:, IDLE_VIOLATIONS].sum())
    span = int(q[:, LAST_].max(initial=NONE)) - int(q[:, ARRIVAL_].min())
    overtime = int((rows[:, BUSY_NS] > max(span, 0)).sum())
    return (
        Law("conservation", lost == 0 and produced == 0 and left == 0,
            f"{lost} requests lost, {produced} of the wrong length, {left} left behind"),
        Law("causality", backwards == 0, f"{backwards} requests run backwards in time"),
        Law("memory", bool(np.all(least >= 0)) and leaked == 0 and uncounted == 0,
            f"least free blocks {int(least.min())}, {leaked} replicas leak, {uncounted} overcount"),
        Law("work conservation", idle == 0 and overtime == 0,
            f"{idle} idle instants beside waiting work, {overtime} replicas busier than the clock"),
        _little(outcome),
        _tokens(outcome),
    )  # fmt: skip


def check(outcome: Outcome) -> None:
    """Raise `BrokenLawError` unless every law holds."""
    broken = [f"{law.name}: {law.said}" for law in laws(outcome) if not law.holds]
    if broken:
        raise BrokenLawError("the simulator broke its own laws: " + "; ".join(broken))


def _little(outcome: Outcome) -> Law:
    """The area under the number in the system, event by event, against the sum of sojourns."""
    q = outcome.q[outcome.records.done]
    if len(q) == 0:
        return Law("Little", True, "nothing to measure")
    times = np.concatenate([q[:, ARRIVAL_], q[:, LAST_]])
    change = np.repeat([1, -1], len(q))
    order = np.argsort(times, kind="stable")
    inside = np.cumsum(change[order])[:-1]
    area = int((inside * np.diff(times[order])).sum())
    sojourns = int((q[:, LAST_] - q[:, ARRIVAL_]).sum())
    return Law("Little", area == sojourns, f"area {area} ns, sojourns {sojourns} ns")


def _tokens(outcome: Outcome) -> Law:
    done = outcome.records.done
    q = outcome.q[done]
    if not np.array_equal(done, ~outcome.records.rejected):
        return Law("tokens", True, "some requests have not ended")
    expected, counted = int((q[:, OUTPUT_] - 1).sum()), len(outcome.gaps)
    between_s, gaps_s = float((q[:, LAST_] - q[:, FIRST_]).sum()) * 1e-9, outcome.gaps.total_s
    return Law(
        "tokens",
        counted == expected and abs(gaps_s - between_s) <= 0.004 * between_s,
        f"{counted} gaps of {expected}, {gaps_s:g} s of {between_s:g} s",
    )
