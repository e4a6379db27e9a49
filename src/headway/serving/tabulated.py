"""Loads counted once and priced by any coefficients: what a fit evaluates thousands of times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from headway.serving.closed_loop import ClosedLoop
from headway.serving.load_steps import LoadShape, load_steps
from headway.serving.load_times import LoadTimes, load_times
from headway.steptime.deployment import Deployment
from headway.steptime.kernel_coefficients import AT
from headway.steptime.step_time import RequestOverhead
from headway.steptime.work import Array
from headway.steptime.worktable import WorkTable, price, stack, tabulate


@dataclass(frozen=True, slots=True, eq=False)
class ServingTable:
    """A load in counts, its decode steps and its steps with prompts; arrays of shape ``(...)``."""

    shape: LoadShape
    decode: WorkTable
    mixed: WorkTable

    def peak_use(self, times: LoadTimes) -> tuple[Array, Array]:
        """Return the fractions of dense peak and memory bandwidth in use at ``times``."""
        decode, mixed = self.decode.bound, self.mixed.bound
        arithmetic = times.use_of(decode.arithmetic_s, mixed.arithmetic_s)
        return arithmetic, times.use_of(decode.memory_s, mixed.memory_s)


def tabulate_serving(
    deployment: Deployment, loop: ClosedLoop, *, mixes: bool = True
) -> ServingTable:
    """Count what ``loop`` makes ``deployment`` do, before coefficients say how long it takes.

    With ``mixes`` off, prompts never share a step with decoding sequences, whatever the engine.
    """
    steps = load_steps(deployment, loop, mixes=mixes)
    return ServingTable(
        shape=steps.shape,
        decode=tabulate(deployment, steps.decode),
        mixed=tabulate(deployment, steps.mixed),
    )


def stack_tables(tables: Sequence[ServingTable]) -> ServingTable:
    """Return the tables of single loads as one of shape ``(loads,)``."""
    shape = {
        field.name: np.array([getattr(table.shape, field.name) for table in tables])
        for field in fields(LoadShape)
    }
    return ServingTable(
        shape=LoadShape(**shape),
        decode=stack([table.decode for table in tables]),
        mixed=stack([table.mixed for table in tables]),
    )


def serving_times(
    table: ServingTable, theta: Array, scale: Array | float = 1.0, prompt_scale: Array | float = 1.0
) -> LoadTimes:
    """Price ``table`` by coefficients ``theta`` of shape ``(..., coefficients)``.

    ``scale`` stretches all steps, ``prompt_scale`` those with prompts once more.
    """
    overhead = RequestOverhead(
        fixed_s=theta[..., AT["request_s"]],
        prompt_token_s=theta[..., AT["prompt_token_s"]],
        held_steps=theta[..., AT["held_steps"]],
    )
    decode_s = price(table.decode, theta, scale).total_s
    mixed_s = price(table.mixed, theta, scale * prompt_scale).total_s
    return load_times(table.shape, decode_s, mixed_s, overhead)
