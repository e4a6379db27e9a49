"""Step times of an engine as it serves: what each step computed, and how long it took.

An engine that is profiled alone has the machine and its caches to itself and meets every shape
again and again. One that serves has not: so its own log is what predicts its service best.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

import numpy as np
import numpy.typing as npt

from headway.engines.batch import Piece, Pipeline, Work
from headway.engines.chunks import Chunks, Part
from headway.errors import HeadwayError
from headway.workload.step import Step

MOST_STEPS = 1_000_000
Floats = npt.NDArray[np.float64]
Row = tuple[float, tuple[Part, ...]]  # seconds, and what was computed


class UnexpectedStepError(HeadwayError):
    """A pipeline gave other sequences a token than its batching rule says."""


class LoggedPipeline:
    """A pipeline whose steps are written down; everything else is passed on.

    A step's time counts from the end of the one before it, if something ran all the while: what
    the engine does between steps is time that its sequences wait.

    Attributes:
        rows: of the steps so far, the oldest first.

    """

    def __init__(self, pipeline: Pipeline, max_num_batched_tokens: int) -> None:
        """Log ``pipeline``, which runs nothing yet."""
        self.pipeline = pipeline
        self.rows: list[Row] = []
        self._chunks = Chunks(max_num_batched_tokens)
        self._running: set[int] = set()
        self._ended_s = 0.0

    @property
    def kv_usage(self) -> float:
        """See `headway.engines.batch.Pipeline`."""
        return self.pipeline.kv_usage

    def has_room(self, work: Work) -> bool:
        """See `headway.engines.batch.Pipeline`."""
        return self.pipeline.has_room(work)

    def add(self, work: Work) -> None:
        """See `headway.engines.batch.Pipeline`."""
        if not self._running:
            self._ended_s = perf_counter()
        self._running.add(work.number)
        self._chunks.add(work)
        self.pipeline.add(work)

    def cancel(self, number: int) -> None:
        """See `headway.engines.batch.Pipeline`."""
        self._running.discard(number)
        self._chunks.drop(number)
        self.pipeline.cancel(number)

    def step(self) -> list[Piece]:
        """See `headway.engines.batch.Pipeline`."""
        pieces = self.pipeline.step()
        now_s = perf_counter()
        parts = self._chunks.advance()
        if {piece.number for piece in pieces} != {part.number for part in parts if part.samples}:
            raise UnexpectedStepError("the engine's step is not what chunked prefill would compute")
        if len(self.rows) < MOST_STEPS:
            self.rows.append((now_s - self._ended_s, tuple(parts)))
        self._ended_s = now_s
        for piece in pieces:
            if piece.reason:
                self._running.discard(piece.number)
                self._chunks.drop(piece.number)
        return pieces


def as_steps(rows: Sequence[Row]) -> tuple[Step, Floats]:
    """The steps of a log, of shape (steps, 2): decodes, and prompts; and their seconds."""
    columns = np.zeros((4, len(rows), 2))
    for i, (_, parts) in enumerate(rows):
        decodes = [p for p in parts if p.scheduled == 1 and p.computed]
        prompts = [p for p in parts if p.scheduled > 1 or not p.computed]
        for group, some in enumerate((decodes, prompts)):
            if some:
                scheduled, computed, samples = np.mean([p[1:] for p in some], axis=0)
                columns[:, i, group] = len(some), scheduled, computed, samples
    return Step(*columns), np.array([seconds for seconds, _ in rows])
