"""An engine that computes nothing and takes as long as a step-time model says.

It batches as the simulator's engine does, so that a gateway meets the speed of hardware that is not
here, and a test a known truth.
"""

from __future__ import annotations

from time import monotonic, sleep

from headway.engines.batch import Piece, Work
from headway.engines.cache import BlockCache
from headway.engines.chunks import Chunks, Part, as_step
from headway.steptime.step_time import StepTimeModel

TOKEN = 64  # the letter a, over and over
MAX_LATE_S = 1.0  # that is made up for: a machine that sleeps for longer loses the rest
SAME_STEPS = 16  # decodes of the same sequences: what they hold grows by a thousandth meanwhile


class TimedPipeline:
    """Steps that last as long as ``model`` says; ``max_num_batched_tokens`` as in vLLM.

    A step begins when the one before it was due to end, however late that was noticed: so what a
    busy machine is late by does not add up.
    """

    def __init__(
        self,
        model: StepTimeModel,
        max_num_batched_tokens: int = 2048,
        cache: BlockCache | None = None,
    ) -> None:
        """Run nothing yet; without a ``cache`` every prompt is computed whole."""
        self._model = model
        self._chunks = Chunks(max_num_batched_tokens)
        self._cache = cache
        self._cached_tokens: dict[int, int] = {}
        self._due_s = 0.0
        self._is_busy = False
        self._priced: tuple[tuple[int, ...], float] = ((), 0.0)  # who decoded, and how long it took
        self._num_same = 0

    @property
    def kv_usage(self) -> float:
        """Share of the cache that requests which run hold; 0 without one."""
        return min(1.0, self._cache.usage) if self._cache is not None else 0.0

    def has_room(self, work: Work) -> bool:
        """See `headway.engines.batch.Pipeline`."""
        return self._cache is None or self._cache.has_room(work)

    def add(self, work: Work) -> None:
        """See `headway.engines.batch.Pipeline`."""
        cached_tokens = 0 if self._cache is None else self._cache.admit(work)
        self._cached_tokens[work.number] = cached_tokens
        self._chunks.add(work, cached_tokens)

    def cancel(self, number: int) -> None:
        """See `headway.engines.batch.Pipeline`."""
        self._chunks.drop(number)
        self._release(number)

    def step(self) -> list[Piece]:
        """See `headway.engines.batch.Pipeline`; sleeps."""
        parts = self._chunks.advance()
        if not parts:
            self._is_busy = False
            return []

        now_s = monotonic()
        begin_s = max(self._due_s, now_s - MAX_LATE_S) if self._is_busy else now_s
        self._due_s = begin_s + self._step_s(parts)
        sleep(max(0.0, self._due_s - monotonic()))

        pieces: list[Piece] = []
        for part in parts:
            has_ended = self._chunks.ended(part.number)
            if part.samples:
                cached_tokens = self._cached_tokens.get(part.number, 0)
                reason = "length" if has_ended else ""
                pieces.append(Piece(part.number, (TOKEN,), reason, cached_tokens))
            if has_ended:
                self._release(part.number)
        self._is_busy = self._chunks.num_running > 0
        return pieces

    def _step_s(self, parts: list[Part]) -> float:
        """Return how long a step takes; a model takes a millisecond to say it."""
        is_decode = all(part.scheduled == 1 for part in parts)
        numbers = tuple(part.number for part in parts) if is_decode else ()
        self._num_same += 1
        if not is_decode or numbers != self._priced[0] or self._num_same == SAME_STEPS:
            seconds = float(self._model.step_time(as_step(parts)).expected_s)
            self._priced, self._num_same = (numbers, seconds), 0
        return self._priced[1]

    def _release(self, number: int) -> None:
        self._cached_tokens.pop(number, None)
        if self._cache is not None:
            self._cache.release(number)
