"""What a user asks for. It holds no output length: nobody knows it when the request arrives."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headway.errors import InputError
from headway.units import check_positive


@dataclass(frozen=True, slots=True)
class Slo:
    """Objectives of one request in seconds; ``None`` is no objective.

    Attributes:
        ttft_s, tpot_s, e2e_s: bounds.
        ttft_prompt_token_s: by how much each prompt token raises the bound of TTFT.
        tier: class of service, the smallest goes first.
        value: what it is worth to meet the objectives of a request.

    """

    ttft_s: float | None = None
    tpot_s: float | None = None
    e2e_s: float | None = None
    ttft_prompt_token_s: float = 0.0
    tier: int = 0
    value: float = 1.0

    def __post_init__(self) -> None:
        for name in ("ttft_s", "tpot_s", "e2e_s"):
            if getattr(self, name) is not None:
                check_positive(getattr(self, name), f"objective {name}")
        if not 0 <= self.ttft_prompt_token_s < 1:
            raise InputError(
                "ttft_prompt_token_s is seconds per prompt token, from 0 to 1, "
                f"not {self.ttft_prompt_token_s:g}"
            )
        check_positive(self.value, "the value of a request")

    def ttft_limit_s(self, prompt_tokens: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the bound of TTFT for prompts of so many tokens; infinite where there is none."""
        base_s = math.inf if self.ttft_s is None else self.ttft_s
        return base_s + self.ttft_prompt_token_s * np.asarray(prompt_tokens, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Request:
    """One request as a server sees it on arrival.

    Attributes:
        id: unique within a run.
        arrival_s: seconds since the run began.
        prompt: the text, empty where only lengths are known (traces).
        prompt_tokens: at least 1.
        max_tokens: the user's limit on the answer, ``None`` for none.
        model: who is asked, as the user spells it; empty where there is only one.
        tenant: on whose behalf; empty where that is not distinguished.
        slo: its objectives, its class of service and what they are worth.

    """

    id: str
    arrival_s: float
    prompt: str
    prompt_tokens: int
    max_tokens: int | None = None
    model: str = ""
    tenant: str = ""
    slo: Slo = Slo()

    def __post_init__(self) -> None:
        if self.prompt_tokens < 1:
            raise InputError(f"prompt_tokens must be at least 1, not {self.prompt_tokens}")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise InputError(f"max_tokens must be at least 1, not {self.max_tokens}")
