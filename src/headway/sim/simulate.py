"""The public face of the simulator: a trace, a cluster and a policy become records."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headway.schedule.order import OrderPolicy
from headway.schedule.view import View
from headway.sim.cluster import Cluster
from headway.sim.compile import announcing
from headway.sim.gaps import Gaps
from headway.sim.kernel import run
from headway.sim.layout import nanoseconds, prepare
from headway.sim.state import (
    ARRIVAL_,
    CACHED_,
    COLUMNS_,
    FIRST_,
    LAST_,
    LOST_,
    MOVED_,
    NONE,
    PREEMPTIONS_,
    Floats,
    Ints,
    World,
)
from headway.workload.oracle import Trace
from headway.workload.record import Records


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What a run did.

    Attributes:
        records: in seconds, for metrics.
        q: ``(requests, COLUMNS_)``, the final table of requests, integer nanoseconds.
        rows: ``(replicas, ...)``, the final table of replicas.
        gaps: between the tokens of a request, pooled over requests.
        events: of the loop.

    """

    records: Records
    q: Ints
    rows: Ints
    gaps: Gaps
    events: int


def simulate(
    trace: Trace,
    cluster: Cluster,
    policy: OrderPolicy | None = None,
    view: View | None = None,
    pools: Ints | None = None,
) -> Outcome:
    """Serve ``trace`` on ``cluster``; the same arguments give the same bytes.

    Args:
        trace: what really happens.
        cluster: what serves.
        policy: the order, first come first served by default.
        view: what the policy may know, one row per request of ``trace``; not needed for FCFS.
        pools: for every request the pool it is bound to, or -1.

    Raises:
        InputError: arguments that do not go together.

    """
    world, rejected = prepare(trace, cluster, policy, view, pools)
    with announcing():
        events = run(world)
    return outcome(trace, world, rejected, events)


def outcome(trace: Trace, world: World, rejected: Ints, events: int) -> Outcome:
    """Read the arrays after a run."""
    n = len(trace)
    q = np.full((n, COLUMNS_), NONE, dtype=np.int64)
    q[:, [LOST_, MOVED_, PREEMPTIONS_, CACHED_]] = 0
    q[np.setdiff1d(np.arange(n), rejected)] = world.q
    q[:, ARRIVAL_] = nanoseconds(trace.arrival_s)

    def seconds(column: int) -> Floats:
        return np.where(q[:, column] == NONE, np.nan, q[:, column] * 1e-9)

    never_started = np.zeros(n, dtype=np.bool_)
    never_started[rejected] = True
    records = Records(
        seconds(ARRIVAL_),
        seconds(FIRST_),
        seconds(LAST_),
        trace.prompt_tokens,
        trace.output_tokens,
        q[:, CACHED_],
        never_started,
    )
    return Outcome(records, q, world.rows, Gaps(world.gaps), events)
