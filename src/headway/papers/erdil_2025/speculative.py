"""Speculative decoding: a draft proposes, the model verifies (equation 46 of the paper).

The draft runs on the same accelerators at the same batch. Quirks kept: g drafted tokens yield
(1 - a^g) / (1 - a) tokens, without the extra one that verification gives; the model verifies g
tokens, not g + 1; neither the draft's weights nor its cache count against the model's memory.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headway.errors import InputError
from headway.papers.erdil_2025.forward import Choices, fastest, points
from headway.papers.erdil_2025.models import PublishedModel
from headway.papers.erdil_2025.passes import ForwardPass

Floats = NDArray[np.float64]
Codes = NDArray[np.int16]
Points = NDArray[np.intp]

DRAFT_LENGTHS = (2, 3, 4, 5)
"""The numbers of drafted tokens that the published program tries."""

_SLACK = 1 - 1e-9


def expected_tokens(acceptance: float, draft_tokens: int) -> float:
    """Return the tokens that ``draft_tokens`` proposals yield on average (equation 46)."""
    return float(sum(acceptance**i for i in range(draft_tokens)))


@dataclass(frozen=True, slots=True)
class Speculation:
    """A pass of one token per sequence, the draft ahead of it, and how often it is right.

    ``acceptance`` is the chance that one drafted token is accepted.
    """

    plain: ForwardPass
    draft: PublishedModel
    acceptance: float = 0.8

    def __post_init__(self) -> None:
        if not 0 <= self.acceptance <= 1:
            raise InputError(f"acceptance must lie between 0 and 1, not {self.acceptance}")

    def verification(self, draft_tokens: int) -> ForwardPass:
        """Return the pass of the model over ``draft_tokens`` tokens per sequence."""
        return replace(self.plain, query_tokens=draft_tokens)

    @property
    def drafting(self) -> ForwardPass:
        """One pass of the draft."""
        return replace(self.plain, model=self.draft)

    def bound_s(self, num_accelerators: Floats, batch: Floats) -> Floats:
        """Return a time per token that nothing goes below."""
        bound = self.plain.bound_s(num_accelerators, batch)
        draft = self.drafting.bound_s(num_accelerators, batch)
        for count in DRAFT_LENGTHS:
            verify = self.verification(count).bound_s(num_accelerators, batch)
            per_token = (verify + count * draft) / expected_tokens(self.acceptance, count)
            np.minimum(bound, per_token, out=bound)
        return bound

    def fastest(
        self,
        choices: Choices,
        num_accelerators: Floats,
        batch: Floats,
        *,
        budget_s: Floats | None = None,
        barred: NDArray[np.bool_] | None = None,
    ) -> tuple[Floats, Codes, Codes]:
        """Return, at one-dimensional points, time per token, draft length, the model's variant.

        ``budget_s`` and ``barred`` are those of ``forward.fastest``; length 1 means no draft.
        """
        n, b = num_accelerators, batch

        def run(forward: ForwardPass, at: Points, limit_s: Floats) -> tuple[Floats, Codes]:
            bars = None if barred is None else barred[at]
            return fastest(forward, choices, n[at], b[at], budget_s=limit_s, barred=bars)

        limit = np.full(b.shape, np.inf) if budget_s is None else budget_s
        time, code = run(self.plain, np.arange(b.size), limit)
        lengths = np.ones(b.shape, dtype=np.int16)

        # Several tokens take no less than one, and one without a time takes the limit.
        limit = np.minimum(limit, time)
        at = np.flatnonzero(np.isfinite(limit))
        bounds, room = self._bounds(n[at], b[at], limit[at])
        draft_s, _ = run(self.drafting, at, room)

        for count in DRAFT_LENGTHS:
            tokens = expected_tokens(self.acceptance, count)
            budget = limit[at] * tokens - count * draft_s
            within = np.flatnonzero(bounds[count] <= budget)
            here = at[within]
            verify_s, verify_code = run(self.verification(count), here, budget[within])

            per_token_s = (verify_s + count * draft_s[within]) / tokens
            better = per_token_s < time[here]
            here = here[better]
            time[here], code[here] = per_token_s[better], verify_code[better]
            lengths[here] = count
            limit = np.minimum(limit, time)
        return time, lengths, code

    def _bounds(self, n: Floats, b: Floats, limit_s: Floats) -> tuple[dict[int, Floats], Floats]:
        """Return a bound on the time of each verification, and the draft's room.

        The room is the longest that one pass of the draft may take if any number of drafted tokens
        is to stay within the limit.
        """
        bounds, room = {}, np.full(b.shape, -np.inf)
        for count in DRAFT_LENGTHS:
            bounds[count] = np.maximum(limit_s, self.verification(count).bound_s(n, b)) * _SLACK
            budget = limit_s * expected_tokens(self.acceptance, count)
            room = np.maximum(room, (budget - bounds[count]) / count)
        return bounds, room


def speculative_latency_s(
    num_accelerators: ArrayLike,
    batch: ArrayLike,
    speculation: Speculation,
    choices: Choices | None = None,
) -> tuple[Floats, Codes]:
    """Return the mean time per token and the draft length that is best, 1 for no draft.

    ``num_accelerators`` and ``batch`` broadcast; the time is infinite where the model does not fit.
    """
    n, b = points(num_accelerators, batch)
    time, lengths, _ = speculation.fastest(choices or Choices(), n.ravel(), b.ravel())
    return time.reshape(n.shape), lengths.reshape(n.shape)
