"""What each step of continuous batching computes: decodes first, then prompts in chunks.

vLLM's V1 order, which OpenVINO GenAI keeps too with chunked prefill, and the simulator: every
sequence that decodes gets a token, then prompts, the oldest first, as far as the step's tokens go.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from headway.engines.batch import Work
from headway.workload.step import Step


class Part(NamedTuple):
    """What one sequence does in a step: tokens it schedules, tokens it had, whether one is new."""

    number: int
    scheduled: int
    computed: int
    samples: bool


@dataclass(slots=True)
class _Running:
    work: Work
    computed: int = 0  # of the prompt
    produced: int = 0


class Chunks:
    """Sequences and how far each is; ``max_num_batched_tokens`` as in vLLM."""

    def __init__(self, max_num_batched_tokens: int) -> None:
        """Run nothing yet."""
        self._budget = max_num_batched_tokens
        self._running: dict[int, _Running] = {}

    def add(self, work: Work) -> None:
        """``work`` takes part from the next step on."""
        self._running[work.number] = _Running(work)

    def drop(self, number: int) -> None:
        """It takes part no more."""
        self._running.pop(number, None)

    def advance(self) -> list[Part]:
        """One step: who does what. Whoever has all its tokens has ended."""
        running = list(self._running.values())
        decoding = [r for r in running if r.produced]
        prompts = [r for r in running if not r.produced]
        parts = [
            Part(one.work.number, 1, len(one.work.prompt) + one.produced - 1, True)
            for one in decoding
        ]
        budget = self._budget - len(decoding)
        for one in prompts:
            chunk = min(len(one.work.prompt) - one.computed, budget)
            if chunk < 1:
                break
            budget -= chunk
            done = one.computed + chunk == len(one.work.prompt)
            parts.append(Part(one.work.number, chunk, one.computed, done))
            one.computed += chunk
        for part in parts:
            one = self._running[part.number]
            one.produced += part.samples
            if one.produced == one.work.most_tokens:
                del self._running[part.number]
        return parts

    def ended(self, number: int) -> bool:
        """Whether that sequence is here no more."""
        return number not in self._running


def as_step(parts: list[Part]) -> Step:
    """``parts``, at least one, as the step that is priced."""
    columns = np.array([part[1:] for part in parts], dtype=np.float64).T
    return Step(np.ones(len(parts)), columns[0], columns[1], columns[2])
