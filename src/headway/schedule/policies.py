"""Every order policy by its name, its time constants set for the place that it runs in.

A new policy is its own file and one line in `policies`.
"""

from __future__ import annotations

import numpy as np

from headway.errors import InputError, UnknownNameError
from headway.schedule.deadline import EarliestDeadline, Moore, Slack, StrictTiers
from headway.schedule.fair import FairShares
from headway.schedule.order import (
    Aging,
    Fcfs,
    HighestResponseRatio,
    OrderPolicy,
    ShortestJob,
    ShortestRemaining,
    order,
)
from headway.schedule.uncertain import (
    Boost,
    Gittins,
    HighestPriorityPoint,
    LeastUncertain,
    Shift,
    TailInflated,
    UncertaintyAware,
    WaitOverWork,
)
from headway.schedule.view import View

HEADWAY = "headway"  # ours: chosen by simulation where there is one, `headway.sim.tune`
HEADWAY_LATE_SHARE = 0.05


def policies(usual_wait_s: float = 5.0, usual_work_s: float = 0.05) -> dict[str, OrderPolicy]:
    """Return all policies by name, for a place with this wait and work of a request."""
    wait_s, work_s = max(usual_wait_s, 1e-3), max(usual_work_s, 1e-6)
    shift = Shift(window_s=wait_s, usual_work_s=work_s)

    objects: tuple[OrderPolicy, ...] = (
        Fcfs(),
        ShortestJob(),
        ShortestRemaining(),
        HighestResponseRatio(),
        # Policies that go by what was promised.
        EarliestDeadline(default_s=2 * wait_s),
        StrictTiers(default_s=2 * wait_s),
        Moore(),
        Slack(),
        # Policies that use the doubt of a prediction, not only its middle.
        UncertaintyAware(alpha=0.5, slack_s=2 * wait_s, mean_service_s=work_s),
        LeastUncertain(),
        LeastUncertain(longest_first=True, name="muf"),
        HighestPriorityPoint(prompt_token_s=wait_s / 1000),
        TailInflated(),
        Gittins(),
        Boost(gamma_per_s=1 / wait_s),
        Boost(gamma_per_s=1 / wait_s, uses_predictions=False, name="boost-blind"),
        # Policies that keep anybody from waiting for ever, or from another's share.
        Aging(rate=work_s / wait_s),
        FairShares(),
        shift,
        WaitOverWork(usual_work_s=work_s),
        # Ours, until a simulation has chosen among all of these: what was promised goes first, and
        # whoever cannot be in time, or was promised nothing, goes by work and wait.
        Moore(rest=shift, late_share=HEADWAY_LATE_SHARE, name=HEADWAY),
    )
    return {policy.name: policy for policy in objects}


def find_policy(name: str, usual_wait_s: float = 5.0, usual_work_s: float = 0.05) -> OrderPolicy:
    """Return the policy called ``name``; raise `UnknownNameError` with the nearest names."""
    by_name = policies(usual_wait_s, usual_work_s)
    if name not in by_name:
        raise UnknownNameError("policy", name, by_name)
    return by_name[name]


def check_policy(policy: OrderPolicy, view: View, now_s: float = 0.0) -> None:
    """Raise `InputError` unless ``policy`` orders ``view`` soundly, as it must before any traffic.

    Every request must come out exactly once, the same question must get the same answer, and a
    policy that preempts must keep its keys still.
    """
    rows, rows_again = order(policy, view, now_s), order(policy, view, now_s)

    if not np.array_equal(np.sort(rows), np.arange(len(view))):
        raise InputError(f"policy {policy.name} loses or repeats requests")
    if not np.array_equal(rows, rows_again):
        raise InputError(f"policy {policy.name} answers the same question differently")
    if policy.preempts and policy.keys(view).slope is not None:
        raise InputError(f"policy {policy.name} preempts with keys that change by themselves")
