"""Which requests go to the second, cheaper pool: the ones whose upper quantile is long.

RT-LM's offload, clean-room: a long answer holds up all that wait for the fast pool; on the slow one
it takes longer itself but frees the others. Only when that shortens the total does it go.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headway.errors import InputError
from headway.schedule.view import Floats, Ints, ServiceTime, View


@dataclass(frozen=True, slots=True)
class Offload:
    """The rule.

    Attributes:
        threshold_tokens: an answer whose ``level`` quantile is longer may go.
        slow: what requests cost on the second pool.
        level: of the predicted length.

    """

    threshold_tokens: float
    slow: ServiceTime
    level: float = 0.9

    def __post_init__(self) -> None:
        if not self.threshold_tokens > 0:
            raise InputError(f"threshold_tokens must be above 0, not {self.threshold_tokens}")

    @classmethod
    def at_share(cls, predicted: Floats, share: float, slow: ServiceTime) -> Offload:
        """Return the rule whose threshold ``share`` of the ``predicted`` lengths pass."""
        if not 0 < share < 1:
            raise InputError(f"share must lie between 0 and 1, not at {share}")
        threshold_tokens = float(np.quantile(predicted, 1 - share))
        return cls(max(threshold_tokens, 1e-9), slow)

    def long(self, view: View) -> Ints:
        """Return 1 for every request that passes the threshold, 0 for the others."""
        return (view.at(self.level) > self.threshold_tokens).astype(np.int64)

    def pays(
        self,
        view: View,
        row: int,
        fast_backlog_s: float,
        slow_backlog_s: float,
        held_up_s: float = 0.0,
    ) -> bool:
        """Return whether the total is shorter with request ``row`` on the slow pool.

        Args:
            view: what is known of the requests.
            row: which of them.
            fast_backlog_s: until it would begin on the fast pool.
            slow_backlog_s: until it would begin on the slow one.
            held_up_s: what all others together would wait longer with it on the fast pool.

        """
        tokens = view.at(self.level)[row]
        if tokens <= self.threshold_tokens:
            return False

        prompt_tokens = view.prompt_tokens[row]
        fast_s = fast_backlog_s + float(view.service.of(prompt_tokens, tokens)) + held_up_s
        slow_s = slow_backlog_s + float(self.slow.of(prompt_tokens, tokens))
        return fast_s > slow_s
