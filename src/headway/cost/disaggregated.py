"""Prefill and decode on engines of their own, with the KV cache sent from one to the other.

A closed loop of ``concurrency`` users over three stations. A prompt waits for a prefill engine and
is computed there, alone or with others; its cache goes over a link, hidden behind the computation
of later layers or not; then it decodes among its like, and no prompt disturbs it. The rate at
which requests pass is the same everywhere: it is that of the slowest station, or, while none is
full, what Little's law leaves to ``concurrency`` requests. Derived here; the wait for one of many
engines follows Sakasegawa 1977, halved for service times that do not vary, and an arrival sees the
queue without itself (Reiser and Lavenberg 1980).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from headway.cost.calibration import Calibration, Subject, shipped
from headway.cost.deployment import Deployment
from headway.cost.memory import kv_bytes
from headway.cost.serving import (
    Limits,
    Load,
    ServingTable,
    ServingTimes,
    seats,
    serving_times,
    tabulate_serving,
)
from headway.cost.speculative import Speculation
from headway.cost.work import Array
from headway.errors import InputError
from headway.hardware.fabric import Link

GRID_POINTS, MOST_SEQUENCES = 96, 2.0**20
# Time to first token of 90 measured deployments at up to 64 users beyond what the stations explain:
# 0.10, 0.12 and 0.12 s in the median on B200, GB200 and GB300 (InferenceX, NVIDIA Dynamo).
HANDOFF_S = 0.12
PREFILL, TRANSFER, DECODE, USERS = "prefill", "transfer", "decode", "users"


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


@dataclass(frozen=True, slots=True, eq=False)
class DisaggregatedTimes:
    """Seconds and rates in the steady state.

    Attributes:
        ttft_s: waiting, prefill and the exposed part of the transfer.
        mean_ttft_s: its mean over a whole run, whose first requests all arrive at once.
        handling_s, wait_s, prefill_s, transfer_s: its parts, handing over in the first; what the
            slowest station holds back is in ``wait_s``.
        sent_s: the whole transfer of one prompt's cache, hidden or not.
        tpot_s: per output token after the first; no prompts between them.
        requests_per_s: of the whole.
        sequences: decoding at once on one decode engine.
        use: of every station, the fraction of its most requests per second.
        binds: the station that is full, or "users" where none is.

    """

    ttft_s: float
    mean_ttft_s: float
    handling_s: float
    wait_s: float
    prefill_s: float
    transfer_s: float
    sent_s: float
    tpot_s: float
    e2e_s: float
    requests_per_s: float
    sequences: float
    use: dict[str, float]
    binds: str


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


def disaggregated_times(question: Disaggregated) -> DisaggregatedTimes:
    """Solve the steady state; raise `DoesNotFitError` where not one sequence fits a stage."""
    prefilling = _prefilling(question)
    decoding = _decoding(question)
    send_s, capacity = _link(question)
    users = float(question.load.concurrency)
    engines, decoders = question.prefill.count, question.decode.count
    most = {
        PREFILL: engines * prefilling.requests_per_s,
        TRANSFER: capacity,
        DECODE: decoders * decoding.requests_per_s,
    }
    full = min(most.values())

    def parts(rate: float) -> tuple[float, float, float, float]:
        own_s = prefilling.step_s(rate / engines)
        exposed_s = _exposed(question, send_s, own_s)
        return (
            prefilling.wait_s(rate, engines, users),
            own_s,
            exposed_s,
            decoding.stay(rate / decoders),
        )

    def inside(rate: float) -> float:
        return rate * (prefilling.handling_s + sum(parts(rate)))

    rate = full
    if inside(full) > users:
        low, high = 0.0, full
        for _ in range(80):
            middle = (low + high) / 2
            low, high = (middle, high) if inside(middle) <= users else (low, middle)
        rate = low
    wait_s, own_s, exposed_s, stay_s = parts(rate)
    e2e_s = users / rate
    wait_s = e2e_s - (prefilling.handling_s + own_s + exposed_s + stay_s)
    gaps = float(question.load.output_tokens) - 1
    tpot_s = stay_s / gaps if gaps else _one_token_s(question)
    ttft_s = e2e_s - stay_s
    burst_s = prefilling.handling_s + exposed_s + (users / most[PREFILL] + own_s) / 2
    mean_ttft_s = ttft_s + max(burst_s - ttft_s, 0.0) / question.load.requests_per_user
    use = {name: rate / value for name, value in most.items()}
    binds = max(use, key=lambda name: use[name]) if rate >= full else USERS
    return DisaggregatedTimes(
        ttft_s=ttft_s,
        mean_ttft_s=mean_ttft_s,
        handling_s=prefilling.handling_s,
        wait_s=max(wait_s, 0.0),
        prefill_s=own_s,
        transfer_s=exposed_s,
        sent_s=send_s,
        tpot_s=tpot_s,
        e2e_s=e2e_s,
        requests_per_s=rate,
        sequences=rate * stay_s / decoders,
        use=use,
        binds=binds,
    )


def _prefilling(question: Disaggregated) -> Prefilling:
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


def _decoding(question: Disaggregated) -> Decoding:
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


def _one_token_s(question: Disaggregated) -> float:
    times, _ = price_stage(question, question.decode, decode_table(question, np.ones(())))
    return float(times.tpot_s)


def _link(question: Disaggregated) -> tuple[float, float]:
    """Seconds of one transfer, and the most transfers in a second."""
    prompt = float(question.load.prompt_tokens)
    rates = []
    sides = []
    for workers in (question.prefill, question.decode):
        moved_s = transfer_bytes(workers, prompt) / question.link.bandwidth_bytes_per_s
        sides.append(moved_s)
        rates.append(workers.count * float(workers.deployment.parallelism.dp) / moved_s)
    return max(sides) + question.link.latency_s, min(rates)


def _exposed(question: Disaggregated, send_s: float, prefill_s: float) -> float:
    """What of a transfer is not hidden: all, or at least the last layer's share and the latency."""
    if not question.overlapped:
        return send_s
    layers = question.prefill.deployment.model.num_layers
    latency_s = question.link.latency_s
    moved_s = send_s - latency_s
    return latency_s + max(moved_s - prefill_s * (1 - 1 / layers), moved_s / layers)
