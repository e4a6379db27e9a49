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
        """Return seconds."""
        return self.fixed_s + self.token_s * longest_tokens


def batch_time(pool: Pool, trace: Trace, max_batch: int) -> BatchTime:
    """Return what a full batch of requests as in ``trace`` takes on ``pool``, by its step times.

    The prompts are prefilled together; then every step decodes the whole batch, also for answers
    that have ended, at the mean context.
    """
    prompt = float(trace.prompt_tokens.mean())
    context = prompt + float(trace.output_tokens.mean()) / 2
    new = max(1, int(prompt * max_batch))
    max_tokens = pool.engine.max_num_batched_tokens if pool.engine.chunked_prefill else new

    chunk = min(new, max_tokens)
    chunk_ns = pool.table.mixed_step_ns(0, 0, chunk, int(chunk * prompt / 2))
    step_ns = pool.table.decode_step_ns(max_batch, int(max_batch * context))
    return BatchTime(chunk_ns * max(new / max_tokens, 1.0) * 1e-9, step_ns * 1e-9)


@dataclass(frozen=True, slots=True)
class Second:
    """A second engine, for long answers.

    Attributes:
        offload: which requests may go there.
        time: of one request.

    """

    offload: Offload
    time: BatchTime


def serve_batches(
    trace: Trace,
    view: View,
    policy: OrderPolicy,
    rule: Consolidation,
    *,
    time: BatchTime,
    second: Second | None = None,
    overhead_s: float = 0.0,
) -> Records:
    """Serve ``trace`` in static batches.

    Args:
        trace: what really happens.
        view: what is known, a row per request.
        policy: the order.
        rule: what shares a batch.
        time: of a batch on the engine.
        second: engine for long answers, if there is one.
        overhead_s: prediction, per request, spent before it can be scheduled.

    """
    n = len(trace)
    ready_s = trace.arrival_s + overhead_s
    ends_s: Floats = np.full(n, np.nan)
    waiting: list[int] = []
    free_s, second_free_s, now, num_arrived = 0.0, 0.0, 0.0, 0
    usual_s = float(np.median(view.service_s))
    while num_arrived < n or waiting:
        now = max(now, free_s)
        if not waiting:
            now = max(now, float(ready_s[num_arrived]))

        # Whoever has come: to the second engine where that pays, else to the queue.
        while num_arrived < n and ready_s[num_arrived] <= now:
            row, at_s = num_arrived, float(ready_s[num_arrived])
            num_arrived += 1
            backlog_s = len(waiting) / rule.max_batch * usual_s + max(free_s - at_s, 0.0)
            wait_s = max(second_free_s - at_s, 0.0)
            if second is not None and second.offload.pays(view, row, backlog_s, wait_s):
                own_s = second.time.of(int(trace.output_tokens[row]))
                second_free_s = max(second_free_s, at_s) + own_s
                ends_s[row] = second_free_s
            else:
                waiting.append(row)
        if not waiting:
            continue

        # A batch, in the order of the policy.
        waiting_view = _part_of(view, np.array(waiting, dtype=np.int64))
        places = rule.batch(order(policy, waiting_view, now), waiting_view.at(0.5))
        batch = [waiting[place] for place in places]

        # An unfilled batch waits for company, but not beyond the window of its eldest.
        until_s = min(float(ready_s[row]) for row in batch) + rule.window_s
        company = num_arrived < n and ready_s[num_arrived] <= until_s
        if len(batch) < rule.max_batch and company and now < until_s:
            now = float(ready_s[num_arrived])
            continue

        rows = set(batch)
        waiting = [row for row in waiting if row not in rows]
        free_s = now + time.of(int(trace.output_tokens[batch].max()))
        ends_s[batch] = free_s

    return Records(
        arrival_s=trace.arrival_s,
        first_s=ends_s,
        last_s=ends_s,
        prompt_tokens=trace.prompt_tokens,
        output_tokens=trace.output_tokens,
        cached_tokens=np.zeros(n, dtype=np.int64),
        rejected=np.zeros(n, dtype=np.bool_),
    )


def _part_of(view: View, rows: Ints) -> View:
    """Return the part of ``view`` that waits now."""
    return View(
        arrival_s=view.arrival_s[rows],
        prompt_tokens=view.prompt_tokens[rows],
        quantiles=view.quantiles[rows],
        deadline_s=view.deadline_s[rows],
        produced_tokens=view.produced_tokens[rows],
        tenants=view.tenants[rows],
        service=view.service,
        history=view.history,
    )
