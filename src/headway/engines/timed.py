"""An engine that computes nothing and takes as long as a step-time model says.

It batches as the simulator's engine does, so that a gateway meets the speed of hardware that is not
here, and a test a known truth.
"""

from __future__ import annotations

from time import monotonic, sleep

from headway.engines.batch import Piece, Work
from headway.engines.chunks import Chunks, as_step
from headway.steptime.step_time import StepTimeModel

TOKEN = 64  # the letter a, over and over
IDLE_S = 2e-3


class TimedPipeline:
    """Steps that last as long as ``model`` says; ``max_num_batched_tokens`` as in vLLM."""

    def __init__(self, model: StepTimeModel, max_num_batched_tokens: int = 2048) -> None:
        """Run nothing yet."""
        self._model = model
        self._chunks = Chunks(max_num_batched_tokens)
        self._due_s = 0.0

    @property
    def kv_usage(self) -> float:
        """There is no cache that could fill up."""
        return 0.0

    def add(self, work: Work) -> None:
        """See `headway.engines.batch.Pipeline`."""
        self._chunks.add(work)

    def cancel(self, number: int) -> None:
        """See `headway.engines.batch.Pipeline`."""
        self._chunks.drop(number)

    def step(self) -> list[Piece]:
        """See `headway.engines.batch.Pipeline`; sleeps."""
        parts = self._chunks.advance()
        if not parts:
            return []
        # A step begins when the one before it was due to end, unless the engine was idle since:
        # so what a sleep is late by does not add up.
        now_s = monotonic()
        begin_s = self._due_s if 0 <= now_s - self._due_s < IDLE_S else now_s
        self._due_s = begin_s + float(self._model.step_time(as_step(parts)).expected_s)
        sleep(max(0.0, self._due_s - monotonic()))
        ended = self._chunks.ended
        return [
            Piece(part.number, (TOKEN,), "length" if ended(part.number) else "")
            for part in parts
            if part.samples
        ]
