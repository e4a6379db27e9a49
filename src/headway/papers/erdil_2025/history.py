"""The paper's three earlier models of the time of a token, on the way to the last one.

Each is a function of the published program: the simple model behind figure 1, the equations as
the paper presents them, and the same with a choice of layout.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headway.papers.erdil_2025.accelerators import PublishedAccelerator
from headway.papers.erdil_2025.forward import Choices
from headway.papers.erdil_2025.models import PublishedModel

__all__ = ["AS_PRESENTED", "FINAL", "simple_latency_s"]

_HOP_S = 1e-6
_BASE_S = 6e-6

AS_PRESENTED = Choices(
    pipeline=False, attention_scale_down=False, expert_parallel=False, one_dimensional=False
)
"""Section 3 as printed (equations 29 to 44): tensor parallelism in two dimensions only."""

FINAL = Choices(pipeline=False, attention_scale_down=False, expert_parallel=False)
"""The same in one dimension or in two, whichever is faster."""


def simple_latency_s(
    num_accelerators: ArrayLike,
    batch: ArrayLike,
    model: PublishedModel,
    accelerator: PublishedAccelerator,
) -> NDArray[np.float64]:
    """Return the time of one token by the model of section 2.2 (equations 3 and 5).

    Weights and arithmetic over the accelerators, and reductions of 2 (sqrt(N) - 1) hops that cost
    nothing but their latency. ``num_accelerators`` and ``batch`` broadcast. Quirks kept: 6 µs per
    reduction that the text does not have; all experts count as active; no cache; no capacity.
    """
    n = np.asarray(num_accelerators, dtype=np.float64)
    b = np.asarray(batch, dtype=np.float64)
    reduction = 2 * _HOP_S * np.maximum(np.sqrt(n) - 1, 0) + _BASE_S
    network = model.num_layers * model.reductions_per_layer * reduction
    memory = model.weights_total_bytes / (n * accelerator.reached_memory_bytes_per_s)
    rate = accelerator.reached_flops_per_s(model.weight_bits)
    return np.asarray(network + np.maximum(memory, 2 * model.total_params * b / (n * rate)))
