"""What each difference between the default model and the published one does to the answer.

The default frontier is computed from the public pieces of the cost model, and again with one
thing at a time as the published program has it. Every cell gives the fastest speed, the preferred
point and the cheapest cost, on H100 at a context of 4,096 tokens. The last rows are the published
program itself, with whole power-of-two clusters and as it is.

Run: python benchmarks/published_differences.py
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from headway.frontier.pareto import pareto_front, preferred
from headway.frontier.search import concurrencies
from headway.hardware.catalogue import find_cluster
from headway.hardware.cluster import Cluster
from headway.hardware.price import Price
from headway.model.architecture import LayerGroup, ModelArchitecture
from headway.model.attention import GroupedQueryAttention
from headway.model.catalogue import find_model, find_precision
from headway.model.ffn import MoeFfn
from headway.model.precision import Precision
from headway.papers.erdil_2025.accelerators import ACCELERATORS
from headway.papers.erdil_2025.forward import token_latency
from headway.papers.erdil_2025.frontier import frontier as published_frontier
from headway.papers.erdil_2025.models import MODELS
from headway.steptime.forward import forward
from headway.steptime.layouts import layouts
from headway.steptime.memory import kv_bytes, weight_bytes
from headway.steptime.parallelism import Parallelism
from headway.steptime.placed_model import MEMORY_UTILIZATION, native
from headway.steptime.roofline import EXPECTED, Efficiency, time_of
from headway.steptime.time_estimate import ComponentTimes
from headway.steptime.work import Forward, Pattern
from headway.workload.step import Step

NAMES = ("llama-3-8b", "llama-3-70b", "llama-3.1-405b", "mixtral-8x22b", "deepseek-v3")
CONTEXT = 4096
LAUNCHES_S = 4 * 4e-6  # per layer, as published
PUBLISHED = Efficiency(flops=0.70, bandwidth=0.75, link=1.0)
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """One thing that may be as published, and the rest as it is by default."""

    cluster: Cluster
    model: ModelArchitecture
    precision: Precision
    efficiency: Efficiency = EXPECTED
    attention_groups: bool = True
    two_dimensional: bool = True
    micro_batch_kv: bool = False
    one_roof: bool = False
    published_launches: bool = False
    few_experts_met: bool = False


def answer(case: Case) -> tuple[Array, Array]:
    """Speed and cost of every deployment that fits."""
    found = layouts(case.model, case.cluster)
    keep = np.ones(found.tp.size, dtype=bool)
    if not case.attention_groups:
        keep &= found.dp.ravel() == 1
    if not case.two_dimensional:
        keep &= found.rows.ravel() == 1
    layout = Parallelism(
        *(degree[keep] for degree in (found.tp, found.pp, found.dp, found.ep, found.rows))
    )
    sizes = concurrencies()
    precision = native(case.precision, case.cluster.accelerator)
    work = forward(case.model, precision, layout, Step.decode(sizes, CONTEXT))
    if case.few_experts_met:
        work = _few_met(work, case.model)
    seconds = _total(case, time_of(work, case.cluster, case.efficiency))
    held = sizes / layout.pp if case.micro_batch_kv else sizes
    needed = weight_bytes(case.model, precision, layout) + kv_bytes(
        case.model, precision, layout, held, CONTEXT
    )
    usable = case.cluster.accelerator.memory_bytes * (
        1.0 if case.efficiency == PUBLISHED else MEMORY_UTILIZATION
    )
    fits = np.broadcast_to(needed <= usable, seconds.shape)
    cost = layout.num_accelerators * case.cluster.usd_per_accelerator_s * seconds / sizes * 1e6
    return 1 / seconds[fits], cost[fits]


def _total(case: Case, parts: ComponentTimes) -> Array:
    total = parts.total_s
    if case.one_roof:
        roof = np.maximum(parts.arithmetic_s, parts.memory_s)
        total = parts.latency_s + parts.network_s + roof
    if case.published_launches:
        without = replace(case.efficiency, kernel_s=0.0)
        total = total - _kernels_s(case, without) + LAUNCHES_S * case.model.num_layers
    return total


def _kernels_s(case: Case, without: Efficiency) -> float:
    one = Step.decode(1, CONTEXT)
    work = forward(case.model, native(case.precision, case.cluster.accelerator), Parallelism(), one)
    with_kernels = time_of(work, case.cluster, case.efficiency).latency_s
    return float(with_kernels - time_of(work, case.cluster, without).latency_s)


def _few_met(work: Forward, model: ModelArchitecture) -> Forward:
    """Let tokens meet no more ranks than they have experts, as the published all-to-all does."""
    chosen = max(
        (g.ffn.num_experts_per_token for g in model.layers if isinstance(g.ffn, MoeFfn)), default=1
    )
    return Forward(
        work.ops,
        tuple(
            replace(c, ranks=np.minimum(c.ranks, chosen + 1))
            if c.pattern is Pattern.ALL_TO_ALL
            else c
            for c in work.collectives
        ),
    )


def _published_shape(model: ModelArchitecture) -> ModelArchitecture:
    """The published program's slips: 16 key-value heads for 405B, 58 layers for DeepSeek-V3."""
    if model.name == "llama-3.1-405b":
        group = model.layers[0]
        return replace(
            model, layers=(replace(group, attention=GroupedQueryAttention(128, 16, 128)),)
        )
    if model.name == "deepseek-v3":
        kept: tuple[LayerGroup, ...] = tuple(
            group for group in model.layers if isinstance(group.ffn, MoeFfn)
        )
        return replace(model, layers=kept)
    return model


