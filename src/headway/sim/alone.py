"""What a request takes by itself: its time on an empty replica, and its share of a busy one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headway.schedule.view import ServiceTime
from headway.sim.cluster import Cluster, Pool
from headway.sim.compile import compiled
from headway.sim.simulate import Outcome
from headway.sim.state import (
    ADMITTED_,
    ARRIVAL_,
    FIRST_,
    LAST_,
    LOST_,
    MOVED_,
    NONE,
    POOL,
    PREEMPTIONS_,
    REPLICA_,
    Floats,
    Ints,
)
from headway.sim.times import BUCKETS, decode_ns, mixed_ns
from headway.workload.oracle import Trace


def alone_ns(
    prompt_tokens: Ints, output_tokens: Ints, pool: Pool, decode_pool: Pool | None = None
) -> tuple[Ints, Ints]:
    """Nanoseconds of prefill on an empty replica of ``pool``, of decode there or on another's."""
    table = pool.table if decode_pool is None else decode_pool.table
    most = int((prompt_tokens + output_tokens).max())
    context = np.arange(most + 1)
    bucket = np.minimum(context >> table.shift, BUCKETS - 1)
    passed = np.concatenate([[0], np.cumsum(table.decode_ns[1, bucket])])
    decode = passed[prompt_tokens + output_tokens - 1] - passed[prompt_tokens]
    engine = pool.engine
    budget = engine.max_num_batched_tokens if engine.chunked_prefill else most
    prefill = np.zeros(len(prompt_tokens), dtype=np.int64)
    _prefills(prompt_tokens, budget, pool.table.mixed_ns[None], prefill)
    return prefill, decode


@compiled
def _prefills(prompt_tokens: Ints, budget: int, mixed_table: Floats, times: Ints) -> None:
    for i in range(len(prompt_tokens)):
        done = 0
        while done < prompt_tokens[i]:
            chunk = min(budget, prompt_tokens[i] - done)
            pairs = chunk * done + chunk * (chunk + 1) // 2
            times[i] += mixed_ns(mixed_table, 0, 0, 0, chunk, pairs)
            done += chunk


def share_of_work(pool: Pool, trace: Trace) -> ServiceTime:
    """What a token takes from a replica that is shared: the work that orders should weigh.

    At a full batch of requests as in ``trace``, an output token is one step's time over the batch;
    a prompt token is what a large chunk adds to such a step, over the chunk. Both follow from the
    tables, no run is needed.
    """
    engine = pool.engine
    context = float(trace.prompt_tokens.mean() + trace.output_tokens.mean() / 2)
    batch = int(max(1, min(engine.max_num_seqs, engine.kv_tokens // max(context, 1.0))))
    kv = int(batch * context)
    table = pool.table
    step = int(decode_ns(table.decode_ns[None], 0, table.shift, batch, kv))
    chunk = max(1, min(int(trace.prompt_tokens.mean()), engine.max_num_batched_tokens - batch))
    mixed = int(mixed_ns(table.mixed_ns[None], 0, batch, kv, chunk, chunk * (chunk + 1) // 2))
    return ServiceTime(0.0, max(mixed - step, 1) * 1e-9 / chunk, step * 1e-9 / batch)


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Where the time of one request went, in seconds; the parts add up to ``e2e_s``.

    Attributes:
        queue_s: from arrival to the first schedule.
        prefill_s: of its own prefill, were it alone.
        decode_s: of its own decode steps, were it alone.
        interference_s: because others shared its steps.
        preemption_s: between losing its cache and the next token.
        transfer_s: between prefill and decode pool.

    """

    queue_s: float
    prefill_s: float
    decode_s: float
    interference_s: float
    preemption_s: float
    transfer_s: float
    e2e_s: float
    preemptions: int
    replica: int


def explain(outcome: Outcome, trace: Trace, cluster: Cluster, i: int) -> Breakdown | None:
    """Break down request ``i``; ``None`` unless it was served to its end."""
    row = outcome.q[i]
    if row[LAST_] == NONE:
        return None
    rows = np.array([i])
    last = cluster.pools[int(outcome.rows[row[REPLICA_], POOL])]
    first = cluster.pools[0] if cluster.disaggregation else last
    prefill, decode = alone_ns(trace.prompt_tokens[rows], trace.output_tokens[rows], first, last)
    e2e = int(row[LAST_] - row[ARRIVAL_])
    queue, lost, moved = int(row[ADMITTED_] - row[ARRIVAL_]), int(row[LOST_]), int(row[MOVED_])
    # A cached prefix makes the own prefill shorter than it would be alone and without a cache.
    own = min(int(prefill[0]), int(row[FIRST_] - row[ADMITTED_]))
    rest = e2e - queue - own - int(decode[0]) - lost - moved
    return Breakdown(
        queue * 1e-9,
        own * 1e-9,
        int(decode[0]) * 1e-9,
        rest * 1e-9,
        lost * 1e-9,
        moved * 1e-9,
        e2e * 1e-9,
        int(row[PREEMPTIONS_]),
        int(row[REPLICA_]),
    )
