"""A whole request under load: users in a closed loop, prefill and decode on the same engine.

In the steady state of ``concurrency`` users, every decode step holds as many sequences as there
are seats, at their mean context, and while one request decodes each of the others ends once and
is replaced: ``concurrency - 1`` prompts are prefilled between its tokens. Engines that mix put a
prompt into a step that also decodes; the others let decoding wait. Seats are limited by the KV
cache; users without a seat queue, by Little's law. Derived here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from headway.dtypes import DType
from headway.errors import InputError
from headway.hardware.accelerator import Accelerator
from headway.model.precision import Precision
from headway.steptime.deployment import Deployment
from headway.steptime.forward import forward
from headway.steptime.kernel_coefficients import AT
from headway.steptime.memory import kv_bytes
from headway.steptime.speculative import Speculation
from headway.steptime.work import Array, Forward
from headway.steptime.worktable import WorkTable, price, tabulate
from headway.workload.step import Step

# vLLM's defaults for serving, and those of others to within a factor of 2.
MAX_NUM_SEQS, MAX_NUM_BATCHED_TOKENS = 1024, 8192
LEAST_BATCHED_TOKENS = 256  # of the chunks that the coefficients were fitted on
# What an engine adds for every token it drafts: once a step, and for every sequence of the step.
# Fitted to 343 deployments with multi-token prediction (InferenceX); with one accelerator or one
# model left out, the same or its neighbours on a grid (docs/serving.md).
DRAFT_S, DRAFT_SEQUENCE_S = 7.5e-4, 6e-5
UNMIXED = ("sglang",)  # engines whose decoding waits while a prompt is computed


@dataclass(frozen=True, slots=True, eq=False)
class Load:
    """Users in a closed loop; arrays broadcast against each other and the layout.

    Attributes:
        prompt_tokens, output_tokens: of every request, in the mean.
        concurrency: requests in the system, queued or running.
        cached_fraction: of the prompt, found in the prefix cache.
        requests_per_user: requests each user sends one after the other; the first of them meet
            in the burst at the start, which lifts the mean time to first token.
        together: whether all requests start at once and nobody follows them (a static batch):
            their prompts pass first, and count into the time per token.

    """

    prompt_tokens: Array
    output_tokens: Array
    concurrency: Array
    cached_fraction: Array
    requests_per_user: float
    together: bool

    def __init__(
        self,
        prompt_tokens: npt.ArrayLike,
        output_tokens: npt.ArrayLike,
        concurrency: npt.ArrayLike,
        cached_fraction: npt.ArrayLike = 0.0,
        requests_per_user: float = 10.0,
        together: bool = False,
    ) -> None:
        for name, given, least in (
            ("prompt_tokens", prompt_tokens, 1),
            ("output_tokens", output_tokens, 1),
            ("concurrency", concurrency, 1),
            ("cached_fraction", cached_fraction, 0),
        ):
            values = np.asarray(given, dtype=np.float64)
            if not np.all((values >= least) & (values <= 1e9)):
                raise InputError(f"{name} must be at least {least} and at most 1e9")
            object.__setattr__(self, name, values)
        if np.any(self.cached_fraction >= 1):
            raise InputError("cached_fraction must be below 1: the last token is always computed")
        if not 1 <= requests_per_user <= 1e9:
            raise InputError(f"requests_per_user must be at least 1, not {requests_per_user:g}")
        object.__setattr__(self, "requests_per_user", float(requests_per_user))
        object.__setattr__(self, "together", together)

    @property
    def mean_context_tokens(self) -> Array:
        """Tokens of a decoding sequence half way through its answer."""
        return np.asarray(self.prompt_tokens + self.output_tokens / 2)


@dataclass(frozen=True, slots=True)
class Limits:
    """An engine's limits under vLLM's names, and whether it mixes prefill into decode steps."""

    max_num_seqs: int = MAX_NUM_SEQS
    max_num_batched_tokens: int = MAX_NUM_BATCHED_TOKENS
    mixes: bool = True

    def __post_init__(self) -> None:
        if self.max_num_seqs < 1:
            raise InputError(f"max_num_seqs must be at least 1, not {self.max_num_seqs}")
        if self.max_num_batched_tokens < LEAST_BATCHED_TOKENS:
            raise InputError(
                f"max_num_batched_tokens must be at least {LEAST_BATCHED_TOKENS}, not "
                f"{self.max_num_batched_tokens}: engines with smaller steps were never measured"
            )


@dataclass(frozen=True, slots=True, eq=False)
class ServingTable:
    """What a load makes an engine do, before coefficients say how long it takes; shape ``(...)``.

    Attributes:
        decode, mixed: tables of a pure decode step and of a step with prompts.
        concurrency, seats: requests in the system, and those of them that run.
        sequences: running sequences of one data-parallel group.
        tokens_per_pass: yield of one decode step per sequence, above 1 where tokens are drafted.
        gaps: tokens after the first of a request.
        prompt_tokens: computed for a request.
        prompt_steps: mixed steps that one prompt takes.
        prompts_per_step: prompts in one mixed step.
        mixed_steps: mixed steps between the first and the last token of a request.
        mixes: 1 where a mixed step decodes too, else 0.
        requests_per_user, num_accelerators, output_tokens, total_tokens: as in the question.
        starved: 1 where not even one sequence fits.

    """

    decode: WorkTable
    mixed: WorkTable
    concurrency: Array
    seats: Array
    sequences: Array
    tokens_per_pass: Array
    gaps: Array
    prompt_tokens: Array
    prompt_steps: Array
    prompts_per_step: Array
    mixed_steps: Array
    mixes: Array
    requests_per_user: Array
    num_accelerators: Array
    output_tokens: Array
    total_tokens: Array
    starved: Array


def as_run(precision: Precision, accelerator: Accelerator) -> Precision:
    """``precision`` as engines run it: 4-bit weights with 8-bit activations where these are native.

    A checkpoint with mxfp4 weights and 16-bit activations (gpt-oss) is multiplied in fp8 on
    hardware that takes both formats, and dequantized elsewhere.
    """
    native_both = accelerator.supports(DType.MXFP4) and accelerator.supports(DType.FP8)
    if precision.weights is DType.MXFP4 and precision.activations.bits == 16 and native_both:
        return replace(precision, activations=DType.FP8)
    return precision


def seats(deployment: Deployment, load: Load, limits: Limits) -> Array:
    """Sequences that run at once: users, engine limit, or what the KV cache holds; may be 0."""
    groups = deployment.parallelism.dp
    one = kv_bytes(
        deployment.model,
        deployment.precision,
        deployment.parallelism,
        groups,
        load.mean_context_tokens,
    )
    free = np.maximum(deployment.usable_bytes - deployment.weight_bytes, 0.0)
    held = groups * np.floor(free / one)
    return np.asarray(np.minimum(np.minimum(load.concurrency, limits.max_num_seqs * groups), held))


def tabulate_serving(
    deployment: Deployment,
    load: Load,
    limits: Limits,
    speculation: Speculation | None = None,
    drafted: int = 0,
) -> ServingTable:
    """Count what ``load`` makes ``deployment`` do, ``drafted`` tokens at a time.

    The arrays of the load broadcast against those of the layout.
    """
    running = np.maximum(seats(deployment, load, limits), 1.0)
    yielded = speculation.tokens_per_pass(drafted) if speculation and drafted else np.ones(())
    gaps = load.output_tokens - 1
    others = running - 1
    mixes = limits.mixes and not load.together

    new_tokens = np.maximum(load.prompt_tokens * (1 - load.cached_fraction), 1.0)
    decoding = others if mixes else np.zeros(())
    budget = np.maximum(limits.max_num_batched_tokens - decoding, LEAST_BATCHED_TOKENS)
    chunk = np.minimum(new_tokens, budget)
    steps = np.maximum(gaps / yielded, 1.0)
    groups = deployment.parallelism.dp  # each prefills a prompt of its own at the same time
    most = np.maximum(np.floor(budget / chunk), 1.0)
    together = np.clip(np.ceil(others / steps / groups), 1.0, most)
    together = np.minimum(most if load.together else together, running / groups) * groups
    together = np.maximum(together, 1.0)
    prompt_steps = new_tokens / chunk
    mixed_steps = (running if load.together else others) * prompt_steps / together
    if mixes:  # a step holds one chunk of the budget at most: beyond, prompts queue
        mixed_steps = np.minimum(mixed_steps, steps)

    context = load.mean_context_tokens
    verified = 1.0 + (drafted if speculation else 0)
    before = load.prompt_tokens - new_tokens + (new_tokens - chunk) / 2
    decode = Step.decode(running, context, verified)
    prompts = Step(
        *(
            np.asarray(value)[..., None]
            for value in np.broadcast_arrays(together, chunk, before, 1 / prompt_steps)
        )
    )
    mixed = Step.decode(others, context, verified).with_group(prompts) if mixes else prompts
    return ServingTable(
        _table(deployment, decode, speculation, drafted, running, context),
        _table(deployment, mixed, speculation if mixes else None, drafted, running, context),
        *np.broadcast_arrays(
            load.concurrency,
            running,
            running / deployment.parallelism.dp,
            yielded,
            gaps,
            new_tokens,
            prompt_steps,
            together,
            mixed_steps,
            float(mixes),
            load.requests_per_user,
            deployment.parallelism.num_accelerators,
            load.output_tokens,
            load.prompt_tokens + load.output_tokens,
            seats(deployment, load, limits) < 1,
        ),
    )


def _table(
    deployment: Deployment,
    step: Step,
    speculation: Speculation | None,
    drafted: int,
    running: Array,
    context: Array,
) -> WorkTable:
    d = deployment
    work = forward(d.model, d.precision, d.parallelism, step)
    if speculation and drafted:
        draft = forward(
            speculation.draft, d.precision, d.parallelism, Step.decode(running, context)
        )
        work = Forward(
            work.ops + tuple(replace(op, work=op.work * float(drafted)) for op in draft.ops),
            work.collectives
            + tuple(replace(c, count=c.count * drafted) for c in draft.collectives),
        )
    table = tabulate(work, d.cluster, d.precision)
    if not (speculation and drafted):
        return table
    added_s = drafting_s(drafted, running / d.parallelism.dp)
    return replace(table, waiting_s=table.waiting_s + added_s)


def drafting_s(drafted: int, sequences: Array) -> Array:
    """What drafting adds to a step of so many sequences beyond the drafting model's work."""
    return np.asarray(drafted * (DRAFT_S + DRAFT_SEQUENCE_S * sequences))


