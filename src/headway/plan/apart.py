"""Prefill and decode on engines of their own, as candidates: cells of alike engines.

No prompt disturbs decoding, and no answer delays a prompt. A cell has so many engines of either
kind that both are about equally full; a fleet is a number of cells.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from headway.plan.problem import Problem
from headway.serving.closed_loop import ClosedLoop
from headway.serving.estimate import ServingEstimate, serve
from headway.serving.load_times import LoadTimes
from headway.serving.two_stages import HANDOFF_S
from headway.sim.site import Disaggregation
from headway.steptime.deployment import Deployment
from headway.steptime.work import Array, BoolArray

CELLS = np.array([(1, 1), (1, 2), (1, 3), (2, 1), (3, 1), (2, 3), (3, 2)])


@dataclass(frozen=True, slots=True, eq=False)
class States:
    """Steady states of all layouts of one kind; arrays of shape ``(layouts, sizes)``.

    Attributes:
        family: the layouts.
        served: one engine that does both, with intervals.
        sizes: requests at once on one engine that decodes, shape ``(sizes,)``.
        times: of the whole replica.
        fits: whether there is memory.
        cells: engines that only prefill, and engines that decode, shape ``(layouts, 2)``.

    """

    family: Deployment
    served: ServingEstimate
    sizes: Array
    times: LoadTimes
    fits: BoolArray
    cells: Array = field(default_factory=lambda: np.array([(0, 1)]))

    def __post_init__(self) -> None:
        num_layouts = len(np.broadcast_to(self.fits, self.times.tpot_s.shape))
        cells = np.broadcast_to(self.cells, (num_layouts, 2))
        object.__setattr__(self, "cells", cells)


def apart(problem: Problem, both: States) -> States:
    """Return the states of the best cell of each layout.

    The time to first token is that of a prompt alone; waiting is left to the simulation.
    """
    loop = problem.loop(both.sizes)
    decode = serve(
        both.family, ClosedLoop(loop.prompt_tokens, loop.output_tokens, both.sizes, prefilled=True)
    )
    prompt = serve(both.family, ClosedLoop(loop.prompt_tokens, 1, both.sizes, loop.cached_fraction))
    prefill = prompt.times

    # What one engine of either kind does within the objectives; then the cell that wastes least.
    prompts, answers = prefill.requests_per_s, decode.times.requests_per_s
    for objective in problem.objectives:
        if objective.quantity == "ttft":
            prompts = np.where(prefill.ttft_s <= objective.bound_s, prompts, 0.0)
        if objective.quantity == "tpot":
            answers = np.where(decode.times.tpot_s <= objective.bound_s, answers, 0.0)
    most_prompts, most_answers = prompts.max(axis=1), answers.max(axis=1)
    rates = np.minimum(CELLS[:, 0] * most_prompts[:, None], CELLS[:, 1] * most_answers[:, None])
    cells = CELLS[np.argmax(rates / CELLS.sum(axis=1), axis=1)]

    ttft_s = both.times.ttft_s[:, :1] + HANDOFF_S
    times = replace(
        decode.times,
        ttft_s=ttft_s + np.zeros_like(decode.times.tpot_s),
        e2e_s=ttft_s + decode.times.tpot_s * max(float(loop.output_tokens) - 1, 0.0),
        requests_per_s=np.minimum(
            cells[:, :1] * most_prompts[:, None], cells[:, 1:] * decode.times.requests_per_s
        ),
    )
    fits = (decode.shape.seats >= both.sizes) & (decode.shape.starved == 0)

    # Each stage errs by itself; a prompt alone is the first of its sizes.
    ends = (prompt.ttft_s.expected, prompt.ttft_s.lower, prompt.ttft_s.upper)
    expected, lower, upper = (end[:, :1] + np.zeros_like(end) for end in ends)
    served = replace(
        both.served,
        tpot_s=decode.tpot_s,
        ttft_s=replace(prompt.ttft_s, expected=expected, lower=lower, upper=upper),
    )
    return replace(both, served=served, times=times, fits=fits, cells=cells)


def transfer(deployment: Deployment) -> Disaggregation:
    """Return what handing a request's cache from one engine to the next takes.

    A layer's cache is sent while the next is computed, so the last one's is seen, at least.
    """
    link = deployment.cluster.links[-1]
    token_s = float(deployment.kv_bytes(1, 1)) / link.bandwidth_bytes_per_s
    return Disaggregation(
        transfer_s=HANDOFF_S + link.latency_s,
        transfer_token_s=token_s / deployment.model.num_layers,
    )
