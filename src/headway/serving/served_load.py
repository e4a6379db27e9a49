"""A load on one engine: users in a closed loop, prefill and decode on the same accelerators."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from headway.serving.closed_loop import ClosedLoop
from headway.serving.load_steps import LoadShape, load_steps
from headway.serving.load_times import LoadTimes, decode_times, load_times
from headway.steptime.deployment import Deployment
from headway.steptime.step_time import RequestOverhead
from headway.steptime.time_estimate import Bound, TimeEstimate
from headway.steptime.work import Array


@dataclass(frozen=True, eq=False)
class ServedLoad:
    """A load as a deployment serves it: its counts, its steps in time, its times.

    Attributes:
        decode, mixed: time of a pure decode step, and of a step with prompts.
        overhead: what the engine adds to a request.
        prefilled: whether the engine decodes only.

    """

    shape: LoadShape
    decode: TimeEstimate
    mixed: TimeEstimate
    overhead: RequestOverhead
    prefilled: bool

    @cached_property
    def times(self) -> LoadTimes:
        """The expected times."""
        return self._times(self.decode.expected_s, self.mixed.expected_s)

    @cached_property
    def fastest(self) -> LoadTimes:
        """The times where every step takes the lower end of its own."""
        return self._times(self.decode.lower_s, self.mixed.lower_s)

    @cached_property
    def slowest(self) -> LoadTimes:
        """The times where every step takes the upper end of its own."""
        return self._times(self.decode.upper_s, self.mixed.upper_s)

    @cached_property
    def perfect(self) -> LoadTimes | None:
        """The times that no machine with this data sheet can beat; ``None`` if uncounted.

        Every step takes its bound, the engine adds nothing to a request.
        """
        decode, mixed = self.decode.bound, self.mixed.bound
        if decode is None or mixed is None:
            return None
        if self.prefilled:
            return decode_times(self.shape, decode.total_s)
        mixed_s = np.maximum(mixed.total_s, np.where(self.shape.mixes > 0, decode.total_s, 0.0))
        return load_times(self.shape, decode.total_s, mixed_s, RequestOverhead())

    @property
    def peak_use(self) -> tuple[Array, Array] | None:
        """Fractions of dense peak and memory bandwidth in use; ``None`` where nobody counted.

        Of the busiest accelerator, over decode steps and prompts.
        """
        return peak_use(self.decode.bound, self.mixed.bound, self.times)

    def _times(self, decode_s: Array, mixed_s: Array) -> LoadTimes:
        if self.prefilled:
            return decode_times(self.shape, decode_s)
        return load_times(self.shape, decode_s, mixed_s, self.overhead)


def serve_loop(deployment: Deployment, loop: ClosedLoop) -> ServedLoad:
    """Return what ``loop`` takes on ``deployment``, by its step-time model."""
    steps, model = load_steps(deployment, loop), deployment.step_time_model
    decode = model.step_time(steps.decode)
    return ServedLoad(
        shape=steps.shape,
        decode=decode,
        mixed=decode if loop.prefilled else model.step_time(steps.mixed),
        overhead=model.request_overhead,
        prefilled=loop.prefilled,
    )


def peak_use(
    decode: Bound | None, mixed: Bound | None, times: LoadTimes
) -> tuple[Array, Array] | None:
    """Return the fractions of dense peak and memory bandwidth in use; ``None`` if uncounted."""
    if decode is None or mixed is None:
        return None
    arithmetic = times.use_of(decode.arithmetic_s, mixed.arithmetic_s)
    return arithmetic, times.use_of(decode.memory_s, mixed.memory_s)
