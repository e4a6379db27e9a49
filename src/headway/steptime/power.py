"""Watts from work: idle power, and what arithmetic and memory traffic add, never above the TDP."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headway.errors import InputError
from headway.hardware.accelerator import Accelerator
from headway.steptime.work import Array

IDLE_SHARE = 0.15  # of the TDP, where the data sheet names no idle power


@dataclass(frozen=True, slots=True)
class PowerModel:
    """Power of one accelerator as a share of its TDP.

    It rises with the root of what is used: a little use wakes most of a chip, and under much use
    the clock falls. Of eight forms tried this one missed held-out chips and models least.

    Attributes:
        running: what an engine with requests draws beyond idle, whatever it does.
        arithmetic, memory: at full use of the dense peak, and of the memory bandwidth.
        spread: standard deviation of the logarithm of measured over modelled power.
        run: joules per token of a whole run, its start and its end included, over those of the
            steady state.

    """

    running: float
    arithmetic: float
    memory: float
    spread: float
    run: float = 1.0

    def __post_init__(self) -> None:
        for name in ("running", "arithmetic", "memory", "spread", "run"):
            if not 0 <= getattr(self, name) <= 10:
                raise InputError(
                    f"{name} of a power model must lie between 0 and 10, not {getattr(self, name)}"
                )

    def power_w(self, accelerator: Accelerator, arithmetic_use: Array, memory_use: Array) -> Array:
        """Watts of one accelerator; raise `InputError` where no TDP is published.

        ``arithmetic_use`` and ``memory_use`` are fractions of the data sheet's rates, 0 to 1.
        """
        if accelerator.tdp_w is None:
            raise InputError(f"no TDP is known for {accelerator.name}, so its power is not known")
        share = (
            idle_share(accelerator)
            + self.running
            + self.arithmetic * np.sqrt(arithmetic_use)
            + self.memory * np.sqrt(memory_use)
        )
        return np.asarray(accelerator.tdp_w * np.minimum(share, 1.0))


def idle_share(accelerator: Accelerator) -> float:
    """Idle power over TDP."""
    if accelerator.idle_w is None or accelerator.tdp_w is None:
        return IDLE_SHARE
    return accelerator.idle_w / accelerator.tdp_w
