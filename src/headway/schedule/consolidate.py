"""Which requests share a batch, for engines that keep a batch until its longest answer ends.

RT-LM's consolidation, clean-room. The first in the order of the policy always goes. The others are
the next in that order, or those whose predicted answers are nearest to the first's; a bound on
the ratio of the longest to the shortest may leave places empty, which costs more than it saves
while anybody waits (``docs/rt-lm.md``). Under continuous batching a finished answer leaves the
batch at once and holds nobody up, so there is nothing to consolidate; what remains of the idea is
to admit by predicted work.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from headway.errors import InputError
from headway.schedule.view import Floats, Ints


@dataclass(frozen=True, slots=True)
class Consolidation:
    """How a static batch is filled.

    Attributes:
        max_batch: requests of one batch.
        ratio: longest over shortest predicted answer; infinite to fill in order alone.
        window_s: how long an unfilled batch may wait for company once the engine is free.
        nearest: whether the first's nearest predicted lengths fill the batch, and not the next in
            order.

    """

    max_batch: int = 8
    ratio: float = math.inf
    window_s: float = 0.0
    nearest: bool = False

    def __post_init__(self) -> None:
        if self.max_batch < 1 or self.ratio < 1 or self.window_s < 0:
            raise InputError(
                "consolidation needs max_batch of at least 1, ratio of at least 1, window_s not "
                f"negative, not {self.max_batch}, {self.ratio}, {self.window_s}"
            )

    def batch(self, ordered: Ints, predicted_tokens: Floats) -> list[int]:
        """Return the rows of one batch, of the rows ``ordered``; the first always goes."""
        if self.nearest and len(ordered):
            lengths = np.maximum(predicted_tokens[ordered], 1e-9)
            distance = np.maximum(lengths, lengths[0]) / np.minimum(lengths, lengths[0])
            distance[0] = 0.0
            ordered = ordered[np.argsort(distance, kind="stable")]

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
