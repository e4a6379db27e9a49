"""What a request of a load takes, given what the steps take: waits, first token, tokens, rates.

Users without a seat queue, by Little's law. Derived here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headway.serving.load_steps import LoadShape
from headway.steptime.step_time import RequestOverhead
from headway.steptime.work import Array

# Whoever is given up for want of cache waits for the time of that part of its answer: simulated,
# as `headway.serving.load_steps.PROGRESS`.
PAUSE = 0.1
# Standard deviations from the median time to first token to its 95th percentile; it is skewed.
TAIL = 2.5


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
    gathering_s = shape.gather_steps * decode_step_s
    planned_s = joining_s + gathering_s + step_s

    # At random, the two steps before and the number of prompts beside it vary.
    prompt_s = prompts_s / shape.prompts_per_step
    beside = np.minimum(shape.prompts_per_step - 1, 1.0)
    variance = (
        step_s**2 / 12
        + gathering_s**2 / 3
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
