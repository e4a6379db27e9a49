"""The one interface that everything else reads: how long a forward pass takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from headway.steptime.time_estimate import TimeEstimate
from headway.steptime.work import Array, Number
from headway.workload.step import Step


@dataclass(frozen=True, slots=True, eq=False)
class RequestOverhead:
    """What an engine adds to a request before its first token, beyond the steps of its prompt.

    Attributes:
        fixed_s: seconds of every request.
        prompt_token_s: seconds of every token of its prompt that is computed.
        held_steps: steps for which the first token is held back before it streams.

    """

    fixed_s: Number = 0.0
    prompt_token_s: Number = 0.0
    held_steps: Number = 0.0

    def seconds(self, prompt_tokens: Number, step_s: Number) -> Array:
        """Return the seconds added to a prompt of ``prompt_tokens`` beside steps of ``step_s``."""
        return np.asarray(
            self.fixed_s + self.prompt_token_s * prompt_tokens + self.held_steps * step_s
        )


class StepTimeModel(Protocol):
    """Whatever predicts the time of one forward pass: analytic, calibrated, measured or fitted."""

    @property
    def request_overhead(self) -> RequestOverhead:
        """What is added to a request before its first token."""
        ...

    def step_time(self, step: Step) -> TimeEstimate:
        """Return the time of ``step``, arrays of its leading shape, with interval and basis."""
        ...
