"""Static batches once more, plainly: the rules of `headway.schedule`, asked one request at a time.

The compiled loop is held to it, end by end; it is far too slow for anything else.
"""

from __future__ import annotations

import math

import numpy as np

from headway.schedule.consolidate import Consolidation
from headway.schedule.order import OrderPolicy, order
from headway.schedule.view import Floats, Ints, View
from headway.sim.static_batch import BatchTime, Second
from headway.workload.oracle import Trace


def part_of(view: View, rows: Ints) -> View:
    """Return what is known of ``rows`` alone."""
    return View(
        arrival_s=view.arrival_s[rows],
        prompt_tokens=view.prompt_tokens[rows],
        quantiles=view.quantiles[rows],
        deadline_s=view.deadline_s[rows],
        produced_tokens=view.produced_tokens[rows],
        tenants=view.tenants[rows],
        service=view.service,
    )


def plain_ends_s(
    trace: Trace,
    view: View,
    policy: OrderPolicy,
    rule: Consolidation,
    *,
    time: BatchTime,
    second: Second | None,
) -> Floats:
    """Return when every answer is there."""
    n = len(trace)
    ends_s = np.full(n, np.nan)
    waiting: list[int] = []
    later = list(range(n))
    now_s, free_s, slow_free_s = 0.0, 0.0, 0.0
    while later or waiting:
        while later and trace.arrival_s[later[0]] <= now_s:
            waiting.append(later.pop(0))
        next_s = float(trace.arrival_s[later[0]]) if later else math.inf

        if waiting and free_s <= now_s:
            known = part_of(view, np.array(waiting))
            places = rule.batch(order(policy, known, now_s), known.at(0.5))
            rows = [waiting[place] for place in places]
            until_s = float(trace.arrival_s[rows].min()) + rule.window_s
            waits = len(rows) < rule.max_batch and now_s < until_s and next_s <= until_s
            if not waits:
                free_s = now_s + float(time.of(len(rows), trace.output_tokens[rows].max()))
                ends_s[rows] = free_s
                waiting = [row for row in waiting if row not in rows]

        if second is not None and waiting and slow_free_s <= now_s:
            row = _moved(waiting, view, policy, rule, time, second, now_s, free_s)
            if row is not None:
                slow_free_s = now_s + float(second.time.of(1, trace.output_tokens[row]))
                ends_s[row] = slow_free_s
                waiting.remove(row)

        if waiting:
            free = [free_s] if second is None else [free_s, slow_free_s]
            next_s = min([next_s, *(at_s for at_s in free if at_s > now_s)])
        now_s = max(now_s, next_s) if next_s < math.inf else now_s
    return ends_s


def _moved(
    waiting: list[int],
    view: View,
    policy: OrderPolicy,
    rule: Consolidation,
    time: BatchTime,
    second: Second,
    now_s: float,
    free_s: float,
) -> int | None:
    """Return who goes to the second engine, if that pays."""
    known = part_of(view, np.array(waiting))
    upper = known.at(second.offload.level)
    place = int(np.argmax(upper))
    keys = policy.keys(known).at(now_s)
    batches_ahead = int(np.sum(keys < keys[place])) // rule.max_batch

    size = rule.max_batch
    backlog_s = max(free_s - now_s, 0.0) + batches_ahead * float(time.of(size, upper.mean()))
    held_up_s = (len(waiting) - 1) * float(time.of(size, upper[place])) / size
    pays = second.offload.pays(known, place, backlog_s, 0.0, held_up_s)
    return waiting[place] if pays else None
