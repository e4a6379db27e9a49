"""What the published method charges: dollars, training energy, and its own cost.

Source: Narayanan et al. 2023 (arXiv 2305.02440), the notebooks beside it, and HELM's
``training_efficiency.json``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headway.ideal.request_profile import FloatArray, RequestProfile
from headway.units import HOUR_S, check_positive

# The paper's prices; they are of nodes whose memory is too small for its largest models.
A100_USD_PER_HOUR = 4.096
V100_USD_PER_HOUR = 3.06
# HELM's power usage effectiveness of a data centre.
PUE = 1.1


def idealized_usd(
    runtime_s: FloatArray | float, num_accelerators: float, usd_per_accelerator_hour: float
) -> FloatArray:
    """Return dollars of a request that has ``num_accelerators`` to itself for ``runtime_s``."""
    check_positive(num_accelerators, "number of accelerators")
    check_positive(usd_per_accelerator_hour, "price in $ per accelerator-hour", 1e6)
    rate = num_accelerators * usd_per_accelerator_hour / HOUR_S
    return np.asarray(np.asarray(runtime_s, dtype=np.float64) * rate)


def published_flops(
    hidden_size: float,
    num_layers: float,
    prompt_tokens: FloatArray | float,
    output_tokens: FloatArray | float,
) -> FloatArray:
    """Return flops of a request as the figures count them: no attention, no logits, no GLU."""
    tokens = np.asarray(prompt_tokens, dtype=np.float64) + output_tokens - 1
    return np.asarray(24.0 * hidden_size**2 * num_layers * tokens)


@dataclass(frozen=True, slots=True)
class Training:
    """Energy in MWh and metric tons of CO2 (HELM's schema says kg; its numbers are tons)."""

    energy_mwh: float
    co2_t: float


def training(
    num_accelerators: float, days: float, power_w: float, kg_co2_per_kwh: float, pue: float = PUE
) -> Training:
    """Return energy and emissions of a training run at constant power (HELM)."""
    for value, what in (
        (num_accelerators, "number of accelerators"),
        (days, "days"),
        (power_w, "power in W"),
        (pue, "PUE"),
    ):
        check_positive(value, what)
    energy_mwh = num_accelerators * days * 24 * power_w * pue / 1e6
    return Training(energy_mwh, energy_mwh * kg_co2_per_kwh)


def profiling_hours(profile: RequestProfile, trials: int) -> float:
    """Return machine hours of measuring every point of ``profile`` ``trials`` times."""
    return float(profile.runtime_s.sum()) * trials / HOUR_S


def local_profiling_usd(profile: RequestProfile, trials: int, usd_per_node_hour: float) -> float:
    """Return dollars of measuring ``profile`` on one's own node (its cost notebook, cell 13)."""
    return profiling_hours(profile, trials) * usd_per_node_hour


def api_profiling_usd(
    profile: RequestProfile, trials: int, usd_per_prompt_token: float, usd_per_output_token: float
) -> float:
    """Return dollars of asking an API for every point of ``profile`` (same notebook, cell 12)."""
    prompts, outputs = profile.prompt_tokens.sum(), profile.output_tokens.sum()
    per_trial = prompts * usd_per_prompt_token + outputs * usd_per_output_token
    return float(per_trial) * trials


def saving(baseline_usd: float, method_usd: float) -> float:
    """Return how many times cheaper the method is than measuring every query."""
    return baseline_usd / check_positive(method_usd, "cost of the method in $")
