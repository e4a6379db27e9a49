"""Questions asked backwards: which model, or which hardware, would reach a target."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from headway.errors import DoesNotFitError, InputError
from headway.frontier.question import Question
from headway.frontier.search import search
from headway.hardware.cluster import Cluster
from headway.model.architecture import LayerGroup, ModelArchitecture
from headway.model.attention import (
    Attention,
    GroupedQueryAttention,
    LatentAttention,
    LinearAttention,
)
from headway.model.ffn import DenseFfn, Ffn, MoeFfn

DEPTH_SHARE = 1 / 3
MOST_CHANGE = 1024.0
PRECISION_OF_FACTOR = 1.01


@dataclass(frozen=True, slots=True)
class Target:
    """At least ``tok_per_s`` for every user, at no more than ``usd_per_mtok``."""

    tok_per_s: float
    usd_per_mtok: float

    def __post_init__(self) -> None:
        for value, what in ((self.tok_per_s, "speed"), (self.usd_per_mtok, "price")):
            if not 0 < value < 1e12:
                raise InputError(f"the target {what} must be above 0, not {value:g}")

    def reached(self, question: Question, cluster: Cluster) -> bool:
        """Whether some deployment of the default model meets the target."""
        try:
            points = search(question, cluster)
        except DoesNotFitError:
            return False
        met = (points.tok_per_s_per_user >= self.tok_per_s) & (
            points.usd_per_mtok_output <= self.usd_per_mtok
        )
        return bool(met.any())


def scaled(model: ModelArchitecture, factor: float) -> ModelArchitecture:
    """``model`` with about ``factor`` times the parameters of its layers.

    Depth takes a third of the exponent and width the rest (Erdil 2025, section 3.7): layers grow
    by factor^(1/3), hidden and feed-forward widths by factor^(1/3) each. Heads keep their size and
    come in whole groups; widths are multiples of 64.
    """
    depth = factor**DEPTH_SHARE
    width = factor ** ((1 - DEPTH_SHARE) / 2)
    groups = tuple(
        LayerGroup(
            max(1, round(group.count * depth)),
            _scaled_attention(group.attention, width),
            _scaled_ffn(group.ffn, width),
        )
        for group in model.layers
    )
    return replace(
        model,
        name=f"{model.name} x {factor:.3g}",
        hidden_size=_multiple(model.hidden_size * width, 64),
        layers=groups,
        mtp_layers=(),
    )


def largest(like: Question, cluster: Cluster, target: Target) -> ModelArchitecture | None:
    """The largest model shaped like that of ``like`` that reaches ``target``; ``None`` if none.

    Found by bisection on the logarithm of the scale, to 1% in parameters, between a thousandth
    and a thousand times the model.
    """
    if like.speculation is not None and like.speculation.shares_weights:
        raise InputError("a scaled model has no drafting heads; name a draft model instead")

    def reached(factor: float) -> bool:
        return target.reached(replace(like, model=scaled(like.model, factor)), cluster)

    low, high = 1e-3, 1e3
    if not reached(low):
        return None
    if reached(high):
        return scaled(like.model, high)
    return scaled(like.model, _bisect(reached, low, high))


@dataclass(frozen=True, slots=True)
class Change:
    """One property of the hardware or its price, changed alone.

    ``factor`` multiplies it (below 1 for latencies and price); ``None`` where no factor within
    1/1024 to 1024 reaches the target.
    """

    what: str
    factor: float | None


def changes(question: Question, cluster: Cluster, target: Target) -> Iterator[Change]:
    """For each property in turn, the smallest change of it alone that reaches ``target``."""
    for what, changed in KNOBS.items():

        def reached(
            inverse: float, changed: Callable[[Question, Cluster, float], _Case] = changed
        ) -> bool:
            asked, on = changed(question, cluster, 1 / inverse)
            return target.reached(asked, on)

        if reached(1.0):
            yield Change(what, 1.0)
            continue
        if not reached(1 / MOST_CHANGE):
            yield Change(what, None)
            continue
        strength = 1 / _bisect(reached, 1 / MOST_CHANGE, 1.0)
        yield Change(what, 1 / strength if what in _SMALLER_IS_BETTER else strength)


_Case = tuple[Question, Cluster]


def _bandwidth(question: Question, cluster: Cluster, factor: float) -> _Case:
    a = cluster.accelerator
    rate = a.memory_bandwidth_bytes_per_s * factor
    return question, replace(cluster, accelerator=replace(a, memory_bandwidth_bytes_per_s=rate))


def _arithmetic(question: Question, cluster: Cluster, factor: float) -> _Case:
    a = cluster.accelerator
    rates = MappingProxyType({dtype: rate * factor for dtype, rate in a.peak_flops_per_s.items()})
    return question, replace(cluster, accelerator=replace(a, peak_flops_per_s=rates))


def _memory(question: Question, cluster: Cluster, factor: float) -> _Case:
    a = cluster.accelerator
    return question, replace(cluster, accelerator=replace(a, memory_bytes=a.memory_bytes * factor))


def _link_bandwidth(question: Question, cluster: Cluster, factor: float) -> _Case:
    links = tuple(
        replace(link, bandwidth_bytes_per_s=link.bandwidth_bytes_per_s * factor)
        for link in cluster.links
    )
    return question, replace(cluster, links=links)


def _link_latency(question: Question, cluster: Cluster, factor: float) -> _Case:
    links = tuple(replace(link, latency_s=link.latency_s / factor) for link in cluster.links)
    return question, replace(cluster, links=links)


def _kernel_latency(question: Question, cluster: Cluster, factor: float) -> _Case:
    a = question.efficiency
    return replace(question, efficiency=replace(a, kernel_s=a.kernel_s / factor)), cluster


def _price(question: Question, cluster: Cluster, factor: float) -> _Case:
    hourly = cluster.usd_per_accelerator_s * 3600 / factor
    return question, cluster.at_price(hourly)


KNOBS: dict[str, Callable[[Question, Cluster, float], _Case]] = {
    "memory bandwidth": _bandwidth,
    "arithmetic rate": _arithmetic,
    "memory capacity": _memory,
    "link bandwidth": _link_bandwidth,
    "link latency": _link_latency,
    "kernel latency": _kernel_latency,
    "price": _price,
}
_SMALLER_IS_BETTER = frozenset({"link latency", "kernel latency", "price"})


def _bisect(reached: Callable[[float], bool], low: float, high: float) -> float:
    """The largest value known to be reached, given that ``low`` is and ``high`` is not."""
    while high / low > PRECISION_OF_FACTOR:
        middle = math.sqrt(low * high)
        if reached(middle):
            low = middle
        else:
            high = middle
    return low


def _multiple(value: float, of: int) -> int:
    return max(of, round(value / of) * of)


def _scaled_attention(attention: Attention, width: float) -> Attention:
    match attention:
        case GroupedQueryAttention():
            heads = _multiple(attention.num_heads * width, 8)
            kv = int(2 ** np.round(np.log2(attention.num_kv_heads)))
            kv = min(kv, heads) if attention.num_kv_heads < attention.num_heads else heads
            return replace(attention, num_heads=_multiple(heads, kv), num_kv_heads=kv)
        case LatentAttention():
            return replace(attention, num_heads=_multiple(attention.num_heads * width, 8))
        case LinearAttention():
            keys = _multiple(attention.num_key_heads * width, 8)
            ratio = max(1, attention.num_value_heads // attention.num_key_heads)
            return replace(attention, num_key_heads=keys, num_value_heads=keys * ratio)


def _scaled_ffn(ffn: Ffn, width: float) -> Ffn:
    match ffn:
        case DenseFfn():
            return replace(ffn, intermediate_size=_multiple(ffn.intermediate_size * width, 64))
        case MoeFfn():
            shared = ffn.shared_intermediate_size
            return replace(
                ffn,
                intermediate_size=_multiple(ffn.intermediate_size * width, 64),
                shared_intermediate_size=_multiple(shared * width, 64) if shared else 0,
            )
