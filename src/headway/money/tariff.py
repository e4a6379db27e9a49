"""Dollars: accelerators are paid by the hour, answers are made of tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headway.errors import InputError
from headway.hardware.cluster import Cluster
from headway.steptime.work import Array, Number

J_PER_KWH = 3.6e6


def usd_per_mtok(cluster: Cluster, num_accelerators: Number, tokens_per_s: Number) -> Array:
    """Dollars per million tokens of ``num_accelerators`` that produce ``tokens_per_s`` in all."""
    return np.asarray(num_accelerators * cluster.usd_per_accelerator_s / tokens_per_s * 1e6)


@dataclass(frozen=True, slots=True)
class Tariff:
    """What running a rented or owned accelerator costs.

    Attributes:
        usd_per_accelerator_hour: on demand, reserved, or the depreciation of one's own.
        duty_cycle: fraction of the paid hours in which there is load.
        usd_per_kwh: of electricity on top, 0 where the hourly price includes it.
        pue: power of the building over power of the accelerators.

    """

    usd_per_accelerator_hour: float
    duty_cycle: float = 1.0
    usd_per_kwh: float = 0.0
    pue: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.usd_per_accelerator_hour <= 1e6:
            raise InputError(
                "price in $ per accelerator-hour must be above 0 and at most 1e6, not "
                f"{self.usd_per_accelerator_hour:g}"
            )
        if not 0 < self.duty_cycle <= 1:
            raise InputError(f"duty cycle must lie in (0, 1], not {self.duty_cycle:g}")
        if not 0 <= self.usd_per_kwh <= 100:
            raise InputError(f"$ per kWh must lie between 0 and 100, not {self.usd_per_kwh:g}")
        if not 1 <= self.pue <= 10:
            raise InputError(f"PUE must lie between 1 and 10, not {self.pue:g}")

    def usd_per_loaded_s(self, power_w: Number) -> Array:
        """Dollars of one accelerator for a second under load of ``power_w``."""
        rent = self.usd_per_accelerator_hour / 3600 / self.duty_cycle
        return np.asarray(rent + power_w * self.pue * self.usd_per_kwh / J_PER_KWH)
