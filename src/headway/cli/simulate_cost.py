"""Dollars and joules of a simulated run, from what its pools did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headway.report.report import Row
from headway.steptime.calibration import shipped
from headway.steptime.deployment import Deployment
from headway.steptime.forward import forward
from headway.steptime.power import idle_share
from headway.steptime.worktable import tabulate
from headway.workload.step import Step


@dataclass(frozen=True, slots=True, eq=False)
class PricedPool:
    """Replicas of a deployment, and the mean context of their requests."""

    deployment: Deployment
    replicas: int
    context_tokens: float

    @property
    def accelerators(self) -> float:
        """Of all replicas."""
        return self.replicas * float(self.deployment.parallelism.num_accelerators)


def priced(row: Row, pools: Sequence[PricedPool]) -> Row:
    """Add $ and J per output token, idle time included; ``None`` where price or TDP are unknown."""
    tokens_per_s = float(row["output_tok_per_s"] or 0)
    span_s = float(row["span_s"] or 0)
    tokens = tokens_per_s * span_s
    prices = [pool.deployment.cluster.price_usd_per_accelerator_hour for pool in pools]
    usd = joules = None
    if tokens > 0 and None not in prices:
        hourly = sum(p * pool.accelerators for p, pool in zip(prices, pools, strict=True) if p)
        usd = hourly / 3600 / tokens_per_s * 1e6
    used = [_joules(row, number, pool, span_s) for number, pool in enumerate(pools)]
    if tokens > 0 and None not in used:
        joules = sum(j for j in used if j) / tokens
    return {**row, "usd_per_mtok": usd, "joules_per_tok": joules}


def _joules(row: Row, number: int, pool: PricedPool, span_s: float) -> float | None:
    """Busy time at the power of its mean step, the rest of the run at idle power."""
    accelerator = pool.deployment.cluster.accelerator
    busy_s, steps = row.get(f"pool{number}_busy_s"), float(row.get(f"pool{number}_steps") or 0)
    if accelerator.tdp_w is None or not isinstance(busy_s, float):
        return None
    idle_w = idle_share(accelerator) * accelerator.tdp_w
    per_replica = float(pool.deployment.parallelism.num_accelerators)
    idle_j = idle_w * per_replica * max(span_s * pool.replicas - busy_s, 0.0)
    if steps == 0:
        return idle_j
    arithmetic, memory = _use(row, number, pool, busy_s / steps, steps)
    power_w = float(shipped().power.power_w(accelerator, arithmetic, memory))
    return idle_j + power_w * per_replica * busy_s


def _use(
    row: Row, number: int, pool: PricedPool, step_s: float, steps: float
) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.float64]], ...]:
    """Fractions of the data sheet's arithmetic and bandwidth that the mean step uses."""
    deployment = pool.deployment
    decodes = float(row[f"pool{number}_decode_tokens"] or 0) / steps
    prompt = float(row[f"pool{number}_prompt_tokens"] or 0) / steps
    context = pool.context_tokens
    # A prompt token is one more row of the step; it reads as much cache as it has attended to.
    step = Step.decode(decodes, context).with_group(Step.prefill(1, prompt, 0))
    work = forward(deployment.model, deployment.precision, deployment.parallelism, step)
    table = tabulate(work, deployment.cluster, deployment.precision)
    arithmetic = table.arithmetic_s.sum(axis=-1) / step_s
    memory = (table.weight_s.sum(axis=-1) + table.cache_s.sum(axis=-1)) / step_s
    return np.minimum(arithmetic, 1.0), np.minimum(memory, 1.0)