@dataclass(frozen=True, slots=True, eq=False)
class ServingTimes:
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


def serving_times(
    table: ServingTable, theta: Array, scale: Array | float = 1.0, prompt_scale: Array | float = 1.0
) -> ServingTimes:
    """Price ``table`` by coefficients ``theta`` of shape ``(..., coefficients)``."""

    def of(name: str) -> Array:
        return np.asarray(theta[..., AT[name]])

    per_step = of("step_s") + of("sequence_s") * table.sequences
    decode_s = price(table.decode, theta, scale).total_s + per_step
    mixed_s = price(table.mixed, theta, scale * prompt_scale).total_s + per_step + of("mixed_s")
    steps = table.gaps / table.tokens_per_pass
    undisturbed = np.where(table.mixes > 0, np.maximum(steps - table.mixed_steps, 0.0), steps)
    prompts_s = table.mixed_steps * mixed_s
    decoding_s = undisturbed * decode_s + prompts_s
    gaps = np.maximum(table.gaps, 1.0)
    # The last tokens of a request of one token are nobody's gap.
    tpot_s = np.where(table.gaps > 0, decoding_s / gaps, decode_s / table.tokens_per_pass)

    handling_s = (
        of("request_s")
        + of("prompt_token_s") * table.prompt_tokens
        + of("held_steps") * np.minimum(decode_s, tpot_s * table.tokens_per_pass)
    )
    others = 1 - 1 / table.seats
    own_s = table.prompt_steps * mixed_s
    arriving_s = 0.5 * others * tpot_s * table.tokens_per_pass
    served_s = handling_s + arriving_s + own_s
    # Prompts must pass one after the other: a cycle is no shorter than prefilling all of them.
    prefilling_s = table.seats * own_s / table.prompts_per_step
    cycle_s = np.maximum(served_s + table.gaps * tpot_s, prefilling_s)
    requests_per_s = table.seats / cycle_s
    e2e_s = table.concurrency / requests_per_s
    ttft_s = e2e_s - table.gaps * tpot_s
    burst_s = handling_s + own_s / table.prompts_per_step * (table.seats + 1) / 2
    mean_ttft_s = ttft_s + np.maximum(burst_s - served_s, 0.0) / table.requests_per_user
    return ServingTimes(
        ttft_s,
        mean_ttft_s,
        tpot_s,
        e2e_s,
        decode_s,
        mixed_s,
        e2e_s - cycle_s,
        requests_per_s,
        prompts_s / np.maximum(decoding_s, 1e-300),
    )
