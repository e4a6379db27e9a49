"""A finished request, as it stands in a log: what predictors learn from."""

from __future__ import annotations

from dataclasses import dataclass

from headway.errors import InputError
from headway.predict.prediction import MOST_TOKENS
from headway.workload.request import Request


@dataclass(frozen=True, slots=True)
class Observation:
    """One prompt and the length of its answer.

    Attributes:
        prompt: the text; a chat as `headway.predict.text.chat_text` gives it.
        output_tokens: of the answer, at least 0.
        model: who answered; empty where there is only one.
        tenant: on whose behalf; empty where that is not distinguished.
        source: where the prompt comes from, to report scores by; no predictor sees it.
        max_tokens: the user's limit on the answer, ``None`` for none.
    """

    prompt: str
    output_tokens: int
    model: str = ""
    tenant: str = ""
    source: str = ""
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.output_tokens <= MOST_TOKENS:
            raise InputError(f"output_tokens must be from 0 to 1e7, not {self.output_tokens}")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise InputError(f"max_tokens must be at least 1, not {self.max_tokens}")

    def request(self, number: int) -> Request:
        """Return the request as it arrived, with ``number`` as its id."""
        return Request(
            id=str(number),
            arrival_s=0.0,
            prompt=self.prompt,
            prompt_tokens=max(1, len(self.prompt) // 4),
            max_tokens=self.max_tokens,
            model=self.model,
            tenant=self.tenant,
        )