def _published_chip(cluster: Cluster) -> Cluster:
    """The published H100: rounder rates, a lower price."""
    own = ACCELERATORS["h100"]
    chip = cluster.accelerator
    rates = {d: own.peak_for(8 if d.bits == 8 else 16) for d in chip.peak_flops_per_s}
    return replace(
        cluster,
        accelerator=replace(
            chip,
            peak_flops_per_s=rates,
            memory_bandwidth_bytes_per_s=own.memory_bandwidth_bytes_per_s,
            memory_bytes=own.memory_bytes,
        ),
        price=Price(own.usd_per_hour),
    )


DIFFERENCES: dict[str, Callable[[Case], Case]] = {
    "default": lambda case: case,
    "efficiencies, data sheet and price": lambda case: replace(
        case, efficiency=PUBLISHED, cluster=_published_chip(case.cluster)
    ),
    "4 launches of 4 us per layer": lambda case: replace(case, published_launches=True),
    "one roof for the whole pass": lambda case: replace(case, one_roof=True),
    "KV checked for the micro-batch": lambda case: replace(case, micro_batch_kv=True),
    "no data-parallel attention": lambda case: replace(case, attention_groups=False),
    "all-to-all among active experts only": lambda case: replace(case, few_experts_met=True),
    "published heads and layers": lambda case: replace(case, model=_published_shape(case.model)),
}


def cell(speed: Array, cost: Array) -> tuple[float, float, float, float]:
    """Fastest speed, preferred speed and cost, cheapest cost."""
    best = pareto_front(speed, cost)
    speed, cost = speed[best], cost[best]
    at = preferred(speed, cost)
    return float(speed.max()), float(speed[at]), float(cost[at]), float(cost.min())


def published(name: str, whole: bool) -> tuple[float, float, float, float]:
    """The published program, on whole power-of-two clusters or on its own grid."""
    model, chip = MODELS[name], ACCELERATORS["h100"]
    if not whole:
        found = published_frontier(model, chip, context_tokens=CONTEXT)
        return cell(found.tok_per_s, found.usd_per_mtok_output)
    n, b = 2.0 ** np.arange(13)[:, None], concurrencies()[None, :]
    seconds = token_latency(n, b, model, chip, context_tokens=CONTEXT).total_s
    cost = n * seconds / b * chip.usd_per_hour / 3600 * 1e6
    fits = np.isfinite(seconds)
    return cell(1 / seconds[fits], cost[fits])


def main() -> None:
    rows: dict[str, dict[str, tuple[float, float, float, float]]] = {}
    for name in NAMES:
        base = Case(find_cluster("h100"), find_model(name), find_precision(name))
        for what, changed in DIFFERENCES.items():
            rows.setdefault(what, {})[name] = cell(*answer(changed(base)))
        rows.setdefault("published, whole clusters", {})[name] = published(name, whole=True)
        rows.setdefault("published", {})[name] = published(name, whole=False)
    print("| as published | " + " | ".join(NAMES) + " |")
    print("|---" * (len(NAMES) + 1) + "|")
    for what, cells in rows.items():
        texts = [
            f"{fast:.4g}; {speed:.3g} at ${usd:.3g}; ${least:.3g}"
            for fast, speed, usd, least in cells.values()
        ]
        print(f"| {what} | " + " | ".join(texts) + " |")
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
