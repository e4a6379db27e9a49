"""Engines that keep a batch until its longest answer ends: RT-LM's setting.

A batch takes ``fixed + per token x longest answer``. When the engine is free it asks the policy for
an order and the consolidation rule for a batch; an offload rule may send long answers to a second
engine that takes one at a time. Batches are few, so this is plain Python.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headway.errors import InputError
from headway.schedule.consolidate import Consolidation
from headway.schedule.offload import Offload
from headway.schedule.order import OrderPolicy, order
from headway.schedule.view import Floats, Ints, View
from headway.sim.site import Pool
from headway.workload.oracle import Trace
from headway.workload.record import Records


@dataclass(frozen=True, slots=True)
class BatchTime:
    """Seconds of a batch: ``fixed_s + token_s x longest answer``, whatever its size."""

    fixed_s: float
    token_s: float

    def __post_init__(self) -> None:
        if self.fixed_s < 0 or self.token_s <= 0:
            raise InputError("a batch must take some time per token")

    def of(self, longest_tokens: int) -> float:
        """Seconds."""
        return self.fixed_s + self.token_s * longest_tokens


def batch_time(pool: Pool, trace: Trace, max_batch: int) -> BatchTime:
    """What a full batch of requests as in ``trace`` takes on ``pool``, from its step times.

    The prompts are prefilled together; then every step decodes the whole batch, also for answers
    that have ended, at the mean context.
    """
    prompt = float(trace.prompt_tokens.mean())
    context = prompt + float(trace.output_tokens.mean()) / 2
    table, new = pool.table, max(1, int(prompt * max_batch))
    most = pool.engine.max_num_batched_tokens if pool.engine.chunked_prefill else new
    chunk = min(new, most)
    one = table.mixed_step_ns(0, 0, chunk, int(chunk * prompt / 2))
    kv = int(max_batch * context)
    step = table.decode_step_ns(max_batch, kv)
    return BatchTime(one * max(new / most, 1.0) * 1e-9, step * 1e-9)


def rows_of(view: View, rows: Ints) -> View:
    """The part of ``view`` that waits now."""
    return View(
        view.arrival_s[rows],
        view.prompt_tokens[rows],
        view.quantiles[rows],
        view.deadline_s[rows],
        view.produced_tokens[rows],
        view.tenants[rows],
        view.service,
        view.history,
    )


def serve_batches(
    trace: Trace,
    view: View,
    policy: OrderPolicy,
    rule: Consolidation,
    fast: BatchTime,
    offload: Offload | None = None,
    slow: BatchTime | None = None,
    overhead_s: float = 0.0,
) -> Records:
    """Serve ``trace`` in static batches.

    Args:
        trace: what really happens.
        view: what is known, a row per request.
        policy: the order.
        rule: what shares a batch.
        fast: time of a batch on the engine.
        offload: which requests may go to the second engine; none without.
        slow: time of one request there.
        overhead_s: prediction, per request, spent before it can be scheduled.

    """
    if (offload is None) != (slow is None):
        raise InputError("offloading needs both a rule and a second engine")
    n = len(trace)
    ready = trace.arrival_s + overhead_s
    ends: Floats = np.full(n, np.nan)
    waiting: list[int] = []
    free_s, slow_free_s, now, arrived = 0.0, 0.0, 0.0, 0
    usual_s = float(np.median(view.service_s))
    while arrived < n or waiting:
        now = max(now, free_s)
        if not waiting:
            now = max(now, float(ready[arrived]))
        while arrived < n and ready[arrived] <= now:
            row = arrived
            arrived += 1
            backlog_s = len(waiting) / rule.max_batch * usual_s + max(free_s - ready[row], 0.0)
            if (
                offload is not None
                and slow is not None
                and offload.pays(view, row, backlog_s, max(slow_free_s - float(ready[row]), 0.0))
            ):
                slow_free_s = max(slow_free_s, float(ready[row])) + slow.of(
                    int(trace.output_tokens[row])
                )
                ends[row] = slow_free_s
            else:
                waiting.append(row)
        if not waiting:
            continue
        rows = np.array(waiting, dtype=np.int64)
        seen = rows_of(view, rows)
        chosen = [waiting[k] for k in rule.batch(order(policy, seen, now), seen.at(0.5))]
        # An unfilled batch waits for company, but not beyond the window of its eldest.
        until = min(float(ready[r]) for r in chosen) + rule.window_s
        if len(chosen) < rule.max_batch and arrived < n and ready[arrived] <= until and now < until:
            now = float(ready[arrived])
            continue
        gone = set(chosen)
        waiting = [row for row in waiting if row not in gone]
        free_s = now + fast.of(int(trace.output_tokens[chosen].max()))
        ends[chosen] = free_s
    return Records(
        trace.arrival_s, ends, ends, trace.prompt_tokens, trace.output_tokens,
        np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.bool_),
    )  # fmt: skip
