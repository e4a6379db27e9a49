"""Where the time of one request went."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headway.sim.alone import alone_ns
from headway.sim.outcome import Outcome
from headway.sim.site import Site
from headway.sim.world import NONE
from headway.workload.oracle import Trace


@dataclass(frozen=True, slots=True)
class Breakdown:
    """The time of one request in seconds; the parts add up to ``e2e_s``.

    Attributes:
        queue_s: from arrival to the first schedule, without the overhead.
        overhead_s: what the engine adds before a request can wait.
        prefill_s: of its own prefill, were it alone.
        decode_s: of its own decode steps, were it alone.
        interference_s: because others shared its steps.
        preemption_s: between losing its cache and the next token.
        transfer_s: between prefill and decode pool.

    """

    queue_s: float
    overhead_s: float
    prefill_s: float
    decode_s: float
    interference_s: float
    preemption_s: float
    transfer_s: float
    e2e_s: float
    preemptions: int
    replica: int


def explain(outcome: Outcome, trace: Trace, site: Site, i: int) -> Breakdown | None:
    """Break down request ``i``; ``None`` unless it was served to its end."""
    request = outcome.requests[i]
    if request["last_ns"] == NONE:
        return None

    # Alone, on the kind of replica that served it.
    last = site.pools[int(outcome.replicas["pool"][request["replica"]])]
    first = site.pools[0] if site.disaggregation else last
    numbers = np.array([i])
    prefill_ns, decode_ns = alone_ns(
        trace.prompt_tokens[numbers], trace.output_tokens[numbers], first, last
    )

    # A cached prefix makes the own prefill shorter than it would be alone and without a cache.
    to_first_ns = int(request["first_ns"] - request["admitted_ns"])
    own_prefill_ns, own_decode_ns = min(int(prefill_ns[0]), to_first_ns), int(decode_ns[0])
    e2e_ns = int(request["last_ns"] - request["arrival_ns"])
    until_admitted_ns = int(request["admitted_ns"] - request["arrival_ns"])
    lost_ns, transfer_ns = int(request["lost_ns"]), int(request["transfer_ns"])
    rest_ns = e2e_ns - until_admitted_ns - own_prefill_ns - own_decode_ns - lost_ns - transfer_ns

    overhead_s = site.pools[0].engine.overhead_s(int(trace.prompt_tokens[i]))
    return Breakdown(
        queue_s=until_admitted_ns * 1e-9 - overhead_s,
        overhead_s=overhead_s,
        prefill_s=own_prefill_ns * 1e-9,
        decode_s=own_decode_ns * 1e-9,
        interference_s=rest_ns * 1e-9,
        preemption_s=lost_ns * 1e-9,
        transfer_s=transfer_ns * 1e-9,
        e2e_s=e2e_ns * 1e-9,
        preemptions=int(request["num_preemptions"]),
        replica=int(request["replica"]),
    )
