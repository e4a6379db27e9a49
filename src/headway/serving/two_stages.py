"""What two stages are made of: their engines, the load, and what each engine's steps take."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from headway.errors import InputError
from headway.hardware.cluster import Link
from headway.serving.closed_loop import ClosedLoop
from headway.serving.load_steps import LoadShape, LoadSteps, load_steps, seats
from headway.serving.load_times import LoadTimes, load_times
from headway.steptime.deployment import Deployment
from headway.steptime.step_time import RequestOverhead
from headway.steptime.time_estimate import TimeEstimate
from headway.steptime.work import Array

GRID_POINTS, MAX_SEQUENCES = 96, 2.0**20
# Time to first token of 90 measured deployments at up to 64 users beyond what the stations explain:
# 0.10, 0.12 and 0.12 s in the median on B200, GB200 and GB300 (InferenceX, NVIDIA Dynamo).
HANDOFF_S = 0.12


@dataclass(frozen=True, slots=True, eq=False)
class Workers:
    """Alike engines that do one of the two stages."""

    deployment: Deployment
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.count <= 1_000_000:
            raise InputError(f"a stage needs 1 to 1000000 engines, not {self.count}")
        if self.deployment.parallelism.num_accelerators.ndim:
            raise InputError("a stage takes one layout, not an array of them")

    @property
    def num_accelerators(self) -> int:
        """Accelerators of all engines of the stage."""
        return self.count * int(self.deployment.num_accelerators)


@dataclass(frozen=True, slots=True, eq=False)
class TwoStages:
    """Prefill engines and decode engines, with a link between them.

    Attributes:
        link: over which the cache goes; its bandwidth is of one accelerator.
        overlapped: whether a layer's cache is sent while the next layers are computed.
        handoff_s: what the router and the handing over of a request add to its first token.

    """

    prefill: Workers
    decode: Workers
    link: Link
    overlapped: bool = True
    handoff_s: float = HANDOFF_S

    def __post_init__(self) -> None:
        if not 0 <= self.handoff_s <= 60:
            raise InputError(f"handoff_s must lie between 0 and 60 s, not {self.handoff_s:g}")
        if self.prefill.deployment.model.name != self.decode.deployment.model.name:
            raise InputError(
                "prefill and decode engines must run the same model, not "
                f"{self.prefill.deployment.model.name} and {self.decode.deployment.model.name}"
            )

    @property
    def num_accelerators(self) -> int:
        """Accelerators of both stages."""
        return self.prefill.num_accelerators + self.decode.num_accelerators

    def with_engines(self, prefill: int, decode: int) -> TwoStages:
        """Return the same with so many engines of either stage."""
        return replace(
            self,
            prefill=replace(self.prefill, count=prefill),
            decode=replace(self.decode, count=decode),
        )


@dataclass(frozen=True, slots=True, eq=False)
class StageTimes:
    """What the engine of one stage does under its share of a load: counts, steps, times."""

    shape: LoadShape
    decode: TimeEstimate
    mixed: TimeEstimate
    times: LoadTimes


@dataclass(frozen=True, slots=True)
class Prefilling:
    """One prefill engine: seconds of a step of one prompt, and of one of ``max_prompts``."""

    handling_s: float
    alone_s: float
    full_s: float
    max_prompts: float

    @property
    def requests_per_s(self) -> float:
        """The most prompts that one engine computes in a second."""
        return self.max_prompts / self.full_s

    def step_s(self, requests_per_s: float) -> float:
        """A step of the prompts that arrive during one, at ``requests_per_s`` of one engine."""
        if self.max_prompts <= 1:
            return self.alone_s

        # A step takes a fixed time and more for every prompt; prompts arrive while it runs.
        prompt_s = (self.full_s - self.alone_s) / (self.max_prompts - 1)
        fixed_s = self.alone_s - prompt_s
        spare = 1 - requests_per_s * prompt_s
        prompts = self.max_prompts if spare <= 0 else requests_per_s * fixed_s / spare
        return fixed_s + prompt_s * min(max(prompts, 1.0), self.max_prompts)

    def wait_s(self, requests_per_s: float, engines: int, users: float) -> float:
        """Before a prompt's own step, when all engines together see ``requests_per_s``."""
        use = min(requests_per_s / (engines * self.requests_per_s), 1.0) * (1 - 1 / users)
        if use >= 1:
            return np.inf
        full = use ** (np.sqrt(2.0 * (engines + 1)) - 1)
        return float(0.5 * full / (1 - use) / (engines * self.requests_per_s))


