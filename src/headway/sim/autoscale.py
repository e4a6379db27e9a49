"""Replicas that come and go within a run, as `headway.schedule.autoscale` wants them.

A replica is off (`on_ns` is NEVER), ordered (`ready_ns` is not), up, or leaving (`left_ns` is not
NEVER): then it gets no new requests, and is off once it has finished its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from headway.schedule.autoscale import WAITING, Autoscaler
from headway.sim.compile import compiled, rarely
from headway.sim.steps import num_requests
from headway.sim.world import NEVER, NONE, ReplicaState, ScalerState, World, dtype_of
from headway.sim.world import Records as States

TARGET = 10**9  # of one replica: loads are whole billionths of it


def scaler_table(rule: Autoscaler | None, start_ns: int) -> States:
    """Return the one record of an autoscaler that looks first at ``start_ns``, or of none."""
    table: Any = np.zeros(1, dtype=dtype_of(ScalerState))
    table[0]["next_ns"], table[0]["every_ns"] = NEVER, NONE
    if rule is not None:
        table[0]["min_replicas"] = rule.min_replicas
        table[0]["counts_waiting"] = rule.signal == WAITING
        for name in ("delay", "wait", "every"):
            table[0][f"{name}_ns"] = round(getattr(rule, f"{name}_s") * 1e9)
        table[0]["look_ns"] = table[0]["next_ns"] = start_ns if rule.every_s > 0 else NEVER
    return np.asarray(table)


@rarely
def scale(w: World, now: int) -> None:
    """Do what is due at ``now``: replicas that were ordered come up, then the signal is read."""
    scaler, replicas = w.scaler[0], w.replicas
    for k in range(len(replicas)):
        if replicas[k].ready_ns <= now:
            replicas[k].ready_ns = NEVER
            replicas[k].is_up = 1
    if scaler.look_ns <= now:
        look(w, now, 0)
        scaler.look_ns += scaler.every_ns
    set_next(w)


@rarely
def set_next(w: World) -> None:
    """Set when something is due again."""
    next_ns = w.scaler[0].look_ns
    for k in range(len(w.replicas)):
        next_ns = min(next_ns, w.replicas[k].ready_ns)
    w.scaler[0].next_ns = next_ns


@rarely
def look(w: World, now: int, arriving: int) -> None:
    """Order replicas or let some go, by the load at ``now`` and what is ``arriving``."""
    scaler, replicas = w.scaler[0], w.replicas
    load, num_on = arriving, 0
    for k in range(len(replicas)):
        load += _load(w, replicas[k], now)
        if replicas[k].left_ns != NEVER and num_requests(w, replicas[k], now) == 0:
            _switch_off(replicas[k], max(replicas[k].left_ns, replicas[k].end_ns))
        num_on += replicas[k].is_up != 0 or replicas[k].ready_ns != NEVER

    # The wish of now, and the largest one that still counts.
    wanted = min(max((load + TARGET - 1) // TARGET, scaler.min_replicas), len(replicas))
    w.wishes[wanted] = now
    max_on = len(replicas)
    while max_on > wanted and (
        w.wishes[max_on] == NONE or w.wishes[max_on] <= now - scaler.wait_ns
    ):
        max_on -= 1

    for k in range(len(replicas)):
        if num_on < wanted and replicas[k].on_ns == NEVER:
            replicas[k].on_ns = now
            replicas[k].is_up = scaler.delay_ns == 0
            replicas[k].ready_ns = now + scaler.delay_ns if scaler.delay_ns > 0 else NEVER
            num_on += 1

    # Orders are taken back first, then the last replicas go.
    for k in range(len(replicas) - 1, -1, -1):
        if num_on > max_on and replicas[k].ready_ns != NEVER:
            replicas[k].ready_ns = NEVER
            _switch_off(replicas[k], now)
            num_on -= 1
    for k in range(len(replicas) - 1, -1, -1):
        if num_on > max_on and replicas[k].is_up != 0:
            replicas[k].is_up = 0
            replicas[k].left_ns = now
            num_on -= 1


@compiled
def _switch_off(replica: ReplicaState, now: int) -> None:
    replica.paid_ns += now - replica.on_ns
    replica.on_ns = NEVER
    replica.left_ns = NEVER


@compiled
def _load(w: World, replica: ReplicaState, now: int) -> int:
    """Return what the requests of a replica add to the signal; those that are through, nothing."""
    if w.scaler[0].counts_waiting:
        return replica.num_waiting * w.requests[0].load
    load = replica.load
    ended = w.ended[replica.number]
    for k in range(replica.num_ended):
        if w.requests[ended[k]].last_ns < now:
            load -= w.requests[ended[k]].load
    return load


def close(replicas: States, end_ns: int) -> None:
    """Count what the replicas that an autoscaler leaves on at the end of a run have cost."""
    on = (replicas["on_ns"] != NEVER) & (replicas["on_ns"] != NONE)
    leaves = replicas["left_ns"] != NEVER
    until_ns = np.where(leaves, np.maximum(replicas["left_ns"], replicas["end_ns"]), end_ns)
    replicas["paid_ns"][on] += np.maximum(until_ns - replicas["on_ns"], 0)[on]
