"""What a request takes by itself: its time on an empty replica, and its share of a busy one."""

from __future__ import annotations

import numpy as np

from headway.schedule.view import ServiceTime
from headway.sim.compile import compiled
from headway.sim.site import Pool
from headway.sim.times import BUCKETS, mixed_ns
from headway.sim.world import Floats, Ints
from headway.workload.oracle import Trace


def alone_ns(
    prompt_tokens: Ints, output_tokens: Ints, pool: Pool, decode_pool: Pool | None = None
) -> tuple[Ints, Ints]:
    """Return nanoseconds of prefill on an empty replica of ``pool``, and of decode.

    Decode is there, or on an empty replica of ``decode_pool``; overhead is in neither.
    """
    table = pool.table if decode_pool is None else decode_pool.table
    max_tokens = int((prompt_tokens + output_tokens).max())
    bucket = np.minimum(np.arange(max_tokens + 1) >> table.shift, BUCKETS - 1)
    until_ns = np.concatenate([[0], np.cumsum(table.decode_ns[1, bucket])])
    decode = until_ns[prompt_tokens + output_tokens - 1] - until_ns[prompt_tokens]

    engine = pool.engine
    budget = engine.max_num_batched_tokens if engine.chunked_prefill else max_tokens
    prefill = np.zeros(len(prompt_tokens), dtype=np.int64)
    _prefills(prompt_tokens, budget, pool.table.mixed_ns[None], prefill)
    return prefill, decode


@compiled
def _prefills(prompt_tokens: Ints, budget: int, mixed_table: Floats, times_ns: Ints) -> None:
    """Add the nanoseconds of every prompt's chunks to ``times_ns``."""
    for i in range(len(prompt_tokens)):
        start = 0
        while start < prompt_tokens[i]:
            chunk = min(budget, prompt_tokens[i] - start)
            pairs = chunk * start + chunk * (chunk + 1) // 2
            times_ns[i] += mixed_ns(mixed_table, 0, 0, 0, chunk, pairs)
            start += chunk


def share_of_work(pool: Pool, trace: Trace) -> ServiceTime:
    """Return what a token takes from a replica that is shared: the work that orders weigh.

    At a full batch of requests as in ``trace``, an output token is one step's time over the batch;
    a prompt token is what a large chunk adds to such a step, over the chunk. Both follow from the
    tables, no run is needed.
    """
    engine, table = pool.engine, pool.table
    context = float(trace.prompt_tokens.mean() + trace.output_tokens.mean() / 2)
    batch = int(max(1, min(engine.max_num_seqs, engine.kv_tokens // max(context, 1.0))))
    kv_tokens = int(batch * context)
    step_ns = table.decode_step_ns(batch, kv_tokens)

    chunk = max(1, min(int(trace.prompt_tokens.mean()), engine.max_num_batched_tokens - batch))
    with_chunk_ns = table.mixed_step_ns(batch, kv_tokens, chunk, chunk * (chunk + 1) // 2)
    added_ns = max(with_chunk_ns - step_ns, 1)
    return ServiceTime(
        fixed_s=0.0,
        prompt_token_s=added_ns * 1e-9 / chunk,
        output_token_s=step_ns * 1e-9 / batch,
    )
