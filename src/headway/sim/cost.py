"""Dollars and joules of a simulated run, from what its pools did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from headway.sim.policy_row import PolicyRow
from headway.steptime.calibration import shipped
from headway.steptime.deployment import Deployment
from headway.steptime.power import idle_share
from headway.steptime.roofline import bound_of
from headway.units import HOUR_S
from headway.workload.step import Step


@dataclass(frozen=True, slots=True, eq=False)
class PoolCost:
    """Replicas of a deployment, and the mean context of their requests."""

    deployment: Deployment
    replicas: int
    context_tokens: float

    @property
    def num_accelerators(self) -> float:
        """Of all replicas."""
        return self.replicas * float(self.deployment.parallelism.num_accelerators)

    @property
    def usd_per_hour(self) -> float | None:
        """Of all replicas; ``None`` where no price is known."""
        price = self.deployment.cluster.usd_per_accelerator_hour
        return None if price is None else price * self.num_accelerators

    def joules(self, row: PolicyRow) -> float | None:
        """Return busy time at the power of its mean step, the rest of the run at idle power.

        ``row`` is that of the pool; ``None`` where no TDP is known.
        """
        accelerator = self.deployment.cluster.accelerator
        if accelerator.tdp_w is None or row.busy_s is None:
            return None
        per_replica = float(self.deployment.parallelism.num_accelerators)
        idle_w = idle_share(accelerator) * accelerator.tdp_w
        idle_s = max((row.replica_s or row.span_s * self.replicas) - row.busy_s, 0.0)
        idle_j = idle_w * per_replica * idle_s
        if not row.steps:
            return idle_j

        arithmetic, memory = self._use(row, row.busy_s / row.steps)
        power_w = float(shipped().power.power_w(accelerator, arithmetic, memory))
        return idle_j + power_w * per_replica * row.busy_s

    def _use(self, row: PolicyRow, step_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the shares of the data sheet's arithmetic and bandwidth in the mean step."""
        deployment = self.deployment
        steps = row.steps or 1.0
        decodes, prompt = (row.decode_tokens or 0) / steps, (row.prefill_tokens or 0) / steps

        # A prompt token is one more row of the step; it reads as much cache as it has attended to.
        step = Step.decode(decodes, self.context_tokens).with_group(Step.prefill(1, prompt, 0))
        bound = bound_of(deployment.forward(step), deployment.cluster)
        arithmetic, memory = bound.arithmetic_s / step_s, bound.memory_s / step_s
        return np.minimum(arithmetic, 1.0), np.minimum(memory, 1.0)


def with_cost(
    row: PolicyRow, pool_rows: Sequence[PolicyRow], pools: Sequence[PoolCost]
) -> PolicyRow:
    """Return ``row``, that of all requests, with $ and J per output token, idle time included."""
    tokens = row.output_tok_per_s * row.span_s
    if tokens <= 0:
        return row

    hourly = [pool.usd_per_hour for pool in pools]
    if None not in hourly:
        usd_per_s = sum(usd for usd in hourly if usd) / HOUR_S
        if row.replica_s is not None:  # of those replicas that were on
            usd_per_s *= row.replica_s / (row.span_s * sum(pool.replicas for pool in pools))
        row = replace(row, usd_per_mtok_output=usd_per_s / row.output_tok_per_s * 1e6)

    # Static batches keep no record of their steps, so what they draw is not known.
    joules = [pool.joules(own) for pool, own in zip(pools, pool_rows, strict=bool(pool_rows))]
    if joules and None not in joules:
        row = replace(row, joules_per_output_token=sum(j for j in joules if j) / tokens)
    return row
