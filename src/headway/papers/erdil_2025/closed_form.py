"""The back of the envelope: the fastest cluster in closed form, its speed and its cost.

Equations 12 to 19 of the paper: at small batches and without network bandwidth. One token takes
t(N) = r / N + 2 u (sqrt(N) - 1), with r the time one accelerator needs to read all weights and u
one hop of every reduction. Its minimum lies where u / sqrt(N) = r / N^2. It follows that the
latency grows with the square root of the model: u with its depth, N^(1/4), so that
u^(2/3) r^(1/3) goes as N^(1/6 + 1/3) (equation 19).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headway.errors import InputError
from headway.hardware.cluster import Cluster
from headway.model.architecture import ModelArchitecture
from headway.model.precision import Precision
from headway.papers.erdil_2025.accelerators import PublishedAccelerator
from headway.papers.erdil_2025.models import PublishedModel
from headway.report.column import column
from headway.report.report import Report
from headway.steptime.placed_model import native
from headway.units import check_positive

HOP_S = 1e-6
_BASE_S = 6e-6


def critical_batch(
    weight_bytes: float, flops_per_s: float, memory_bandwidth_bytes_per_s: float
) -> float:
    """Return the batch at which arithmetic takes as long as reading the weights (equation 2)."""
    return weight_bytes * flops_per_s / (2 * memory_bandwidth_bytes_per_s)


@dataclass(frozen=True, slots=True)
class ClosedForm:
    """The two times that decide: reading all weights once, and one hop of every reduction."""

    read_s: float
    hops_s: float

    def __post_init__(self) -> None:
        if not (self.read_s > 0 and self.hops_s > 0):
            raise InputError(f"both times must be positive, not {self.read_s} and {self.hops_s}")

    @classmethod
    def of(
        cls, model: PublishedModel, memory_bandwidth_bytes_per_s: float, hop_s: float = HOP_S
    ) -> ClosedForm:
        """Return the form of ``model``, its weights read at the given rate (equation 12)."""
        return cls(
            read_s=model.weights_total_bytes / memory_bandwidth_bytes_per_s,
            hops_s=model.num_layers * model.reductions_per_layer * hop_s,
        )

    @property
    def num_accelerators(self) -> float:
        """The fastest cluster, a real number of at least 1 (equation 13)."""
        return float(max(self.read_s / self.hops_s, 1.0) ** (2 / 3))

    @property
    def latency_s(self) -> float:
        """The shortest time of a token (equation 14)."""
        if self.num_accelerators <= 1:
            return self.read_s
        return self.approximate_latency_s - 2 * self.hops_s

    @property
    def approximate_latency_s(self) -> float:
        """The shortest time where the cluster is large (equation 18)."""
        return float(3 * self.hops_s ** (2 / 3) * self.read_s ** (1 / 3))

    def accelerator_s_per_token(self, batch: float) -> float:
        """Return the accelerator-seconds of a token at the shortest time (equations 15 to 17).

        At the critical batch this comes to about three times the arithmetic alone, 3 (2 N / C).
        """
        return self.num_accelerators * self.latency_s / batch


def simple_latency_s(
    num_accelerators: ArrayLike,
    batch: ArrayLike,
    model: PublishedModel,
    accelerator: PublishedAccelerator,
) -> NDArray[np.float64]:
    """Return the time of one token by the model of section 2.2 (equations 3 and 5; figure 1).

    Weights and arithmetic over the accelerators, and reductions of 2 (sqrt(N) - 1) hops that cost
    nothing but their latency. ``num_accelerators`` and ``batch`` broadcast. Quirks kept: 6 µs per
    reduction that the text does not have; all experts count as active; no cache; no capacity.
    """
    n = np.asarray(num_accelerators, dtype=np.float64)
    b = np.asarray(batch, dtype=np.float64)
    reduction = 2 * HOP_S * np.maximum(np.sqrt(n) - 1, 0) + _BASE_S
    network = model.num_layers * model.reductions_per_layer * reduction

    memory = model.weights_total_bytes / (n * accelerator.reached_memory_bytes_per_s)
    rate = accelerator.reached_flops_per_s(model.weight_bits)
    return np.asarray(network + np.maximum(memory, 2 * model.total_params * b / (n * rate)))


@dataclass(frozen=True, slots=True)
class ClosedFormRow:
    """The fastest cluster of one model."""

    model: str = column("model", "what is run")
    accelerator: str = column("on", "what it runs on")
    active_params: float = column("active", "that a token meets", unit="billion", scale=1e-9)
    read_s: float = column("weights read once", "by one accelerator", unit="ms", scale=1e3)
    hops_s: float = column("one hop everywhere", "of all reductions", unit="ms", scale=1e3)
    critical_batch: float = column("critical batch b*", "arithmetic takes as long as memory")
    num_accelerators: float = column("N*", "accelerators of the fastest cluster", digits=4)
    step_s: float = column("t_min", "least time of a token", unit="ms", scale=1e3, digits=4)
    approximate_step_s: float = column("t_min, large N*", "by equation 18", unit="ms", scale=1e3)
    tok_per_s_per_user: float = column("speed", "1 / t_min", unit="tok/s/user", digits=4)
    usd_per_mtok_output: float = column("cost at t_min", "at b* sequences", unit="$/Mtok")
    floor_usd_per_mtok_output: float = column("floor", "arithmetic alone", unit="$/Mtok")


def closed_form(
    model: ModelArchitecture, precision: Precision, cluster: Cluster, hop_s: float = HOP_S
) -> Report[ClosedFormRow]:
    """Return equations 2 and 12 to 18 for ``model`` on ``cluster`` at data-sheet rates.

    A sequence alone reads all active weights; every layer reduces 4 times over rings of
    sqrt(accelerators) with ``hop_s`` per hop, half as often where its blocks run in parallel.

    Raises:
        InputError: a hop that takes no time, or a cluster without a price.

    """
    check_positive(hop_s, "time of a hop in seconds", maximum=1.0)
    chip, formats = cluster.accelerator, native(precision, cluster.accelerator)
    flops_per_s = chip.flops_per_s(formats.activations)
    weight_bytes, bandwidth = formats.weights.bytes, chip.memory_bandwidth_bytes_per_s

    form = ClosedForm(
        read_s=model.active_params * weight_bytes / bandwidth,
        hops_s=model.num_layers * (2 if model.parallel_blocks else 4) * hop_s,
    )
    batch = critical_batch(weight_bytes, flops_per_s, bandwidth)
    usd_per_mega_s = cluster.usd_per_accelerator_s * 1e6
    row = ClosedFormRow(
        model=model.name,
        accelerator=cluster.name,
        active_params=model.active_params,
        read_s=form.read_s,
        hops_s=form.hops_s,
        critical_batch=batch,
        num_accelerators=form.num_accelerators,
        step_s=form.latency_s,
        approximate_step_s=form.approximate_latency_s,
        tok_per_s_per_user=1 / form.latency_s,
        usd_per_mtok_output=form.accelerator_s_per_token(batch) * usd_per_mega_s,
        floor_usd_per_mtok_output=2 * model.active_params / flops_per_s * usd_per_mega_s,
    )
    return Report(
        kind="closed-form",
        title=f"{model.name} in {formats} on {cluster.name}, on the back of the envelope",
        question={
            "model": model.name,
            "on": cluster.name,
            "precision": str(precision),
            "hop_s": hop_s,
        },
        rows=(row,),
        notes=(
            "full data-sheet rates, no network bandwidth, no KV cache, real-valued cluster: an "
            "order of magnitude, not a plan",
        ),
        sources={"formulas": "Erdil 2025, arXiv 2506.04645, equations 2 and 12 to 18"},
    )
