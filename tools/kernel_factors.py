"""What single kernels of a chip reach, measured alone: known before any load was ever served.

Medians over three engines' kernels in the tables of the wheel aiconfigurator-core 0.12.0 (NVIDIA,
Apache-2.0), as fractions of the data sheet: large products, thin products, decode attention. Only
how chips differ is used, against the mean of the three that most loads were measured on.
"""

from __future__ import annotations

import numpy as np

from headway.steptime.kernel_coefficients import AT, NAMES
from headway.steptime.work import Array

REFERENCE = ("h100", "h200", "b200")
MEASURED = (
    "flops_16",
    "flops_8",
    "flops_4",
    "bandwidth_16",
    "bandwidth_8",
    "bandwidth_4",
    "cache_bandwidth",
)
# nan where the format is not native.
FRACTIONS: dict[str, tuple[float, ...]] = {
    "a100": (0.839, np.nan, np.nan, 0.709, np.nan, np.nan, 0.737),
    "l40s": (0.568, 0.474, np.nan, 0.811, 0.700, np.nan, 0.786),
    "h100": (0.779, 0.554, np.nan, 0.800, 0.646, np.nan, 0.831),
    "h200": (0.770, 0.603, np.nan, 0.782, 0.601, np.nan, 0.763),
    "b200": (0.654, 0.476, 0.436, 0.745, 0.472, 0.380, 0.812),
    "b300": (0.663, 0.503, 0.304, 0.743, 0.466, 0.392, 0.807),
    "gb200-nvl72": (0.608, 0.467, 0.407, 0.730, 0.460, 0.386, 0.808),
    "gb300-nvl72": (0.737, 0.532, 0.307, 0.725, 0.467, 0.394, 0.791),
    "rtx-pro-6000": (0.853, 0.738, 0.637, 0.811, 0.717, 0.498, 0.808),
}


def kernel_factors() -> dict[str, Array]:
    """Return log-factors of the coefficients by chip; 0 where nothing was measured."""
    table = np.array(list(FRACTIONS.values()))
    reference = np.nanmean(np.log(np.array([FRACTIONS[name] for name in REFERENCE])), axis=0)
    by_chip = {}
    for name, measured in zip(FRACTIONS, np.log(table) - reference, strict=True):
        factors = np.zeros(len(NAMES))
        for coefficient, value in zip(MEASURED, measured, strict=True):
            factors[AT[coefficient]] = np.nan_to_num(value)
        by_chip[name] = factors
    return by_chip
