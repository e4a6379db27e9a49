"""What two stages are made of: their engines, the load, and what each engine's steps take."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from headway.errors import InputError
from headway.hardware.cluster import Link
from headway.serving.one_engine import (
    Limits,
    Load,
    ServingTable,
    ServingTimes,
    seats,
    serving_times,
    tabulate_serving,
)
from headway.steptime.calibration import Calibration, Subject, shipped
from headway.steptime.deployment import Deployment
from headway.steptime.memory import kv_bytes
from headway.steptime.speculative import Speculation
from headway.steptime.work import Array

GRID_POINTS, MOST_SEQUENCES = 96, 2.0**20
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
        return self.count * int(self.deployment.parallelism.num_accelerators)


@dataclass(frozen=True, slots=True, eq=False)
class Disaggregated:
    """A load on prefill engines and decode engines, with a link between them.

    Attributes:
        engine: as the calibration names it.
        load: scalars only.
        link: over which the cache goes; its bandwidth is of one accelerator.
        overlapped: a layer's cache is sent while the next layers are computed.
        handoff_s: what the router and the handing over of a request add to its first token.
        drafted: tokens drafted per decode step by ``speculation``, 0 for none.

    """

    prefill: Workers
    decode: Workers
    engine: str
    load: Load
    link: Link
    overlapped: bool = True
    handoff_s: float = HANDOFF_S
    limits: Limits = field(default_factory=Limits)
    speculation: Speculation | None = None
    drafted: int = 0
    calibration: Calibration = field(default_factory=shipped)

    def __post_init__(self) -> None:
        if np.broadcast(self.load.prompt_tokens, self.load.output_tokens).ndim or (
            self.load.concurrency.ndim or self.load.cached_fraction.ndim
        ):
            raise InputError("a disaggregated deployment answers one load at a time")
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

    def subject(self, workers: Workers) -> Subject:
        """The names by which the calibration knows a stage."""
        d = workers.deployment
        return Subject.of(d.cluster.accelerator, self.engine, d.model, d.precision.weights.value)


@dataclass(frozen=True, slots=True)
class Prefilling:
    """One prefill engine: seconds of a step of one prompt, and of one of ``most`` prompts."""

    handling_s: float
    alone_s: float
    full_s: float
    most: float

    @property
    def requests_per_s(self) -> float:
        """The most prompts that one engine computes in a second."""
        return self.most / self.full_s

    def step_s(self, requests_per_s: float) -> float:
        """A step of the prompts that arrive during one, at ``requests_per_s`` of one engine."""
        if self.most <= 1:
            return self.alone_s
        more_s = (self.full_s - self.alone_s) / (self.most - 1)
        fixed_s = self.alone_s - more_s
        left = 1 - requests_per_s * more_s
        prompts = self.most if left <= 0 else requests_per_s * fixed_s / left
        return fixed_s + more_s * min(max(prompts, 1.0), self.most)

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
    """Bytes of one prompt's cache on the accelerator of ``workers`` that holds most of it."""
    d = workers.deployment
    return float(kv_bytes(d.model, d.precision, d.parallelism, 1, prompt_tokens))


def price_stage(
    question: Disaggregated, workers: Workers, table: ServingTable
) -> tuple[ServingTimes, Array]:
    """Price a table of one stage's engine with that stage's coefficients; return these too."""
    logs, stretch = question.calibration.logs(question.subject(workers))
    theta = np.exp(logs)
    return serving_times(table, theta, np.exp(stretch)), theta


def prefill_table(question: Disaggregated) -> ServingTable:
    """Steps of a prefill engine: shape ``(2,)``, one prompt alone, and as many as a step takes."""
    d, load = question.prefill.deployment, question.load
    groups = float(d.parallelism.dp)
    budget = question.limits.max_num_batched_tokens
    new_tokens = float(load.prompt_tokens * (1 - load.cached_fraction))
    many = groups * (np.ceil(budget / max(new_tokens, 1.0)) + 1) + 1
    burst = Load(load.prompt_tokens, 1, [1.0, many], load.cached_fraction)
    return tabulate_serving(d, burst, replace(question.limits, mixes=False))


def decode_table(question: Disaggregated, sequences: Array) -> ServingTable:
    """Steps of a decode engine with ``sequences`` in it, undisturbed by prompts."""
    load = Load(question.load.prompt_tokens, question.load.output_tokens, sequences)
    table = tabulate_serving(
        question.decode.deployment,
        load,
        replace(question.limits, mixes=False),
        question.speculation,
        question.drafted,
    )
    return replace(table, mixed_steps=np.zeros_like(table.mixed_steps))


def most_sequences(question: Disaggregated) -> float:
    """Sequences that a decode engine holds, by its memory and its limits; may be 0."""
    load = Load(question.load.prompt_tokens, question.load.output_tokens, MOST_SEQUENCES)
    return float(seats(question.decode.deployment, load, question.limits))


def prefilling(question: Disaggregated) -> Prefilling:
    """Price the steps of a prefill engine; raise `DoesNotFitError` where no prompt fits."""
    table = prefill_table(question)
    if np.any(table.starved):
        question.prefill.deployment.check_fit(
            int(question.prefill.deployment.parallelism.dp), float(question.load.prompt_tokens)
        )
    times, _ = price_stage(question, question.prefill, table)
    steps_s = times.mixed_step_s * table.prompt_steps
    handling_s = float(times.ttft_s[0] - steps_s[0])
    most = float(table.prompts_per_step[1])
    # A step of many is never slower than the same prompts one by one.
    full_s = min(float(steps_s[1]), most * float(steps_s[0]))
    return Prefilling(max(handling_s, 0.0) + question.handoff_s, float(steps_s[0]), full_s, most)


def decoding(question: Disaggregated) -> Decoding:
    """Price the steps of a decode engine; raise `DoesNotFitError` where no sequence fits."""
    held = most_sequences(question)
    d = question.decode.deployment
    if held < 1:
        d.check_fit(int(d.parallelism.dp), float(question.load.mean_context_tokens))
    few = np.arange(1.0, min(held, 32.0) + 1)
    many = np.geomspace(min(held, 32.0), max(held, 1.0), GRID_POINTS)
    sequences = np.unique(np.concatenate([few, many]))
    times, _ = price_stage(question, question.decode, decode_table(question, sequences))
    gaps = float(question.load.output_tokens) - 1
    return Decoding(sequences, np.asarray(np.maximum.accumulate(times.tpot_s * gaps)))
