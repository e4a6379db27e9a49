"""Engines that draft, in a simulation whose steps give one token each.

A verifying pass gives every sequence several tokens. In the mean, one token takes the pass over its
tokens; a prompt beside it takes what it adds to the whole pass. Whatever lies between the passes is
lost: tokens come evenly here, in bursts there. Derived here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from headway.model.architecture import ModelArchitecture
from headway.steptime.acceptance import OWN_HEADS, speculation_by
from headway.steptime.deployment import Deployment
from headway.steptime.placed_model import Drafting
from headway.steptime.step_time import RequestOverhead
from headway.steptime.time_estimate import TimeEstimate
from headway.workload.step import Step

MAX_DRAFTED = 3  # tokens per pass that are considered


def own_drafts(model: ModelArchitecture) -> Iterator[Drafting | None]:
    """Yield no drafting, and 1 to 3 tokens by the model's own heads where it has them."""
    yield None
    if model.mtp_layers:
        speculation = speculation_by(OWN_HEADS, model)
        yield from (Drafting(speculation, tokens=k) for k in range(1, MAX_DRAFTED + 1))


@dataclass(frozen=True, slots=True, eq=False)
class OneTokenSteps:
    """Step times of ``deployment``, which drafts, for steps that give one token each.

    The first group of a step decodes if it schedules one token; all others compute prompts.
    """

    deployment: Deployment
    drafting: Drafting

    @property
    def request_overhead(self) -> RequestOverhead:
        """That of the engine."""
        return self.deployment.step_time_model.request_overhead

    def step_time(self, step: Step) -> TimeEstimate:
        """Return the time of ``step``, its decoding part over the tokens of a pass."""
        model = self.deployment.step_time_model
        decodes = (step.scheduled_tokens[..., :1] == 1) & (step.num_sequences[..., :1] > 0)
        if not decodes.any():
            return model.step_time(step)

        # The pass as it is, and what decodes in it.
        sequences, scheduled, computed, sampled = np.broadcast_arrays(
            step.num_sequences, step.scheduled_tokens, step.computed_tokens, step.sampled_tokens
        )
        scheduled, sampled = scheduled.copy(), sampled.copy()
        for tokens in (scheduled, sampled):
            tokens[..., :1] = np.where(decodes, self.drafting.verified_tokens, tokens[..., :1])
        whole = model.step_time(Step(sequences, scheduled, computed, sampled))
        first = (groups[..., :1] for groups in (sequences, scheduled, computed, sampled))
        decoding = model.step_time(Step(*first))

        # One token's share of decoding, and all that prompts add.
        spared = 1 - 1 / self.drafting.tokens_per_pass
        share = np.where(decodes[..., 0], spared, 0.0)
        return TimeEstimate(
            expected_s=whole.expected_s - share * decoding.expected_s,
            lower_s=whole.lower_s - share * decoding.lower_s,
            upper_s=whole.upper_s - share * decoding.upper_s,
            basis=whole.basis,
        )
