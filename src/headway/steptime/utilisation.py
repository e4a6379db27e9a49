"""How much of the hardware is used, against what its data sheet promises."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def mfu(flops: Array, accelerator_s: Array, peak_flops_per_s: float) -> Array:
    """Model flops over accelerator time x dense peak (Chowdhery et al. 2022, appendix B)."""
    return np.asarray(flops / (accelerator_s * peak_flops_per_s))


def mbu(moved_bytes: Array, seconds: Array, peak_bytes_per_s: float) -> Array:
    """Bytes one accelerator must move over time x its peak memory bandwidth."""
    return np.asarray(moved_bytes / (seconds * peak_bytes_per_s))
