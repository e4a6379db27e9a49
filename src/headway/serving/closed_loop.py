"""A whole request under load: users in a closed loop, prefill and decode on the same engine.

In the steady state of ``concurrency`` users, every decode step holds as many sequences as there
are seats, at their mean context, and while one request decodes each of the others ends once and
is replaced: ``concurrency - 1`` prompts are prefilled between its tokens. Engines that mix put a
prompt into a step that also decodes; the others let decoding wait. Seats are limited by the KV
cache; users without a seat queue, by Little's law. Derived here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from headway.errors import InputError
from headway.steptime.deployment import LEAST_BATCHED_TOKENS, Deployment
from headway.steptime.step_time import RequestOverhead
from headway.steptime.time_estimate import Bound, TimeEstimate
from headway.steptime.work import Array
from headway.workload.step import Step


@dataclass(frozen=True, slots=True, eq=False)
class ClosedLoop:
    """Users in a closed loop; arrays broadcast against each other and the layout.

    Attributes:
        prompt_tokens, output_tokens: of every request, in the mean.
        concurrency: requests in the system, queued or running.
        cached_fraction: of the prompt, found in the prefix cache.
        requests_per_user: requests each user sends one after the other; the first of them meet
            in the burst at the start, which lifts the mean time to first token.
        static: whether all requests start at once and nobody follows them (a static batch): their
            prompts pass first, and count into the time per token.
        prefilled: whether prompts are computed elsewhere: this engine decodes only.

    """

    prompt_tokens: Array
    output_tokens: Array
    concurrency: Array
    cached_fraction: Array
    requests_per_user: float
    static: bool
    prefilled: bool

    def __init__(
        self,
        prompt_tokens: npt.ArrayLike,
        output_tokens: npt.ArrayLike,
        concurrency: npt.ArrayLike,
        cached_fraction: npt.ArrayLike = 0.0,
        requests_per_user: float = 10.0,
        static: bool = False,
        prefilled: bool = False,
    ) -> None:
        for name, values, lowest in (
            ("prompt_tokens", prompt_tokens, 0 if prefilled else 1),
            ("output_tokens", output_tokens, 1),
            ("concurrency", concurrency, 1),
            ("cached_fraction", cached_fraction, 0),
        ):
            array = np.asarray(values, dtype=np.float64)
            if not np.all((array >= lowest) & (array <= 1e9)):
                raise InputError(f"{name} must be at least {lowest} and at most 1e9")
            object.__setattr__(self, name, array)

        if np.any(self.cached_fraction >= 1):
            raise InputError("cached_fraction must be below 1: the last token is always computed")
        if not 1 <= requests_per_user <= 1e9:
            raise InputError(f"requests_per_user must be at least 1, not {requests_per_user:g}")

        object.__setattr__(self, "requests_per_user", float(requests_per_user))
        object.__setattr__(self, "static", static)
        object.__setattr__(self, "prefilled", prefilled)

    def each(self) -> Iterator[ClosedLoop]:
        """Yield every load of the arrays by itself, in their order."""
        arrays = (self.prompt_tokens, self.output_tokens, self.concurrency, self.cached_fraction)
        for prompt, output, concurrency, cached in np.broadcast(*arrays):
            yield ClosedLoop(
                prompt_tokens=prompt,
                output_tokens=output,
                concurrency=concurrency,
                cached_fraction=cached,
                requests_per_user=self.requests_per_user,
                static=self.static,
                prefilled=self.prefilled,
            )

    @property
    def mean_context_tokens(self) -> Array:
        """Tokens of a decoding sequence half way through its answer."""
        if self.prefilled:
            return np.asarray(self.prompt_tokens + (self.output_tokens - 1) / 2)
        return np.asarray(self.prompt_tokens + self.output_tokens / 2)


@dataclass(frozen=True, slots=True, eq=False)
class LoadShape:
    """What a load makes an engine do, in counts; arrays of shape ``(...)``.

    Attributes:
        concurrency, seats: requests in the system, and those of them that run.
        tokens_per_pass: yield of one decode step per sequence, above 1 where tokens are drafted.
        gaps: tokens after the first of a request.
        prompt_tokens: computed for a request.
        prompt_steps: mixed steps that one prompt takes, one after the other.
        prompt_passes: the same where the chunks of a prompt follow each other through the stages
            of a pipeline: fewer, as one enters a stage when the one before it leaves.
        prompts_per_step: prompts in one mixed step.
        mixed_steps: mixed steps between the first and the last token of a request.
        mixes: 1 where a mixed step decodes too, else 0.
        requests_per_user, num_accelerators, output_tokens: as in the question.
        total_tokens: of prompt and answer that are billed.
        starved: 1 where not even one sequence fits.

    """

    concurrency: Array
    seats: Array
    tokens_per_pass: Array
    gaps: Array
    prompt_tokens: Array
    prompt_steps: Array
    prompt_passes: Array
    prompts_per_step: Array
    mixed_steps: Array
    mixes: Array
    requests_per_user: Array
    num_accelerators: Array
    output_tokens: Array
    total_tokens: Array
    starved: Array


@dataclass(frozen=True, slots=True, eq=False)
class LoadSteps:
    """A load in counts, and the two kinds of steps that it makes: decode, and with prompts."""

    shape: LoadShape
    decode: Step
    mixed: Step
    prefilled: bool = False


def seats(deployment: Deployment, loop: ClosedLoop) -> Array:
    """Return the sequences that run at once: users, engine limit, or what the cache holds.

    It may be 0.
    """
    groups, shares = deployment.parallelism.dp, deployment.draft_groups
    one_each = deployment.kv_bytes(groups * shares, loop.mean_context_tokens) / shares
    free = np.maximum(deployment.usable_bytes - deployment.weight_bytes, 0.0)
    in_cache = groups * np.floor(free / np.maximum(one_each, 1.0))
    allowed = deployment.limits.max_num_seqs * groups
    return np.asarray(np.minimum(np.minimum(loop.concurrency, allowed), in_cache))


def load_steps(deployment: Deployment, loop: ClosedLoop, *, mixes: bool = True) -> LoadSteps:
    """Count what ``loop`` makes ``deployment`` do; its arrays broadcast against the layout.

    With ``mixes`` off, prompts never share a step with decoding sequences, whatever the engine.
    """
    drafting, stages = deployment.drafting, deployment.parallelism.pp
    # Stages of a pipeline work on one micro-batch each, and each of these has prompts of its own.
    groups = deployment.parallelism.dp * stages
    tokens_per_pass = np.ones(()) if drafting is None else drafting.tokens_per_pass
    verified = np.ones(()) if drafting is None else drafting.verified_tokens
    available = seats(deployment, loop)
    running = np.maximum(available, 1.0)
    others = running - 1
    mixes = mixes and deployment.mixes_prompts and not loop.static

    # A prompt goes in chunks of what the token budget leaves beside the decoding sequences.
    new_tokens = np.maximum(loop.prompt_tokens * (1 - loop.cached_fraction), 1.0)
    decoding = others if mixes else np.zeros(())
    budget = np.maximum(deployment.limits.max_num_batched_tokens - decoding, LEAST_BATCHED_TOKENS)
    chunk = np.minimum(new_tokens, budget)
    prompt_steps = new_tokens / chunk

    # Prompts that share a step: each group prefills one of its own at the same time.
    gaps = loop.output_tokens - 1
    decode_steps = np.maximum(gaps / tokens_per_pass, 1.0)
    max_prompts = np.maximum(np.floor(budget / chunk), 1.0)
    arrivals = np.clip(np.ceil(others / decode_steps / groups), 1.0, max_prompts)
    prompts = np.minimum(max_prompts if loop.static else arrivals, running / groups) * groups
    prompts = np.maximum(prompts, 1.0)

    # Steps with prompts between the first and the last token of a request. Where steps mix, one
    # holds a chunk of the budget at most: beyond that, prompts queue.
    mixed_steps = (running if loop.static else others) * prompt_steps / prompts
    if mixes:
        mixed_steps = np.minimum(mixed_steps, decode_steps)
    if loop.prefilled:
        mixed_steps = np.zeros_like(mixed_steps)

    context = loop.mean_context_tokens
    before = loop.prompt_tokens - new_tokens + (new_tokens - chunk) / 2
    prompt_group = Step(
        *(
            np.asarray(value)[..., None]
            for value in np.broadcast_arrays(
                prompts, chunk, np.maximum(before, 0), 1 / prompt_steps
            )
        )
    )
    mixed = prompt_group
    if mixes:
        mixed = Step.decode(others, context, verified).with_group(prompt_group)

    counts = np.broadcast_arrays(
        loop.concurrency,
        running,
        tokens_per_pass,
        gaps,
        new_tokens,
        prompt_steps,
        (prompt_steps + stages - 1) / stages,
        prompts,
        mixed_steps,
        float(mixes),
        loop.requests_per_user,
        deployment.num_accelerators,
        loop.output_tokens,
        loop.output_tokens + (0 if loop.prefilled else loop.prompt_tokens),
        available < 1,
    )
    return LoadSteps(
        shape=LoadShape(*counts),
        decode=Step.decode(running, context, verified),
        mixed=mixed,
        prefilled=loop.prefilled,
    )


@dataclass(frozen=True, slots=True, eq=False)
class LoadTimes:
    """Seconds and rates of a request in the steady state; broadcast shape.

    Attributes:
        ttft_s: median time to first token, queueing included.
        mean_ttft_s: its mean over the whole run, the burst at the start included.
        tpot_s: mean time per output token after the first.
        e2e_s: arrival to last token.
        decode_step_s, mixed_step_s: one step of either kind.
        queue_s: of the time to first token, waiting for a seat.
        requests_per_s: of the whole engine.
        mixed_share: fraction of a request's decoding time that goes to prompts of others.

    """

    ttft_s: Array
    mean_ttft_s: Array
    tpot_s: Array
    e2e_s: Array
    decode_step_s: Array
    mixed_step_s: Array
    queue_s: Array
    requests_per_s: Array
    mixed_share: Array

    def use_of(self, decode_s: Array, mixed_s: Array) -> Array:
        """Return the share of the time for which something is busy, over decode and prompts.

        It is busy for ``decode_s`` of a decode step and for ``mixed_s`` of a step with prompts.
        """
        share, mixed_step_s = self.mixed_share, np.maximum(self.mixed_step_s, 1e-300)
        decoding = (1 - share) * decode_s / self.decode_step_s
        return np.minimum(decoding + share * mixed_s / mixed_step_s, 1.0)


def load_times(
    shape: LoadShape, decode_step_s: Array, mixed_step_s: Array, overhead: RequestOverhead
) -> LoadTimes:
    """Return what a request of the load takes, given what its steps take; shape ``(...)``."""
    # Decoding: steps of a request's own, and those into which prompts of others are mixed.
    steps = shape.gaps / shape.tokens_per_pass
    undisturbed = np.where(shape.mixes > 0, np.maximum(steps - shape.mixed_steps, 0.0), steps)
    prompts_s = shape.mixed_steps * mixed_step_s
    decoding_s = undisturbed * decode_step_s + prompts_s
    # A request of one token has no gap: its time per token is that of a step.
    tpot_s = np.where(
        shape.gaps > 0,
        decoding_s / np.maximum(shape.gaps, 1.0),
        decode_step_s / shape.tokens_per_pass,
    )

    # The first token: what the engine adds, the step that runs on arrival, the prompt's own steps.
    pass_s = tpot_s * shape.tokens_per_pass
    overhead_s = overhead.seconds(shape.prompt_tokens, np.minimum(decode_step_s, pass_s))
    arriving_s = 0.5 * (1 - 1 / shape.seats) * pass_s
    own_s = shape.prompt_passes * mixed_step_s
    served_s = overhead_s + arriving_s + own_s

    # Prompts must pass one after the other: a cycle is no shorter than prefilling all of them.
    each_s = np.minimum(shape.prompt_steps * mixed_step_s / shape.prompts_per_step, own_s)
    prefilling_s = shape.seats * each_s
    cycle_s = np.maximum(served_s + shape.gaps * tpot_s, prefilling_s)
    return _cycle_times(
        shape,
        cycle_s=cycle_s,
        tpot_s=tpot_s,
        decode_step_s=decode_step_s,
        mixed_step_s=mixed_step_s,
        burst_s=overhead_s + each_s * (shape.seats + 1) / 2 - served_s,
        mixed_share=prompts_s / np.maximum(decoding_s, 1e-300),
    )


def decode_times(shape: LoadShape, decode_step_s: Array) -> LoadTimes:
    """Return what a request takes on an engine that decodes only; its prompt came computed."""
    tpot_s = np.broadcast_to(decode_step_s / shape.tokens_per_pass, shape.gaps.shape)
    nothing_s = np.zeros_like(tpot_s)
    # The first of the answer's tokens is decoded here, too: as many steps as tokens.
    return _cycle_times(
        shape,
        cycle_s=shape.output_tokens * tpot_s,
        tpot_s=tpot_s,
        decode_step_s=decode_step_s,
        mixed_step_s=nothing_s,
        burst_s=nothing_s,
        mixed_share=nothing_s,
    )


def _cycle_times(
    shape: LoadShape,
    *,
    cycle_s: Array,
    tpot_s: Array,
    decode_step_s: Array,
    mixed_step_s: Array,
    burst_s: Array,
    mixed_share: Array,
) -> LoadTimes:
    """Return the times of requests whose seats are free again after ``cycle_s``; Little's law.

    ``burst_s`` is by how much the first prompts of a run, which all arrive at once, take longer.
    """
    requests_per_s = shape.seats / cycle_s
    e2e_s = shape.concurrency / requests_per_s
    ttft_s = e2e_s - shape.gaps * tpot_s
    return LoadTimes(
        ttft_s=ttft_s,
        mean_ttft_s=ttft_s + np.maximum(burst_s, 0.0) / shape.requests_per_user,
        tpot_s=tpot_s,
        e2e_s=e2e_s,
        decode_step_s=decode_step_s,
        mixed_step_s=mixed_step_s,
        queue_s=cycle_s * (shape.concurrency - shape.seats) / shape.seats,
        requests_per_s=requests_per_s,
        mixed_share=mixed_share,
    )


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