@dataclass(frozen=True, slots=True)
class Decoding:
    """One decode engine: seconds in it by the sequences that it runs, at increasing counts."""

    sequences: Array
    stay_s: Array

    def stay(self, requests_per_s: float) -> float:
        """Seconds between the first and the last token at ``requests_per_s`` of one engine."""
        return float(np.interp(requests_per_s, self._rates(), self.stay_s))

    @property
    def requests_per_s(self) -> float:
        """The most requests that one engine finishes in a second."""
        return float(self._rates()[-1])

    def _rates(self) -> Array:
        rates = self.sequences / np.maximum(self.stay_s, 1e-300)
        return np.asarray(np.maximum.accumulate(rates))


def transfer_bytes(workers: Workers, prompt_tokens: float) -> float:
    """Return the bytes of one prompt's cache on the accelerator that holds most of it."""
    return float(workers.deployment.kv_bytes(1, prompt_tokens))


def prefill_times(stages: TwoStages, loop: ClosedLoop) -> StageTimes:
    """Return what a prefill engine does with one prompt alone, and with as many as a step takes.

    Arrays have shape ``(2,)``.
    """
    deployment = stages.prefill.deployment
    new_tokens = float(loop.prompt_tokens * (1 - loop.cached_fraction))
    budget = deployment.limits.max_num_batched_tokens
    many = float(deployment.parallelism.dp) * (np.ceil(budget / max(new_tokens, 1.0)) + 1) + 1
    burst = ClosedLoop(loop.prompt_tokens, 1, [1.0, many], loop.cached_fraction)
    return _stage_times(deployment, load_steps(deployment, burst, mixes=False))


def decode_times(stages: TwoStages, loop: ClosedLoop, sequences: Array) -> StageTimes:
    """Return what a decode engine does with ``sequences`` in it, undisturbed by prompts."""
    deployment = stages.decode.deployment
    same = ClosedLoop(loop.prompt_tokens, loop.output_tokens, sequences)
    steps = load_steps(deployment, same, mixes=False)
    undisturbed = replace(steps.shape, mixed_steps=np.zeros_like(steps.shape.mixed_steps))
    return _stage_times(deployment, replace(steps, shape=undisturbed))


def max_sequences(stages: TwoStages, loop: ClosedLoop) -> float:
    """Return the sequences that a decode engine holds, by memory and limits; may be 0."""
    many = ClosedLoop(loop.prompt_tokens, loop.output_tokens, MAX_SEQUENCES)
    return float(seats(stages.decode.deployment, many))


def prefilling(stages: TwoStages, loop: ClosedLoop) -> Prefilling:
    """Return what prefill engines take; raise `DoesNotFitError` where no prompt fits."""
    stage, deployment = prefill_times(stages, loop), stages.prefill.deployment
    shape, times = stage.shape, stage.times
    if np.any(shape.starved):
        deployment.check_fit(int(deployment.parallelism.dp), float(loop.prompt_tokens))

    steps_s = times.mixed_step_s * shape.prompt_steps
    handling_s = float(times.ttft_s[0] - steps_s[0])
    max_prompts = float(shape.prompts_per_step[1])
    # A step of many is never slower than the same prompts one by one.
    full_s = min(float(steps_s[1]), max_prompts * float(steps_s[0]))
    return Prefilling(
        handling_s=max(handling_s, 0.0) + stages.handoff_s,
        alone_s=float(steps_s[0]),
        full_s=full_s,
        max_prompts=max_prompts,
    )


def decoding(stages: TwoStages, loop: ClosedLoop) -> Decoding:
    """Return what decode engines take; raise `DoesNotFitError` where no sequence fits."""
    largest, deployment = max_sequences(stages, loop), stages.decode.deployment
    if largest < 1:
        deployment.check_fit(int(deployment.parallelism.dp), float(loop.mean_context_tokens))

    few = np.arange(1.0, min(largest, 32.0) + 1)
    many = np.geomspace(min(largest, 32.0), max(largest, 1.0), GRID_POINTS)
    sequences = np.unique(np.concatenate([few, many]))
    gaps = float(loop.output_tokens) - 1
    tpot_s = decode_times(stages, loop, sequences).times.tpot_s
    return Decoding(sequences, np.asarray(np.maximum.accumulate(tpot_s * gaps)))


def _stage_times(deployment: Deployment, steps: LoadSteps) -> StageTimes:
    model = deployment.step_time_model
    decode, mixed = model.step_time(steps.decode), model.step_time(steps.mixed)
    overhead: RequestOverhead = model.request_overhead
    times = load_times(steps.shape, decode.expected_s, mixed.expected_s, overhead)
    return StageTimes(shape=steps.shape, decode=decode, mixed=mixed, times=times)
