"""Engines that keep a batch until its longest answer ends: RT-LM's setting.

When the engine is free, the policy says who goes first and the consolidation rule who shares its
batch. A second engine takes one request at a time: whenever it is free it looks for the longest
answer that waits, and serves it where that shortens the total.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headway.errors import InputError
from headway.schedule.consolidate import Consolidation
from headway.schedule.offload import Offload
from headway.schedule.order import OrderPolicy
from headway.schedule.view import Floats, ServiceTime, View
from headway.sim.batch_kernel import BatchRequest, BatchRules, Pace, run
from headway.sim.compile import announcing
from headway.sim.site import Pool
from headway.sim.world import dtype_of
from headway.workload.oracle import Trace
from headway.workload.record import Records


@dataclass(frozen=True, slots=True)
class BatchTime:
    """Seconds of a batch: a part for its prompts, and steps until its longest answer ends.

    ``fixed_s + request_s * size + (token_s + token_request_s * size) * longest``

    Attributes:
        fixed_s: of any batch.
        token_s: of any step.
        request_s: per request, of the prompts.
        token_request_s: per request, of every step.

    """

    fixed_s: float
    token_s: float
    request_s: float = 0.0
    token_request_s: float = 0.0

    def __post_init__(self) -> None:
        if min(self.fixed_s, self.request_s, self.token_s, self.token_request_s) < 0:
            raise InputError("the parts of a batch's time must not be negative")
        if self.token_s + self.token_request_s == 0:
            raise InputError("a batch must take some time per token")

    def of(self, size: int, longest_tokens: npt.ArrayLike) -> Floats:
        """Return the seconds of batches of ``size``; arrays broadcast."""
        service = self.service(size)
        return service.of(0.0, longest_tokens)

    def service(self, size: int) -> ServiceTime:
        """Return what a policy takes a request in a batch of ``size`` to cost."""
        return ServiceTime(
            fixed_s=self.fixed_s + self.request_s * size,
            prompt_token_s=0.0,
            output_token_s=self.token_s + self.token_request_s * size,
        )

    def slower(self, factor: float) -> BatchTime:
        """Return the time on an engine that takes ``factor`` times as long."""
        return BatchTime(
            fixed_s=self.fixed_s * factor,
            token_s=self.token_s * factor,
            request_s=self.request_s * factor,
            token_request_s=self.token_request_s * factor,
        )

    @property
    def pace(self) -> Pace:
        """The same for compiled code."""
        return Pace(
            fixed_s=self.fixed_s,
            request_s=self.request_s,
            token_s=self.token_s,
            token_request_s=self.token_request_s,
        )


def batch_time(pool: Pool, trace: Trace, max_batch: int) -> BatchTime:
    """Return the time of batches of requests as in ``trace`` on ``pool``, by its step times.

    The prompts are prefilled together; then every step decodes the whole batch, also for answers
    that have ended, at the mean context. Exact for one request and for ``max_batch``, and a line
    between them.
    """
    one_prompts_s, one_step_s = _steps_s(pool, trace, 1)
    if max_batch == 1:
        return BatchTime(one_prompts_s, one_step_s)

    prompts_s, step_s = _steps_s(pool, trace, max_batch)
    request_s = max((prompts_s - one_prompts_s) / (max_batch - 1), 0.0)
    token_request_s = max((step_s - one_step_s) / (max_batch - 1), 0.0)
    return BatchTime(
        fixed_s=max(prompts_s - request_s * max_batch, 0.0),
        token_s=max(step_s - token_request_s * max_batch, 0.0),
        request_s=request_s,
        token_request_s=token_request_s,
    )


def _steps_s(pool: Pool, trace: Trace, size: int) -> tuple[float, float]:
    """Return the seconds of the prompts of ``size`` requests, and of one decode step of them."""
    prompt = float(trace.prompt_tokens.mean())
    context = prompt + float(trace.output_tokens.mean()) / 2
    new = max(1, int(prompt * size))
    max_tokens = pool.engine.max_num_batched_tokens if pool.engine.chunked_prefill else new

    chunk = min(new, max_tokens)
    chunk_ns = pool.table.mixed_step_ns(0, 0, chunk, int(chunk * prompt / 2))
    step_ns = pool.table.decode_step_ns(size, int(size * context))
    return chunk_ns * max(new / max_tokens, 1.0) * 1e-9, step_ns * 1e-9


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
    keys = policy.keys(view)
    requests = np.zeros(len(trace), dtype=dtype_of(BatchRequest))
    requests["ready_s"] = trace.arrival_s + overhead_s
    requests["key"] = keys.key
    requests["slope"] = 0.0 if keys.slope is None else keys.slope
    requests["tokens"] = np.maximum(view.at(0.5), 1e-9)
    requests["output_tokens"] = trace.output_tokens
    if second is not None:
        requests["upper_tokens"] = view.at(second.offload.level)

    rules = BatchRules(
        max_batch=rule.max_batch,
        nearest=rule.nearest,
        ratio=rule.ratio,
        window_s=rule.window_s,
        fast=time.pace,
        slow=time.pace if second is None else second.time.pace,
        has_slow=second is not None,
        threshold_tokens=0.0 if second is None else second.offload.threshold_tokens,
    )
    waiting, batch = (np.empty(room, dtype=np.int64) for room in (len(trace), rule.max_batch))
    with announcing():
        run(requests, rules, waiting, batch)

    return Records(
        arrival_s=trace.arrival_s,
        first_s=requests["end_s"],
        last_s=requests["end_s"],
        prompt_tokens=trace.prompt_tokens,
        output_tokens=trace.output_tokens,
        cached_tokens=np.zeros(len(trace), dtype=np.int64),
        rejected=np.zeros(len(trace), dtype=np.bool_),
    )
