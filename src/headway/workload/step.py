"""One forward pass of an engine, as counts of tokens.

Prefill, decode, chunked prefill and the verification of drafted tokens are one shape: some
sequences, the tokens each schedules now, and the tokens each had computed before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headway.errors import InputError

FloatArray = npt.NDArray[np.float64]
ArrayLike = npt.ArrayLike


@dataclass(frozen=True, slots=True)
class Step:
    """Arrays of shape ``(..., groups)``: along the last axis, groups of alike sequences.

    Leading axes are separate steps, so that a million configurations are one call.

    Attributes:
        num_sequences: sequences in each group.
        scheduled_tokens: tokens per sequence that pass through the model in this step.
        computed_tokens: tokens per sequence that are in the KV cache already.
        sampled_tokens: tokens per sequence whose logits are wanted (0 for an unfinished prefill).

    """

    num_sequences: FloatArray
    scheduled_tokens: FloatArray
    computed_tokens: FloatArray
    sampled_tokens: FloatArray

    def __post_init__(self) -> None:
        for name in ("num_sequences", "scheduled_tokens", "computed_tokens", "sampled_tokens"):
            values = np.atleast_1d(np.asarray(getattr(self, name), dtype=np.float64))
            if not np.all(np.isfinite(values)) or np.any(values < 0):
                raise InputError(f"{name} of a step must be finite and not negative")
            object.__setattr__(self, name, values)
        if np.any(self.sampled_tokens > self.scheduled_tokens):
            raise InputError("a step cannot sample more tokens than it schedules")

    @classmethod
    def decode(cls, batch: ArrayLike, context_tokens: ArrayLike, new_tokens: ArrayLike = 1) -> Step:
        """``batch`` sequences of ``context_tokens`` each add ``new_tokens`` (above 1: drafted)."""
        new = _one_group(new_tokens)
        return cls(_one_group(batch), new, _one_group(context_tokens), new)

    @classmethod
    def prefill(
        cls, batch: ArrayLike, prompt_tokens: ArrayLike, computed_tokens: ArrayLike = 0
    ) -> Step:
        """``batch`` prompts of ``prompt_tokens``, of which ``computed_tokens`` are cached."""
        computed = _one_group(computed_tokens)
        scheduled = _one_group(prompt_tokens) - computed
        return cls(_one_group(batch), scheduled, computed, np.minimum(scheduled, 1.0))

    def with_group(self, other: Step) -> Step:
        """The step that runs this one and ``other`` together (a mixed step)."""
        return Step(*map(_join, self._arrays(), other._arrays()))

    def split(self, ways: ArrayLike) -> Step:
        """The share of the busiest of ``ways`` workers: sequences are dealt out one by one.

        Of an expected number that is not whole, the share lies between those of its neighbours.
        """
        workers = np.asarray(ways, dtype=np.float64)[..., None]
        whole = np.floor(self.num_sequences)
        share = np.ceil(whole / workers)
        share = share + (self.num_sequences - whole) * (np.floor(whole / workers) + 1 - share)
        return Step(share, self.scheduled_tokens, self.computed_tokens, self.sampled_tokens)

    @property
    def total_tokens(self) -> FloatArray:
        """Tokens that pass through the model, shape ``(...)``."""
        return np.asarray((self.num_sequences * self.scheduled_tokens).sum(axis=-1))

    @property
    def total_sequences(self) -> FloatArray:
        """Sequences in the step, shape ``(...)``."""
        return np.asarray(self.num_sequences.sum(axis=-1))

    @property
    def total_sampled(self) -> FloatArray:
        """Rows of logits, shape ``(...)``."""
        return np.asarray((self.num_sequences * self.sampled_tokens).sum(axis=-1))

    def attended_pairs(self, window_tokens: int | None = None) -> FloatArray:
        """Pairs of query and key that causal attention scores, per sequence and group.

        The i-th scheduled token (from 1) sees ``computed + i`` keys, at most ``window_tokens``.
        """
        new, old = self.scheduled_tokens, self.computed_tokens
        full = new * old + new * (new + 1) / 2
        if window_tokens is None:
            return full
        growing = np.clip(window_tokens - old, 0.0, new)
        return growing * old + growing * (growing + 1) / 2 + (new - growing) * window_tokens

    def cached_tokens(self, window_tokens: int | None = None) -> FloatArray:
        """Tokens per sequence that are read from the KV cache: all, or what a window still sees."""
        if window_tokens is None:
            return self.computed_tokens
        return np.minimum(self.computed_tokens, window_tokens)

    def _arrays(self) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        return self.num_sequences, self.scheduled_tokens, self.computed_tokens, self.sampled_tokens


def _one_group(values: ArrayLike) -> FloatArray:
    return np.asarray(values, dtype=np.float64)[..., None]


def _join(mine: FloatArray, theirs: FloatArray) -> FloatArray:
    shape = np.broadcast_shapes(mine.shape[:-1], theirs.shape[:-1])
    return np.concatenate(
        [np.broadcast_to(a, (*shape, a.shape[-1])) for a in (mine, theirs)], axis=-1
    )
