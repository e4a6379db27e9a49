"""One run: a trace, a site and a policy become records."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headway.schedule.order import OrderPolicy
from headway.schedule.view import View
from headway.sim.autoscale import close
from headway.sim.compile import announcing
from headway.sim.gaps import Gaps
from headway.sim.kernel import run
from headway.sim.layout import prepare
from headway.sim.site import Site
from headway.sim.times import nanoseconds
from headway.sim.world import NONE, Floats, Ints, RequestState, World, dtype_of
from headway.sim.world import Records as States
from headway.workload.oracle import Trace
from headway.workload.record import Records


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What a run did.

    Attributes:
        records: in seconds, for metrics.
        requests: ``(requests,)``, their final states, fields as in `RequestState`.
        replicas: ``(replicas,)``, their final states, fields as in `ReplicaState`.
        gaps: between the tokens of a request, pooled over requests.
        events: of the loop.

    """

    records: Records
    requests: States
    replicas: States
    gaps: Gaps
    events: int


def simulate_trace(
    trace: Trace,
    site: Site,
    policy: OrderPolicy | None = None,
    view: View | None = None,
    pools: Ints | None = None,
) -> Outcome:
    """Serve ``trace`` on ``site``; the same arguments give the same bytes.

    Args:
        trace: what really happens.
        site: what serves.
        policy: the order, first come first served by default.
        view: what the policy may know, one row per request of ``trace``; not needed for FCFS.
        pools: for every request the pool it is bound to, or -1.

    Raises:
        InputError: arguments that do not go together.

    """
    world, numbers = prepare(trace, site, policy, view, pools)
    with announcing():
        events = run(world)
    return outcome_of(trace, world, numbers, events)


def outcome_of(trace: Trace, world: World, numbers: Ints, events: int) -> Outcome:
    """Read the world after a run; ``numbers`` are its requests in ``trace``."""
    requests = np.zeros(len(trace), dtype=dtype_of(RequestState))
    for name in ("first_ns", "last_ns", "admitted_ns", "replica", "produced_tokens"):
        requests[name] = NONE
    requests[numbers] = world.requests
    requests["arrival_ns"] = nanoseconds(trace.arrival_s)  # without what the engine adds

    def seconds(name: str) -> Floats:
        return np.where(requests[name] == NONE, np.nan, requests[name] * 1e-9)

    rejected = np.ones(len(trace), dtype=np.bool_)
    rejected[numbers] = requests["is_shed"][numbers] == 1
    records = Records(
        arrival_s=seconds("arrival_ns"),
        first_s=seconds("first_ns"),
        last_s=seconds("last_ns"),
        prompt_tokens=trace.prompt_tokens,
        output_tokens=trace.output_tokens,
        cached_tokens=requests["cached_tokens"],
        rejected=rejected,
    )
    close(np.asarray(world.replicas), end_ns=int(requests["last_ns"].max(initial=NONE)))
    return Outcome(records, requests, np.asarray(world.replicas), Gaps(world.gaps), events)
