"""Step times of a pipeline as it serves: the object that answers requests, timed step by step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from headway.engines.batch import Pipeline, Work
from headway.errors import UnsupportedError
from headway.measure.measurement import Load, RequestLoad, Setup, StepLoad
from headway.measure.meter import ProcessMemory

LONG = 1 << 20  # tokens of an answer that is cut off before it ends
VOCABULARY = 256


class ProfiledPipeline:
    """A pipeline as `headway.measure.harness.Engine`; what is timed includes reading the tokens."""

    def __init__(self, pipeline: Pipeline, setup: Setup, max_num_batched_tokens: int) -> None:
        """Profile ``pipeline``, which must have nothing else to do."""
        self.setup = setup
        self.peak_memory = ProcessMemory()
        self._pipeline = pipeline
        self._budget = max_num_batched_tokens
        self._random = np.random.default_rng(0)
        self._number = 1 << 32  # of works: above those of a server
        self._running: set[int] = set()

    def prepare(self, load: Load) -> Callable[[], object]:
        """See `headway.measure.harness.Engine`."""
        self.clear()
        if isinstance(load, RequestLoad):
            for _ in range(load.batch):
                self._add(load.prompt_tokens, load.output_tokens)
            return self._drain
        if isinstance(load, StepLoad):
            if load.scheduled_tokens > 1 or not load.computed_tokens:
                raise UnsupportedError(f"one decode step, or whole requests, unlike {load}")
            self._company(load.batch, load.computed_tokens)
            return self._step
        self._company(load.batch, load.context_tokens)
        number = self._add(load.prompt_tokens, load.output_tokens)

        def join() -> None:
            while number in self._running:
                self._step()
            self._step()

        return join

    def clear(self) -> None:
        """Leave the pipeline with nothing to do."""
        for number in self._running:
            self._pipeline.cancel(number)
        self._running.clear()
        self._pipeline.step()  # lets it see that they are gone

    def _company(self, batch: int, context_tokens: int) -> None:
        """Let ``batch`` sequences decode until each holds about ``context_tokens``."""
        # While the last prompt is computed the first ones decode already; and the first step of
        # a batch, whose shape is new, takes longer than those after it.
        steps = -(-batch * context_tokens // self._budget)
        prompt = max(context_tokens - steps // 2 - 2, 1)
        for _ in range(batch):
            self._add(prompt, LONG)
        decoding: set[int] = set()
        while len(decoding) < batch:
            decoding |= set(self._step())
        self._step()
        self._step()

    def _add(self, prompt_tokens: int, output_tokens: int) -> int:
        number = self._number
        self._number += 1
        prompt = tuple(self._random.integers(0, VOCABULARY, prompt_tokens).tolist())
        self._running.add(number)
        self._pipeline.add(Work(number, prompt, output_tokens, ignore_eos=True))
        return number

    def _step(self) -> list[int]:
        pieces = self._pipeline.step()
        self._running -= {piece.number for piece in pieces if piece.reason}
        return [piece.number for piece in pieces]

    def _drain(self) -> None:
        while self._running:
            self._step()
