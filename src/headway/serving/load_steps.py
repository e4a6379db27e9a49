"""The steps of a load in its steady state: what they hold, and how many a request sees.

``concurrency - 1`` prompts are prefilled between the tokens of a request. Engines that mix put a
prompt into a step that also decodes; the others let decoding wait. Seats are limited by the KV
cache. Derived here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headway.serving.closed_loop import ClosedLoop
from headway.serving.rounds import Gathering, all_at_once, at_random, in_bunches
from headway.steptime.deployment import LEAST_BATCHED_TOKENS, Deployment
from headway.steptime.work import Array
from headway.workload.step import Step

# The cache is full all the time where so many more want to run than it holds. Whoever is given up
# has decoded that part of its answer: simulated, of prompts of 250 to 2000 and answers of 500 to
# 2000 tokens.
CROWDED, PROGRESS = 0.25, 0.15


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
        gather_steps, queue_steps, ahead, company, bunches: how its prompt meets others, as in
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
    gather_steps: Array
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


def _given_up(loop: ClosedLoop, wanted: Array, in_cache: Array) -> tuple[Array, Array]:
    """Return the tokens of a request that are lost and computed again, and how often it is stopped.

    ``wanted`` sequences would run, and ``in_cache`` of them fit.
    Where requests wait for the cache, every token that ends is followed by prompts, so that the
    growth of an answer takes its room from the latest that started: as many tokens as it grows by,
    from requests that are given up whole.
    """
    crowding = wanted / np.maximum(in_cache, 1.0) - 1
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
    wanted, in_cache = _wanted(deployment, loop), _in_cache(deployment, loop)
    available = np.minimum(wanted, in_cache)
    running = np.maximum(available, 1.0)
    mixes = mixes and deployment.mixes_prompts and not loop.static

    # A prompt goes in chunks of what the token budget leaves beside the decoding sequences: steps
    # that are full of prompts feed no more of these than their share of a request's tokens.
    new_tokens = np.maximum(loop.prompt_tokens * (1 - loop.cached_fraction), 1.0)
    gaps = loop.output_tokens - 1
    decode_steps = np.maximum(gaps / tokens_per_pass, 1.0)
    max_tokens = deployment.limits.max_num_batched_tokens
    fed = max_tokens * (decode_steps + 1) / (decode_steps + 1 + new_tokens)
    decoding = np.minimum(running - 1, fed) if mixes else np.zeros(())
    budget = np.maximum(max_tokens - decoding, LEAST_BATCHED_TOKENS)
    chunk = np.minimum(new_tokens, budget)
    prompt_steps = new_tokens / chunk

    # Each group prefills prompts of its own at the same time.
    room = budget / chunk * groups
    again, stops = np.zeros(()), np.zeros(())
    if not (loop.static or loop.prefilled):
        again_tokens, stops = _given_up(loop, wanted, in_cache)
        again = again_tokens / new_tokens
    if loop.static:
        whole = np.minimum(np.floor(budget / chunk), running / groups) * groups
        round_ = all_at_once(running, prompt_steps, np.maximum(whole, 1.0))
    elif loop.alike:
        round_ = in_bunches(
            running, decode_steps, prompt_steps, again=again, room=room, mixes=mixes
        )
    else:
        round_ = at_random(
            running,
            decode_steps,
            prompt_steps,
            again=again,
            room=room,
            groups=groups,
            mixes=mixes,
            gathering=Gathering(
                poll_steps=deployment.limits.poll_steps,
                balance_steps=deployment.limits.balance_steps,
                groups=deployment.parallelism.dp,
            ),
        )
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

    counts: dict[str, npt.ArrayLike] = {
        "concurrency": loop.concurrency,
        "seats": running,
        "tokens_per_pass": tokens_per_pass,
        "gaps": gaps,
        "prompt_tokens": new_tokens,
        "prompt_steps": prompt_steps,
        "prompt_passes": (prompt_steps + stages - 1) / stages,
        "prompts_per_step": round_.prompts,
        "max_prompts": np.minimum(room, running),
        "mixed_steps": mixed_steps,
        "gather_steps": round_.gather_steps,
        "queue_steps": round_.queue_steps,
        "ahead": round_.ahead,
        "company": round_.company,
        "bunches": round_.bunches,
        "again": again,
        "stops": stops,
        "mixes": float(mixes),
        "requests_per_user": loop.requests_per_user,
        "num_accelerators": deployment.num_accelerators,
        "output_tokens": loop.output_tokens,
        "total_tokens": loop.output_tokens + (0 if loop.prefilled else loop.prompt_tokens),
        "starved": available < 1,
    }
    arrays = np.broadcast_arrays(*counts.values())
    return LoadSteps(
        shape=LoadShape(**dict(zip(counts, arrays, strict=True))),
        decode=Step.decode(running, context, verified),
        mixed=mixed,
        prefilled=loop.prefilled,
    )
