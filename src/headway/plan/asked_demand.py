"""Who asks, as people say it: users, a rate, a profile or a trace, and lengths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from headway.errors import InputError
from headway.plan.demand import Demand, scaled_lengths, steady_profile
from headway.plan.prometheus import read_prometheus
from headway.plan.stream import Stream
from headway.plan.users import Users
from headway.sim.source import Workload
from headway.workload.objective import Objective
from headway.workload.oracle import Trace
from headway.workload.profile import find_profile

DEFAULT_PROMPT, DEFAULT_OUTPUT = 2000, 400


def demand_of(
    *,
    users: int | None,
    think_s: float,
    turns: int,
    rate: float | None,
    trace: str | Path | Trace | None,
    prometheus: str | Path | None,
    workload: str | None,
    prompt: float | None,
    output: float | None,
    lengths: str,
    objectives: Sequence[Objective],
    max_context_tokens: int | None,
) -> Demand:
    """Return who asks; raise `InputError` for arguments that do not go together."""
    kinds = sum(kind is not None for kind in (users, trace, prometheus))
    if kinds > 1 or (users is not None and rate is not None):
        raise InputError(
            "give one of users, rate, trace and prometheus: each says how much is asked"
        )
    if users is None and turns != 1:
        raise InputError("turns belong to users; give their number, too")
    recorded = (trace, prometheus, workload)
    if any(kind is not None for kind in recorded) and not (prompt is None and output is None):
        raise InputError("a trace or a workload has its own lengths: leave out prompt and output")

    # Requests as they came, or as a profile has them.
    if prometheus is not None:
        return read_prometheus(prometheus, rate, max_context_tokens)
    if trace is not None:
        requests = Workload.of(trace).draw(0)
        return Stream(requests, rate or requests.rate_rps, max_context_tokens=max_context_tokens)
    if workload is not None and users is None:
        profile = find_profile(workload)
        return Stream(profile, rate or profile.rate_rps, max_context_tokens=max_context_tokens)

    # Requests of stated means.
    prompt, output = prompt or DEFAULT_PROMPT, output or DEFAULT_OUTPUT
    if workload is not None:
        table = find_profile(workload).lengths
    else:
        table = scaled_lengths(prompt, output, None if lengths == "fixed" else lengths)
    if users is not None:
        return Users(
            users,
            think_s,
            table,
            turns=turns,
            e2e_guess_s=_longest_s(objectives, output),
            max_context_tokens=max_context_tokens,
        )
    if rate is None:
        raise InputError(
            "say how much is asked: users, a rate in requests/s, a trace, or what Prometheus says"
        )
    profile = steady_profile(table, f"{prompt:g} tokens in, {output:g} out", rate)
    return Stream(profile, rate, max_context_tokens=max_context_tokens)


def _longest_s(objectives: Sequence[Objective], output_tokens: float) -> float:
    """Return what an answer may take by the objectives, roughly."""
    bounds_s = {objective.quantity: objective.bound_s for objective in objectives}
    if "e2e" in bounds_s:
        return bounds_s["e2e"]
    return bounds_s.get("ttft", 1.0) + output_tokens * bounds_s.get("tpot", 0.03)
