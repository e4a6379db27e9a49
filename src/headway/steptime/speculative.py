"""Speculative decoding: a cheap model drafts, the model verifies many tokens in one pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headway.errors import InputError
from headway.model.architecture import ModelArchitecture
from headway.steptime.work import Array, Number


@dataclass(frozen=True, slots=True)
class Speculation:
    """Who drafts, how often a drafted token is accepted, and what a full acceptance yields.

    Attributes:
        draft: the drafting model; `mtp_draft` of the model itself for its own heads.
        acceptance: probability that the first drafted token is accepted.
        decay: the same for each further token, given that all before it were accepted, over that of
            the token before it; 1 where all are alike.
        spread: where the acceptance is assumed, the 80% half-width of the logarithm of the tokens
            per pass; 0 where it was given.
        source: where the acceptance was read; empty where it was given.
        bonus_token: whether the verifying pass yields one more token after the accepted ones, as
            in Leviathan et al. 2023; without it, as in Erdil 2025, eq. 46.
        max_draft_tokens: the largest number of tokens drafted per pass that is considered.
        shares_weights: the draft's tables are the model's own and need no memory of their own.
    """

    draft: ModelArchitecture
    acceptance: float
    bonus_token: bool = True
    max_draft_tokens: int = 8
    shares_weights: bool = False
    decay: float = 1.0
    spread: float = 0.0
    source: str = ""

    def __post_init__(self) -> None:
        for name in ("acceptance", "decay", "spread"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must lie between 0 and 1, not {getattr(self, name):g}")
        if not 1 <= self.max_draft_tokens <= 64:
            raise InputError(
                f"max_draft_tokens must lie between 1 and 64, not {self.max_draft_tokens}"
            )

    def tokens_per_pass(self, drafted: Number) -> Array:
        """Expected tokens of one draft-and-verify pass with ``drafted`` tokens.

        With acceptance a and d drafted: 1 + a + ... + a^d with the bonus token (Leviathan et al.
        2023, eq. 1), one term fewer without. With a decay r the i-th term is a^i r^(i(i-1)/2).
        """
        terms = np.asarray(drafted) + (1.0 if self.bonus_token else 0.0)
        if self.decay < 1:
            place = np.arange(np.max(terms, initial=1.0))
            reached = self.acceptance**place * self.decay ** (place * (place - 1) / 2)
            summed = np.concatenate([[0.0], np.cumsum(reached)])
            return np.asarray(summed[np.asarray(terms, dtype=np.int64)])
        if self.acceptance == 1:
            return np.asarray(terms)
        return np.asarray((1 - self.acceptance**terms) / (1 - self.acceptance))

    def verified_tokens(self, drafted: Number) -> Array:
        """Tokens per sequence in the verifying pass: the bonus token needs one position more."""
        return np.asarray(drafted) + (1.0 if self.bonus_token else 0.0)


def mtp_draft(model: ModelArchitecture) -> ModelArchitecture:
    """The model's multi-token-prediction head as a drafting model of one layer.

    The head is applied again and again for more than one token (DeepSeek-V3, section 5.4.3, and
    the serving engines). Its projection from two hidden states is not priced: below 1% of it.
    """
    if not model.mtp_layers:
        raise InputError(
            f"{model.name} has no multi-token-prediction head; name a draft model instead"
        )
    return ModelArchitecture(
        name=f"{model.name} mtp",
        hidden_size=model.hidden_size,
        vocab_size=model.vocab_size,
        layers=model.mtp_layers[:1],
        tied_embeddings=model.tied_embeddings,
        max_context_tokens=model.max_context_tokens,
    )
