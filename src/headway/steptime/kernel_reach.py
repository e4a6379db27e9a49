"""What the kernels of a chip reach that nobody measured alone, told from its data sheet.

Thin products read weights through the vector units, which unpack them. Where these are fast for
the memory (GDDR on GeForce, RTX and L cards), kernels come nearer to its bandwidth than on HBM.
"""

from __future__ import annotations

import numpy as np

from headway.dtypes import DType
from headway.hardware.accelerator import Accelerator
from headway.steptime.kernel_coefficients import AT, NAMES
from headway.steptime.work import Array

MAX_BYTES_PER_FLOP = 0.03  # of memory and vector units; 0.007 to 0.028 with GDDR
# Logs of what thin products reach on two such cards that were measured (L40S, RTX PRO 6000) over
# H100, H200 and B200 (`tools/kernel_factors.py`). Nobody measured 4-bit weights that are multiplied
# in 16 bits alone: theirs is what three published speeds ask for at least (vLLM's AWQ of Qwen2.5-7B
# on RTX 4090, L40S and RTX 5090: 174, 136 and 250 tokens/s; 139, 130 and 205 with it, 98, 89 and
# 152 without).
REACH = {"bandwidth_16": 0.04, "bandwidth_8": 0.22, "bandwidth_4": 0.27, "bandwidth_wide": 0.6}
WIDE = ("bandwidth_wide",)


def vector_flops_per_s(accelerator: Accelerator) -> float:
    """Return the rate of the vector units: fp32's, or half of the fastest 16-bit one's."""
    rates = accelerator.peak_flops_per_s
    if DType.FP32 in rates:
        return rates[DType.FP32]
    return max(rate for dtype, rate in rates.items() if dtype.bits >= 16) / 2


def kernel_reach(accelerator: Accelerator, is_measured: bool) -> Array:
    """Return log-factors of the coefficients of ``accelerator``, 0 for what was measured alone.

    Only of NVIDIA's: kernels of other vendors with GDDR were never measured.
    """
    logs = np.zeros(len(NAMES))
    vector = vector_flops_per_s(accelerator)
    has_fast_units = accelerator.memory_bandwidth_bytes_per_s <= MAX_BYTES_PER_FLOP * vector
    if accelerator.vendor == "nvidia" and has_fast_units:
        for name in WIDE if is_measured else REACH:
            logs[AT[name]] = REACH[name]
    return logs
