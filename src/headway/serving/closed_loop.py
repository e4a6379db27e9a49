"""A whole request under load: users in a closed loop, prefill and decode on the same engine.

In the steady state of ``concurrency`` users, every decode step holds as many sequences as there
are seats, at their mean context, and while one request decodes each of the others ends once and
is replaced: ``concurrency - 1`` prompts are prefilled between its tokens (`serving.rounds`).
Engines that mix put a prompt into a step that also decodes; the others let decoding wait. Seats are
limited by the KV cache; users without a seat queue, by Little's law. Derived here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from headway.errors import InputError
from headway.serving.rounds import all_at_once, at_random, in_bunches
from headway.steptime.deployment import LEAST_BATCHED_TOKENS, Deployment
from headway.steptime.step_time import RequestOverhead
from headway.steptime.time_estimate import Bound, TimeEstimate
from headway.steptime.work import Array
from headway.workload.step import Step

# The cache is full all the time where so many more want to run than it holds. Whoever is given up
# has decoded that part of its answer, and waits for the time of another part: simulated, of prompts
# of 250 to 2000 and answers of 500 to 2000 tokens.
CROWDED, PROGRESS, PAUSE = 0.25, 0.15, 0.1
# Standard deviations from the median time to first token to its 95th percentile; it is skewed.
TAIL = 2.5


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
        alike: whether all requests have exactly these lengths, as benchmarks may: then those that
            start together end together, and prompts come in bunches.

    """

    prompt_tokens: Array
    output_tokens: Array
    concurrency: Array
    cached_fraction: Array
    requests_per_user: float
    static: bool
    prefilled: bool
    alike: bool

    def __init__(
        self,
        prompt_tokens: npt.ArrayLike,
        output_tokens: npt.ArrayLike,
        concurrency: npt.ArrayLike,
        cached_fraction: npt.ArrayLike = 0.0,
        requests_per_user: float = 10.0,
        static: bool = False,
        prefilled: bool = False,
        alike: bool = False,
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
        object.__setattr__(self, "alike", alike)

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
                alike=self.alike,
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
        prompts_per_step: prompts in one mixed step. ``max_prompts``: as many as it has room for.
        mixed_steps: mixed steps between the first and the last token of a request.
        queue_steps, ahead, company, bunches: how its prompt meets others, as in
            `headway.serving.rounds.Round`.
        again: prompts' worth of tokens that a request loses for want of cache, and computes again.
        stops: how often it loses its place in the cache.
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
    max_prompts: Array
    mixed_steps: Array
    queue_steps: Array
    ahead: Array
    company: Array
    bunches: Array
    again: Array
    stops: Array
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
    return np.minimum(_wanted(deployment, loop), _in_cache(deployment, loop))


def _wanted(deployment: Deployment, loop: ClosedLoop) -> Array:
    """Return the sequences that would run if the cache held them."""
    allowed = deployment.limits.max_num_seqs * deployment.parallelism.dp
    return np.asarray(np.minimum(loop.concurrency, allowed))


def _in_cache(deployment: Deployment, loop: ClosedLoop) -> Array:
    """Return the sequences that the cache holds at their mean context."""
    groups, shares = deployment.parallelism.dp, deployment.draft_groups
    one_each = deployment.kv_bytes(groups * shares, loop.mean_context_tokens) / shares
    free = np.maximum(deployment.usable_bytes - deployment.weight_bytes, 0.0)
    return np.asarray(groups * np.floor(free / np.maximum(one_each, 1.0)))


def _given_up(deployment: Deployment, loop: ClosedLoop) -> tuple[Array, Array]:
    """Return the tokens of a request that are lost and computed again, and how often it is stopped.

    Where requests wait for the cache, every token that ends is followed by prompts, so that the
    growth of an answer takes its room from the latest that started: as many tokens as it grows by,
    from requests that are given up whole.
    """
    crowding = _wanted(deployment, loop) / np.maximum(_in_cache(deployment, loop), 1.0) - 1
    growth = np.clip(crowding / CROWDED, 0.0, 1.0) * loop.output_tokens
    return growth, growth / (loop.prompt_tokens + PROGRESS * loop.output_tokens)


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
    mixes = mixes and deployment.mixes_prompts and not loop.static

    # A prompt goes in chunks of what the token budget leaves beside the decoding sequences.
    new_tokens = np.maximum(loop.prompt_tokens * (1 - loop.cached_fraction), 1.0)
    decoding = running - 1 if mixes else np.zeros(())
    budget = np.maximum(deployment.limits.max_num_batched_tokens - decoding, LEAST_BATCHED_TOKENS)
    chunk = np.minimum(new_tokens, budget)
    prompt_steps = new_tokens / chunk

    # Each group prefills prompts of its own at the same time.
    gaps = loop.output_tokens - 1
    decode_steps = np.maximum(gaps / tokens_per_pass, 1.0)
    room = budget / chunk * groups
    again, stops = np.zeros(()), np.zeros(())
    if not (loop.static or loop.prefilled):
        again_tokens, stops = _given_up(deployment, loop)
        again = again_tokens / new_tokens
    if loop.static:
        whole = np.minimum(np.floor(budget / chunk), running / groups) * groups
        round_ = all_at_once(running, prompt_steps, np.maximum(whole, 1.0))
    elif loop.alike:
        round_ = in_bunches(running, decode_steps, prompt_steps, again, room, mixes)
    else:
        round_ = at_random(running, decode_steps, prompt_steps, again, room, groups, mixes)
    mixed_steps = np.zeros(()) if loop.prefilled else round_.mixed_steps

    context = loop.mean_context_tokens
    before = loop.prompt_tokens - new_tokens + (new_tokens - chunk) / 2
    prompt_group = Step(
        *(
            np.asarray(value)[..., None]
            for value in np.broadcast_arrays(
                round_.prompts, chunk, np.maximum(before, 0), 1 / prompt_steps
            )
        )
    )
    mixed = prompt_group
    if mixes:
        mixed = Step.decode(round_.decoding, context, verified).with_group(prompt_group)

    counts = np.broadcast_arrays(
        loop.concurrency,
        running,
        tokens_per_pass,
        gaps,
        new_tokens,
        prompt_steps,
        (prompt_steps + stages - 1) / stages,
        round_.prompts,
        np.minimum(room, running),
        mixed_steps,
        round_.queue_steps,
        round_.ahead,
        round_.company,
        round_.bunches,
        again,
        stops,
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
        ttft_p95_s: its 95th percentile in the steady state.
        mean_ttft_s: its mean over the whole run, the burst at the start included.
        tpot_s: mean time per output token after the first.
        e2e_s: arrival to last token.
        decode_step_s, mixed_step_s: one step of either kind.
        queue_s: of the time to first token, waiting for a seat.
        requests_per_s: of the whole engine.
        mixed_share: fraction of a request's decoding time that goes to prompts of others.

    """

    ttft_s: Array
    ttft_p95_s: Array
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
    waiting = _waiting(shape, decode_step_s, mixed_step_s, overhead)
    own_s = shape.prompt_passes * (mixed_step_s + waiting.others_s)

    # Decoding: steps of a request's own, and those into which prompts of others are mixed.
    steps = shape.gaps / shape.tokens_per_pass
    mixed_steps = np.maximum(shape.mixed_steps - waiting.bunches_before, 0.0)
    mixed_steps = np.where(
        shape.mixes > 0, np.minimum(mixed_steps, np.maximum(steps, 1.0)), mixed_steps
    )
    undisturbed = np.where(shape.mixes > 0, np.maximum(steps - mixed_steps, 0.0), steps)
    prompts_s = mixed_steps * mixed_step_s
    decoding_s = undisturbed * decode_step_s + prompts_s + shape.again * own_s
    # A request of one token has no gap: its time per token is that of a step.
    tpot_s = np.where(
        shape.gaps > 0,
        decoding_s / np.maximum(shape.gaps, 1.0),
        decode_step_s / shape.tokens_per_pass,
    )

    # The first token: the prompt's wait, its own steps, and those for which the engine holds it.
    served_s = waiting.median_s + shape.queue_steps * mixed_step_s + own_s + waiting.held_s

    # The first prompts of a run fill their steps: one takes no more than its share of a step like
    # the others, and no less than what it adds there, where decoding may hide a part of it.
    share_s = mixed_step_s / shape.prompts_per_step
    steps_s = np.minimum(shape.prompt_steps * share_s, own_s)
    added_s = np.maximum(mixed_step_s - decode_step_s, 0.0) / shape.prompts_per_step
    each_s = shape.prompt_steps * (share_s + added_s + decode_step_s / shape.max_prompts) / 2
    # Prompts pass one after the other: a round is no shorter than the steps that compute them all.
    return _cycle_times(
        shape,
        cycle_s=np.maximum(served_s + shape.gaps * tpot_s, shape.seats * steps_s),
        tpot_s=tpot_s * (1 + PAUSE * shape.stops),
        decode_step_s=decode_step_s,
        mixed_step_s=mixed_step_s,
        burst_s=waiting.overhead_s + waiting.held_s + each_s * (shape.seats + 1) / 2 - served_s,
        tail_s=waiting.tail_s,
        mixed_share=prompts_s / np.maximum(decoding_s, 1e-300),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """What a prompt waits for before its own steps, the overhead of its request included.

    Attributes:
        median_s: of it all. ``overhead_s``: of it, what the engine adds to a request.
        held_s: for which the engine holds the first token, beyond the step that is planned ahead.
        tail_s: by how much the 95th percentile of the time to first token is longer.
        others_s: of a step, what prompts that came with it take beyond those of any such step.
        bunches_before: that are through before it, where requests come in bunches.

    """

    median_s: Array
    overhead_s: Array
    held_s: Array
    tail_s: Array
    others_s: Array
    bunches_before: Array


def _waiting(
    shape: LoadShape, decode_step_s: Array, mixed_step_s: Array, overhead: RequestOverhead
) -> _Waiting:
    # Engines plan a step while the one before it runs: a prompt joins in the middle of a step, more
    # likely of a long one, and enters the one after the next. Without overhead, it joins at an end.
    overhead_s = overhead.seconds(shape.prompt_tokens, 0.0)
    prompts_s = np.maximum(mixed_step_s - decode_step_s, 0.0)
    ahead = np.where(shape.bunches > 0, 0.0, shape.ahead)
    step_s = decode_step_s + ahead * prompts_s
    squares = decode_step_s**2 + ahead * (mixed_step_s**2 - decode_step_s**2)
    rest_s = squares / np.maximum(2 * step_s, 1e-300)
    joining_s = np.where(overhead_s > 0, np.maximum(overhead_s + rest_s, step_s), 0.0)
    planned_s = joining_s + step_s

    # At random, the two steps before and the number of prompts beside it vary.
    prompt_s = prompts_s / shape.prompts_per_step
    beside = np.minimum(shape.prompts_per_step - 1, 1.0)
    variance = (
        step_s**2 / 12
        + 2 * ahead * (1 - ahead) * prompts_s**2
        + 2 * beside * prompt_s**2
        + (shape.queue_steps * mixed_step_s) ** 2
    )

    # Bunches: as many end before the first of them is planned as steps pass until then, at most
    # all; from then on each waits for that many others.
    in_bunches = shape.bunches > 0
    before = planned_s / np.maximum(decode_step_s, 1e-300)
    median_s, last_s = (
        np.minimum(overhead_s + others * mixed_step_s, before * mixed_step_s)
        for others in (np.maximum(shape.bunches - 1, 0.0) / 2, np.maximum(shape.bunches - 1, 0.0))
    )
    median_s = np.maximum(median_s, overhead_s)
    waiting_s = np.where(in_bunches, median_s, planned_s)
    return _Waiting(
        median_s=shape.company * waiting_s + (1 - shape.company) * overhead_s,
        overhead_s=overhead_s,
        held_s=np.maximum(overhead.held_steps - shape.company, 0.0) * step_s,
        tail_s=shape.company
        * np.where(in_bunches, np.maximum(last_s - median_s, 0.0), TAIL * np.sqrt(variance)),
        others_s=np.where(in_bunches, 0.0, beside * prompt_s),
        bunches_before=np.where(
            in_bunches, (median_s - overhead_s) / np.maximum(mixed_step_s, 1e-300), 0.0
        ),
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
        tail_s=nothing_s,
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
    tail_s: Array,
    mixed_share: Array,
) -> LoadTimes:
    """Return the times of requests whose seats are free again after ``cycle_s``; Little's law.

    ``burst_s`` is by how much the first prompts of a run, which all arrive at once, take longer.
    """
    requests_per_s = shape.seats / cycle_s
    e2e_s = shape.concurrency / requests_per_s
    ttft_s = np.maximum(
        e2e_s - shape.gaps * tpot_s, cycle_s - shape.gaps * tpot_s / (1 + PAUSE * shape.stops)
    )
    return LoadTimes(
        ttft_s=ttft_s,
        ttft_p95_s=ttft_s + tail_s,
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
