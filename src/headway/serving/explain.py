"""Where the time of a served token goes, and what would change it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from headway.hardware.cluster import Cluster
from headway.serving.estimate import ServingEstimate, ServingQuestion, answer
from headway.serving.one_engine import drafting_s, serving_times
from headway.steptime.forward import forward
from headway.steptime.kernel_coefficients import AT, NAMES
from headway.steptime.worktable import price
from headway.workload.step import Step


@dataclass(frozen=True, slots=True)
class Part:
    """One line of the explanation: seconds per output token, and its share of all."""

    name: str
    seconds: float
    share: float


@dataclass(frozen=True, slots=True)
class Change:
    """What if: the new time per token and throughput over the old ones."""

    name: str
    tpot: float
    throughput: float


def parts(question: ServingQuestion, found: ServingEstimate) -> list[Part]:
    """The time per output token by operator, exchanges, launches, engine, and other's prompts.

    A step's operators are those of a pure decode step; all that mixed steps take beyond it is
    one line.
    """
    table, times = found.table, found.times
    per_token = 1 / float(table.tokens_per_pass)
    stretch = float(np.exp(found.stretch))
    priced = price(table.decode, found.theta, stretch)
    theta = found.theta
    seconds: dict[str, float] = {}
    for name, operator_s in zip(_names(question), np.ravel(priced.operators_s), strict=False):
        seconds[name] = seconds.get(name, 0.0) + float(operator_s)
    drafts = drafting_s(question.drafted, table.sequences)
    waits = table.decode.exchanges * theta[AT["exchange_s"]] + table.decode.waiting_s - drafts
    seconds["kernel launches"] = float(priced.latency_s - (waits + drafts) * stretch)
    seconds["drafting, engine"] = float(drafts) * stretch
    seconds["exchanges, latency"] = float(waits) * stretch
    seconds["exchanges, bandwidth"] = float(priced.network_s)
    overhead = theta[AT["step_s"]] + theta[AT["sequence_s"]] * table.sequences
    seconds["engine, per step and sequence"] = float(overhead)
    named = {name: value * per_token for name, value in seconds.items()}
    named["prompts of others"] = max(
        float(times.tpot_s) - float(times.decode_step_s) * per_token, 0.0
    )
    whole = float(times.tpot_s)
    made = [Part(name, value, value / whole) for name, value in named.items() if value > 0]
    return sorted(made, key=lambda part: -part.seconds)


def _names(question: ServingQuestion) -> list[str]:
    d = question.deployment
    named = [op.name for op in forward(d.model, d.precision, d.parallelism, Step.decode(1, 1)).ops]
    return named if not question.drafted else [*named, *["draft"] * 64]


def changes(question: ServingQuestion, found: ServingEstimate) -> list[Change]:
    """What better hardware or a better engine would give, best for the time per token first."""
    cluster = question.deployment.cluster
    chip = cluster.accelerator
    made = [
        ("memory bandwidth x2", _chip(cluster, memory=2.0)),
        ("arithmetic x2", _chip(cluster, arithmetic=2.0)),
        (
            "link bandwidth x2",
            replace(
                cluster,
                links=tuple(
                    replace(link, bandwidth_bytes_per_s=link.bandwidth_bytes_per_s * 2)
                    for link in cluster.links
                ),
            ),
        ),
        (
            "memory x2",
            replace(cluster, accelerator=replace(chip, memory_bytes=chip.memory_bytes * 2)),
        ),
    ]
    whole, rate = float(found.times.tpot_s), float(found.times.requests_per_s)
    listed = []
    for name, other in made:
        asked = replace(question, deployment=replace(question.deployment, cluster=other))
        times = answer(asked).times
        listed.append(Change(name, float(times.tpot_s) / whole, float(times.requests_per_s) / rate))
    theta = found.theta.copy()
    halved = [i for i, name in enumerate(NAMES) if name.endswith("_s")]
    theta[halved] = theta[halved] / 2
    times = serving_times(found.table, theta, np.exp(found.stretch))
    listed.append(
        Change(
            "launches and engine overheads / 2",
            float(times.tpot_s) / whole,
            float(times.requests_per_s) / rate,
        )
    )
    return sorted(listed, key=lambda change: change.tpot)


def _chip(cluster: Cluster, memory: float = 1.0, arithmetic: float = 1.0) -> Cluster:
    chip = cluster.accelerator
    return replace(
        cluster,
        accelerator=replace(
            chip,
            memory_bandwidth_bytes_per_s=chip.memory_bandwidth_bytes_per_s * memory,
            peak_flops_per_s={k: v * arithmetic for k, v in chip.peak_flops_per_s.items()},
        ),
    )
