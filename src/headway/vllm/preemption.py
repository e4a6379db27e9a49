"""Which running request makes way for one that waits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from headway.schedule.order import rank
from headway.schedule.view import View
from headway.vllm.settings import Settings


class Preemption:
    """One slot at a time, for whoever the policy puts before a running request.

    A request runs for the policy's quantum of tokens before it can lose its slot, and loses it
    ``max_preemptions`` times at most: its prompt and answer so far are computed again, as far as
    the prefix cache does not hold them.
    """

    def __init__(self, settings: Settings, view: Callable[[Sequence[Any]], View]) -> None:
        """Keep the policy and what it may know."""
        self._policy, self._view = settings.order, view
        self._max_preemptions = settings.max_preemptions

    def candidates(self, running: Sequence[Any]) -> list[Any]:
        """Return those of ``running`` whose answer has just completed a quantum."""
        if not self._policy.preempts:
            return []
        return [one for one in running if self._may_lose(one)]

    def victim(self, front: Any, candidates: Sequence[Any], now_s: float) -> Any | None:
        """Return the one of ``candidates`` that goes last, where it goes after ``front``."""
        view = self._view([front, *candidates])
        rows, _ = rank(self._policy.keys(view), view.arrival_s, now_s)
        last = int(rows[-1])
        return None if last == 0 else candidates[last - 1]

    def _may_lose(self, request: Any) -> bool:
        produced = request.num_output_tokens
        return bool(
            produced > 0
            and produced % self._policy.quantum_tokens == 0
            and not request.is_prefill_chunk
            and request.num_preemptions < self._max_preemptions
        )
