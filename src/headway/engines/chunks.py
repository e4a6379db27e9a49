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

    def add(self, work: Work, cached_tokens: int = 0) -> None:
        """``work`` takes part from the next step on; ``cached_tokens`` need not be computed."""
        self._running[work.number] = _Running(work, cached_tokens)

    def drop(self, number: int) -> None:
        """It takes part no more."""
        self._running.pop(number, None)

    def advance(self) -> list[Part]:
        """Return who does what in the next step; whoever then has all its tokens has ended."""
        sequences = list(self._running.values())
        decoding = [s for s in sequences if s.produced]
        prompts = [s for s in sequences if not s.produced]
        parts = [
            Part(s.work.number, 1, len(s.work.prompt) + s.produced - 1, samples=True)
            for s in decoding
        ]

        # Prompts share what the decodes leave of the budget, the oldest first.
        budget = self._budget - len(decoding)
        for sequence in prompts:
            chunk = min(len(sequence.work.prompt) - sequence.computed, budget)
            if chunk < 1:
                break
            budget -= chunk
            is_last = sequence.computed + chunk == len(sequence.work.prompt)
            parts.append(Part(sequence.work.number, chunk, sequence.computed, samples=is_last))
            sequence.computed += chunk

        for part in parts:
            sequence = self._running[part.number]
            sequence.produced += part.samples
            if sequence.produced == sequence.work.max_tokens:
                del self._running[part.number]
        return parts

    @property
    def num_running(self) -> int:
        """Sequences that have not ended."""
        return len(self._running)

    def ended(self, number: int) -> bool:
        """Return whether that sequence is here no more."""
        return number not in self._running


def as_step(parts: list[Part]) -> Step:
    """``parts``, at least one, as the step that is priced."""
    columns = np.array([part[1:] for part in parts], dtype=np.float64).T
    return Step(np.ones(len(parts)), columns[0], columns[1], columns[2])
