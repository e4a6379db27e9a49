"""Which requests share a batch, for engines that keep a batch until its longest answer ends.

RT-LM's consolidation, clean-room: grow the batch in the order of the policy while the longest
predicted answer is at most ``ratio`` times the shortest; what does not fit waits for the next
batch. Under continuous batching a finished answer leaves the batch at once and holds nobody up,
so there is nothing to consolidate; what remains of the idea is to admit by predicted work.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from headway.errors import InputError
from headway.schedule.view import Floats, Ints


@dataclass(frozen=True, slots=True)
class Consolidation:
    """How a static batch is filled.

    Attributes:
        max_batch: requests of one batch.
        ratio: longest over shortest predicted answer; infinite to fill in order alone.
        window_s: how long an unfilled batch may wait for company once the engine is free.

    """

    max_batch: int = 8
    ratio: float = math.inf
    window_s: float = 0.0

    def __post_init__(self) -> None:
        if self.max_batch < 1 or self.ratio < 1 or self.window_s < 0:
            raise InputError(
                "consolidation needs max_batch of at least 1, ratio of at least 1, window_s not "
                f"negative, not {self.max_batch}, {self.ratio}, {self.window_s}"
            )

    def batch(self, ordered: Ints, predicted_tokens: Floats) -> list[int]:
        """Return the rows of one batch, of the rows ``ordered``; the first always goes."""
        batch: list[int] = []
        shortest, longest = math.inf, 0.0
        for row in ordered:
            tokens = max(float(predicted_tokens[row]), 1e-9)
            if batch and max(longest, tokens) > self.ratio * min(shortest, tokens):
                continue

            shortest, longest = min(shortest, tokens), max(longest, tokens)
            batch.append(int(row))
            if len(batch) == self.max_batch:
                break
        return batch
