"""Step times of engines for one's own machine, such as llama.cpp, on any chip.

Their kernels multiply a vector by weights that are unpacked on the way, on the chip's vector
units. So a step reads the weights at a share of the memory bandwidth, spends so many operations
on each of their bytes, and launches so much in each layer; prompts of many tokens are held by
the products instead. Nothing is split within a layer: more accelerators take their layers one
after another. What few numbers this needs was fitted to public scores of one request, by
``tools/fit_local.py``; a chip that nobody scored falls back on its family and its vendor.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from headway.dtypes import DType
from headway.hardware.accelerator import Accelerator
from headway.steptime.kernel_reach import vector_flops_per_s
from headway.steptime.placed_model import PlacedModel
from headway.steptime.roofline import bound_of
from headway.steptime.step_time import RequestOverhead
from headway.steptime.time_estimate import Basis, ComponentTimes, TimeEstimate
from headway.steptime.work import Array, Forward, Number
from headway.workload.step import Step


@dataclass(frozen=True, slots=True)
class LocalCoefficients:
    """How an engine runs on one chip.

    Attributes:
        bandwidth: fraction of the memory bandwidth at which weights are read.
        unpack_flops: operations of the vector units for every byte of weights.
        cache_bandwidth: fraction of the memory bandwidth at which the KV cache is read.
        flops: what products reach, over the rate of the vector units in fp32.
        layer_s: launches of one layer, seconds.

    """

    bandwidth: float
    unpack_flops: float
    cache_bandwidth: float
    flops: float
    layer_s: float


@dataclass(frozen=True, slots=True)
class Spread:
    """80% half-widths of the log of a time: of a token and of a prompt, by what was scored."""

    token: float
    token_of_other_families: float
    prompt: float
    prompt_of_other_families: float


@dataclass(frozen=True, slots=True)
class LocalFit:
    """What was fitted of one engine.

    Attributes:
        prior: coefficients of nobody in particular.
        log_factors: by level (format, vendor, family) and group, by coefficient.
        spreads: by vendor, `Spread` of its answers; of any vendor under an empty name.
        words: what it rests on.

    """

    prior: LocalCoefficients
    log_factors: Mapping[str, Mapping[str, Mapping[str, float]]]
    spreads: Mapping[str, Spread]
    words: str

    def of(self, accelerator: Accelerator, weights: DType) -> LocalCoefficients:
        """Return the coefficients of ``accelerator`` with weights of a format."""
        groups = {
            "format": f"int{round(weights.bits)}" if weights.bits <= 8 else "fp16",
            "vendor": accelerator.vendor,
            "family": accelerator.family,
        }
        logs = {name: np.log(getattr(self.prior, name)) for name in LocalCoefficients.__slots__}
        for level, group in groups.items():
            for name, factor in self.log_factors[level].get(group, {}).items():
                logs[name] += factor

        values = {name: float(np.exp(value)) for name, value in logs.items()}
        values["bandwidth"] = min(values["bandwidth"], 1.0)
        return LocalCoefficients(**values)

    def has_scored(self, accelerator: Accelerator) -> bool:
        """Return whether a chip of the family was scored."""
        return accelerator.family in self.log_factors["family"]

    def half_width(self, accelerator: Accelerator, step: Step) -> Array:
        """Return the 80% half-width of the log of the time of ``step``, with prompts or without."""
        spread = self.spreads.get(accelerator.vendor, self.spreads[""])
        token, prompt = spread.token_of_other_families, spread.prompt_of_other_families
        if self.has_scored(accelerator):
            token, prompt = spread.token, spread.prompt
        has_prompt = np.any(step.scheduled_tokens > step.sampled_tokens, axis=-1)
        return np.where(has_prompt, prompt, token)


@cache
def local_fits() -> Mapping[str, LocalFit]:
    """Return what was fitted, by engine."""
    path = Path(__file__).parent / "coefficients" / "local.json"
    return {name: _fit(tree) for name, tree in json.loads(path.read_text("utf-8")).items()}


def _fit(tree: Mapping[str, Any]) -> LocalFit:
    return LocalFit(
        prior=LocalCoefficients(**tree["prior"]),
        log_factors=tree["log_factors"],
        spreads={vendor: Spread(*widths) for vendor, widths in tree["spreads"].items()},
        words=tree["words"],
    )


@dataclass(frozen=True, slots=True, eq=False)
class LocalStepTime:
    """Counted work of ``placed``, as ``fit`` prices it."""

    placed: PlacedModel
    fit: LocalFit

    @property
    def request_overhead(self) -> RequestOverhead:
        """Nothing: public scores leave it out."""
        return RequestOverhead()

    def step_time(self, step: Step) -> TimeEstimate:
        """Return the time of ``step``, with the interval of such scores."""
        accelerator = self.placed.cluster.accelerator
        coefficients = self.fit.of(accelerator, self.placed.precision.weights)
        forward = self.placed.forward(step)
        shards: Number = self.placed.parallelism.tp
        components = local_time(
            forward, accelerator, coefficients, shards=shards, layers=self.placed.model.num_layers
        )

        # No machine with this data sheet is faster.
        half_width, bound = (
            self.fit.half_width(accelerator, step),
            bound_of(forward, self.placed.cluster),
        )
        expected_s = components.total_s
        least_s = np.minimum(bound.total_s, expected_s)
        return TimeEstimate(
            expected_s=expected_s,
            lower_s=np.maximum(expected_s * np.exp(-half_width), least_s),
            upper_s=np.asarray(expected_s * np.exp(half_width)),
            basis=Basis.FITTED if self.fit.has_scored(accelerator) else Basis.ANALYTIC,
            components=components,
            bound=bound,
        )


def local_time(
    forward: Forward,
    accelerator: Accelerator,
    coefficients: LocalCoefficients,
    *,
    shards: Number,
    layers: int,
) -> ComponentTimes:
    """Return the seconds of each component of a pass, and of the whole.

    ``shards`` are the accelerators that share each layer in ``forward``; they take whole layers
    one after another here.
    """
    bytes_per_s = accelerator.memory_bandwidth_bytes_per_s
    vector_per_s = vector_flops_per_s(accelerator)

    arithmetic_s: Array = np.zeros(())
    memory_s: Array = np.zeros(())
    for op in forward.ops:
        weight_bytes = op.work.weight_bytes * shards
        unpacked_s = weight_bytes * coefficients.unpack_flops / vector_per_s
        products_s = op.work.flops * shards / (vector_per_s * coefficients.flops)
        weights_s = weight_bytes / (bytes_per_s * coefficients.bandwidth)
        cache_s = op.work.kv_bytes * shards / (bytes_per_s * coefficients.cache_bandwidth)

        arithmetic_s = arithmetic_s + np.maximum(unpacked_s, products_s)
        memory_s = memory_s + weights_s + cache_s

    latency_s = np.asarray(layers * coefficients.layer_s, dtype=np.float64)
    return ComponentTimes(
        arithmetic_s=arithmetic_s,
        memory_s=memory_s,
        network_s=np.zeros(()),
        latency_s=latency_s,
        total_s=arithmetic_s + memory_s + latency_s,
    )
