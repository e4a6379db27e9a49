"""What must hold of every run, whatever the policy: checked afterwards, on what was recorded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headway.errors import HeadwayError
from headway.sim.outcome import Outcome
from headway.sim.world import NONE


class BrokenLawError(HeadwayError):
    """A run broke a law: the simulator is wrong, not the input."""


@dataclass(frozen=True, slots=True)
class Law:
    """One law, whether it holds, and the figures that say so."""

    name: str
    holds: bool
    evidence: str


def check(outcome: Outcome) -> None:
    """Raise `BrokenLawError` unless every law holds."""
    broken = [f"{law.name}: {law.evidence}" for law in laws(outcome) if not law.holds]
    if broken:
        raise BrokenLawError("the simulator broke its own laws: " + "; ".join(broken))


def laws(outcome: Outcome) -> tuple[Law, ...]:
    """Check a run against every law."""
    return (
        _conservation(outcome),
        _causality(outcome),
        _memory(outcome),
        _work_conservation(outcome),
        _little(outcome),
        _tokens(outcome),
    )


def _conservation(outcome: Outcome) -> Law:
    """Every request ends exactly once, or was refused, or waits for a pool that stays down."""
    replicas, records = outcome.replicas, outcome.records
    unfinished = ~records.done & ~records.rejected
    pools_up = set(replicas["pool"][replicas["is_up"] == 1])
    lost = int(unfinished.sum()) if pools_up == set(replicas["pool"]) else 0

    ends = outcome.requests[records.done]
    wrong = int((ends["produced_tokens"] != ends["output_tokens"]).sum())
    inside = (
        "num_decodes", "kv_tokens", "base_squares", "num_running", "num_waiting", "output_tokens",
        "prompt_tokens", "load",
    )  # fmt: skip
    rest = sum(int(np.abs(replicas[name]).sum()) for name in inside)
    return Law(
        "conservation",
        lost == 0 and wrong == 0 and rest == 0,
        f"{lost} requests lost, {wrong} of the wrong length, {rest} left behind",
    )


def _causality(outcome: Outcome) -> Law:
    """Arrival, first schedule, first token and last token come in this order."""
    ends = outcome.requests[outcome.records.done]
    moments = [ends[name] for name in ("arrival_ns", "admitted_ns", "first_ns", "last_ns")]
    backwards = int((np.diff(np.stack(moments), axis=0) < 0).any(axis=0).sum())
    return Law("causality", backwards == 0, f"{backwards} requests run backwards in time")


def _memory(outcome: Outcome) -> Law:
    """Free blocks are never below zero, and all are given back."""
    replicas = outcome.replicas
    min_free = int(replicas["min_free_blocks"].min())
    leaks = int((replicas["free_blocks"] != replicas["num_blocks"]).sum())
    overcounts = int((replicas["cached_blocks"] > replicas["free_blocks"]).sum())
    return Law(
        "memory",
        min_free >= 0 and leaks == 0 and overcounts == 0,
        f"least free blocks {min_free}, {leaks} replicas leak, {overcounts} overcount",
    )


def _work_conservation(outcome: Outcome) -> Law:
    """No replica idles beside waiting work, and none works longer than the run."""
    requests, replicas = outcome.requests, outcome.replicas
    idle = int(replicas["idle_violations"].sum())
    span_ns = int(requests["last_ns"].max(initial=NONE)) - int(requests["arrival_ns"].min())
    scaled = bool(replicas["paid_ns"].any())
    on_ns = replicas["paid_ns"] if scaled else max(span_ns, 0)
    overtime = int((replicas["busy_ns"] > on_ns).sum())
    return Law(
        "work conservation",
        idle == 0 and overtime == 0,
        f"{idle} idle instants beside waiting work, {overtime} replicas busier than they were on",
    )


def _little(outcome: Outcome) -> Law:
    """The area under the number in the system, event by event, is the sum of sojourns."""
    ends = outcome.requests[outcome.records.done]
    if len(ends) == 0:
        return Law("Little", True, "nothing to measure")

    times = np.concatenate([ends["arrival_ns"], ends["last_ns"]])
    change = np.repeat([1, -1], len(ends))
    order = np.argsort(times, kind="stable")
    inside = np.cumsum(change[order])[:-1]
    area = int((inside * np.diff(times[order])).sum())
    sojourns = int((ends["last_ns"] - ends["arrival_ns"]).sum())
    return Law("Little", area == sojourns, f"area {area} ns, sojourns {sojourns} ns")


def _tokens(outcome: Outcome) -> Law:
    """Every token but a request's first ends one gap, and gaps fill the time between them."""
    done = outcome.records.done
    if not np.array_equal(done, ~outcome.records.rejected):
        return Law("tokens", True, "some requests have not ended")

    ends = outcome.requests[done]
    expected, counted = int((ends["output_tokens"] - 1).sum()), len(outcome.gaps)
    between_s = float((ends["last_ns"] - ends["first_ns"]).sum()) * 1e-9
    gaps_s = outcome.gaps.total_s
    return Law(
        "tokens",
        counted == expected and abs(gaps_s - between_s) <= 0.004 * between_s,
        f"{counted} gaps of {expected}, {gaps_s:g} s of {between_s:g} s",
    )
