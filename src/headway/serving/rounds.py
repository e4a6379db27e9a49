"""One round of a closed loop in steps: which prompts share a step, and whose steps wait for them.

In a round every seat ends one answer and begins another. Where lengths vary, ends come at random:
as many prompts meet in a step as a Poisson process of their rate brings, and where they nearly
fill the steps they queue. Where all lengths are alike, prompts that started together end together
and are followed together: their bunches fill steps, one bunch after the other. Derived here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headway.steptime.work import Array


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """Counts of one round; arrays of the load's shape.

    Attributes:
        prompts: chunks of prompts in a step that has any.
        decoding: sequences that decode beside them, where steps mix.
        mixed_steps: steps with prompts of others while a request decodes.
        gather_steps: decode steps for which a prompt waits for the engine's next look at it, and
            for prompts of other groups.
        queue_steps: steps for which a prompt waits until those before it are through.
        ahead: share of the steps under way on an arrival that hold prompts.
        company: 1 where others are running on an arrival, 0 where none are.
        bunches: of requests that end together; 0 where they end at random.

    """

    prompts: Array
    decoding: Array
    mixed_steps: Array
    gather_steps: Array
    queue_steps: Array
    ahead: Array
    company: Array
    bunches: Array


@dataclass(frozen=True, slots=True, eq=False)
class Gathering:
    """For how long an engine lets prompts wait for each other.

    Attributes:
        poll_steps: decode steps from one look at new requests to the next.
        balance_steps: steps for which a prompt waits at most until all ``groups`` have one.

    """

    poll_steps: int
    balance_steps: int
    groups: Array

    def steps(self, rate: Array) -> Array:
        """Return the steps that a prompt waits, of ``rate`` prompts a step; its median."""
        # The first prompt waits for all of the balance, the others for half.
        balance, others = self._balance(rate), self.others(rate)
        return np.asarray((self.poll_steps - 1) / 2 + balance * (1 + others / 2) / (1 + others))

    def others(self, rate: Array) -> Array:
        """Return how many prompts come while one waits for other groups."""
        return rate * self._balance(rate)

    def _balance(self, rate: Array) -> Array:
        """Return the steps until every group has a prompt, from the first of them on."""
        if not self.balance_steps:
            return np.zeros(())

        # Answers end in any group: n (1 + 1/2 + ... + 1/n) of them until each of n groups had one.
        groups = np.asarray(self.groups, dtype=np.float64)
        ends = groups * (np.log(groups) + np.euler_gamma + 1 / (2 * groups))
        waiting = np.minimum(self.balance_steps, (ends - 1) / rate)
        return np.where(groups > 1, waiting, 0.0)


def at_random(
    running: Array,
    decode_steps: Array,
    prompt_steps: Array,
    *,
    again: Array,
    room: Array,
    groups: Array,
    mixes: bool,
    gathering: Gathering,
) -> Round:
    """Return the round of ``running`` requests whose answers end independently.

    Args:
        running: requests that run at once.
        decode_steps: of one answer.
        prompt_steps: of one prompt, one after the other.
        again: prompts' worth of tokens that a request computes again.
        room: chunks of prompts that one step can hold, of all groups and stages.
        groups: with attention or a micro-batch of their own, whose prompts take the same steps.
        mixes: whether a step with prompts decodes, too.
        gathering: for how long prompts wait for each other.

    """
    # Steps between two ends of one seat, if nobody queued: to be seen, planned, computed, decoded.
    others, chunks = running - 1, prompt_steps * (1 + again)
    alone = decode_steps + prompt_steps + 2
    ends = np.maximum(others / alone, 1e-9)
    gather_steps = gathering.steps(ends)
    alone = alone + gather_steps
    needed = others * chunks / room

    # Steps hold no more than their room: as in M/D/1, whose queue lengthens the round in turn.
    steps = alone
    if mixes:
        half = prompt_steps / room * needed / 2
        steps = (alone + needed) / 2 + np.sqrt(((alone - needed) / 2) ** 2 + half)

    # Of a Poisson process, steps with any arrival hold rate / (1 - exp(-rate)) in the mean; so do
    # looks at what came since the last one.
    rate = np.maximum(others * chunks / steps / groups * gathering.poll_steps, 1e-9)
    prompts = groups * rate / -np.expm1(-rate)
    prompts = np.clip(prompts, np.minimum(groups, running), np.minimum(room, running))
    with_prompts = others * chunks / prompts
    away = (1 + prompt_steps + gather_steps + steps - alone) / steps
    return Round(
        prompts=prompts,
        decoding=others * (1 - away),
        mixed_steps=with_prompts * decode_steps / steps if mixes else with_prompts,
        gather_steps=gather_steps,
        queue_steps=steps - alone + gathering.others(ends) / (2 * room),
        ahead=np.minimum(with_prompts / steps, 1.0),
        company=np.minimum(others, 1.0),
        bunches=np.zeros_like(prompts),
    )


def in_bunches(
    running: Array,
    decode_steps: Array,
    prompt_steps: Array,
    *,
    again: Array,
    room: Array,
    mixes: bool,
) -> Round:
    """Return the round of ``running`` requests of the same lengths, arguments as `at_random`."""
    prompts = np.minimum(room, running)
    bunches = np.maximum(running * prompt_steps / prompts, 1.0)
    away = (1 + prompt_steps) / np.maximum(bunches, 1 + prompt_steps)
    alone = decode_steps + prompt_steps + 2
    return Round(
        prompts=prompts,
        decoding=(running - 1) * (1 - away),
        mixed_steps=bunches * (1 + again) - prompt_steps,
        gather_steps=np.zeros_like(bunches),
        queue_steps=np.maximum(bunches - alone, 0.0) if mixes else np.zeros_like(bunches),
        ahead=np.ones_like(bunches),
        company=np.minimum(running - prompts, 1.0),
        bunches=bunches,
    )


def all_at_once(running: Array, prompt_steps: Array, prompts: Array) -> Round:
    """Return the only round of a static batch: prompts of all, then nothing but decoding."""
    nothing = np.zeros_like(prompts)
    return Round(
        prompts=prompts,
        decoding=nothing,
        mixed_steps=running * prompt_steps / prompts,
        gather_steps=nothing,
        queue_steps=nothing,
        ahead=nothing,
        company=nothing,
        bunches=nothing,
    )
