"""Which running request makes way for one that waits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from headway.schedule.order import rank
from headway.schedule.view import Floats, View
from headway.vllm.keys import ARRIVAL, KeyWriter

BLOCK = 16  # quanta whose keys are asked for at once


class Preemption:
    """One slot at a time, for whoever the policy puts before a running request.

    A request runs for the policy's quantum of tokens before it can lose its slot, and loses it
    ``max_preemptions`` times at most: its prompt and answer so far are computed again, as far as
    the prefix cache does not hold them. What it will be worth after each quantum follows from what
    is known when it begins, so the policy is asked for many quanta at once.

    Args:
        writer: asks the policy for keys.
        ahead: returns what will be known of a request once it produced so many tokens.
        max_preemptions: of one request.

    """

    def __init__(
        self, writer: KeyWriter, ahead: Callable[[Any, Floats], View], max_preemptions: int
    ) -> None:
        """Remember no request."""
        self._writer, self._ahead = writer, ahead
        self._max_preemptions = max_preemptions
        self._columns: dict[str, tuple[int, Floats]] = {}  # the first quantum, and what follows

    def candidates(self, running: Sequence[Any]) -> list[Any]:
        """Return those of ``running`` whose answer has just completed a quantum."""
        if not self._writer.policy.preempts:
            return []
        return [one for one in running if self._may_lose(one)]

    def victim(self, front: Floats, candidates: Sequence[Any], now_s: float) -> Any | None:
        """Return the one of ``candidates`` that goes last, where it goes after ``front``.

        ``front`` is what the policy says of the request that waits, a column of its queue.
        """
        columns = np.stack([front, *(self._column(one) for one in candidates)], axis=1)
        rows, _ = rank(self._writer.keys(columns), columns[ARRIVAL], now_s)
        last = int(rows[-1])
        return None if last == 0 else candidates[last - 1]

    def forget(self, request: Any) -> None:
        """``request`` has ended."""
        self._columns.pop(request.request_id, None)

    def _column(self, request: Any) -> Floats:
        """Return what the policy says of ``request``, which has completed a quantum."""
        quantum = self._writer.policy.quantum_tokens
        number = request.num_output_tokens // quantum
        first, columns = self._columns.get(request.request_id, (0, np.empty((0, 0))))
        if not first <= number < first + columns.shape[1]:
            first = number
            view = self._ahead(request, quantum * np.arange(first, first + BLOCK, dtype=np.float64))
            columns = self._writer.columns(view)
            self._columns[request.request_id] = first, columns
        return columns[:, number - first]

    def _may_lose(self, request: Any) -> bool:
        produced = request.num_output_tokens
        return bool(
            produced > 0
            and produced % self._writer.policy.quantum_tokens == 0
            and not request.is_prefill_chunk
            and request.num_preemptions < self._max_preemptions
        )
