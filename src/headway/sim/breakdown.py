"""Where the time of one request went."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headway.errors import InputError
from headway.report.chart import Bars
from headway.report.column import column
from headway.report.report import Report
from headway.sim.experiment import Case
from headway.sim.outcome import Outcome
from headway.sim.scenario import Scenario
from headway.sim.simulate import own_notes, question_of
from headway.sim.site import Site, alone_ns
from headway.sim.study import prepare_study
from headway.sim.world import NONE
from headway.workload.oracle import Trace

CHART = Bars(names=("part",), value="time_s", total="is_total")


@dataclass(frozen=True, slots=True)
class TimePart:
    """A part of the time of a request, or the whole."""

    part: str = column("part", "what the time went for")
    time_s: float = column("time", "seconds of the request", unit="s")
    share: float = column("share", "of the time from arrival to last token", unit="%", scale=100)
    is_total: bool = column("total", "whether it is the whole", detail=True, default=False)


def explain_request(scenario: Scenario, number: int, laws: bool = False) -> Report[TimePart]:
    """Return where the time of request ``number`` went, under the last order of ``scenario``.

    Raises:
        InputError: there is no such request, it did not end, or batches are static.

    """
    if scenario.batch is not None:
        raise InputError("only continuous batching can be taken apart, not static batches")
    study = prepare_study(scenario, laws)
    experiment, policy, trace = study.experiment, study.policies[-1], study.trace
    if not 0 <= number < len(trace):
        raise InputError(f"there is no request {number} of {len(trace)}")

    outcome = experiment.outcome(Case(policy, 0))
    rows = time_parts(outcome, trace, experiment.site, number)
    if not rows:
        raise InputError(f"request {number} was not served to its end: it cannot fit the memory")
    request = outcome.requests[number]
    return Report(
        kind="simulate-explain",
        title=f"request {number} under {policy.name}: {trace.prompt_tokens[number]} prompt and "
        f"{trace.output_tokens[number]} output tokens",
        question=question_of(study) | {"explain": number},
        rows=rows,
        notes=(
            f"{request['num_preemptions']} preemptions; it ended on replica {request['replica']}",
            "interference is what others cost that shared its steps",
            *own_notes(scenario),
        ),
        charts=(CHART,),
    )


def time_parts(outcome: Outcome, trace: Trace, site: Site, number: int) -> tuple[TimePart, ...]:
    """Return the parts of the time of request ``number``, which add up to the last, its e2e.

    Overhead is what the engine adds before a request can wait; prefill and decode are what they
    would take alone; interference is because others shared its steps; preemption is from losing
    the cache to the next token. Nothing is returned unless the request was served to its end.
    """
    request = outcome.requests[number]
    if request["last_ns"] == NONE:
        return ()

    # Alone, on the kind of replica that served it.
    last = site.pools[int(outcome.replicas["pool"][request["replica"]])]
    first = site.pools[0] if site.disaggregation else last
    rows = np.array([number])
    prefill_ns, decode_ns = alone_ns(
        trace.prompt_tokens[rows], trace.output_tokens[rows], first, last
    )

    # A cached prefix makes the own prefill shorter than it would be alone and without a cache.
    to_first_ns = int(request["first_ns"] - request["admitted_ns"])
    overhead_s = int(site.pools[0].table.overhead_ns(trace.prompt_tokens[rows])[0]) * 1e-9
    parts_s = {
        "overhead": overhead_s,
        "queue": int(request["admitted_ns"] - request["arrival_ns"]) * 1e-9 - overhead_s,
        "prefill": min(int(prefill_ns[0]), to_first_ns) * 1e-9,
        "decode": int(decode_ns[0]) * 1e-9,
        "interference": 0.0,
        "preemption": int(request["lost_ns"]) * 1e-9,
        "transfer": int(request["transfer_ns"]) * 1e-9,
    }
    e2e_s = int(request["last_ns"] - request["arrival_ns"]) * 1e-9
    parts_s["interference"] = e2e_s - sum(parts_s.values())

    whole_s = max(e2e_s, 1e-12)
    parts = [TimePart(part, time_s, time_s / whole_s) for part, time_s in parts_s.items()]
    return (*parts, TimePart("e2e", e2e_s, 1.0, is_total=True))
