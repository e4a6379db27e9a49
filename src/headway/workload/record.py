"""What happened to requests: the same form from simulator, load generator, gateway and trace."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from headway.errors import InputError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

DONE, REJECTED, FAILED = "done", "rejected", "failed"


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request and the times of its tokens, in seconds on one clock.

    Attributes:
        id: unique within a run.
        arrival_s: when it was sent.
        token_s: when each output token was seen; a simulator keeps the first and the last.
        prompt_tokens: of the prompt.
        output_tokens: of the answer.
        cached_tokens: of the prompt that were in a cache; ``None`` where nobody says.
        status: done, rejected (never started) or failed.

    """

    id: str
    arrival_s: float
    token_s: tuple[float, ...]
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int | None = None
    status: str = DONE

    def __post_init__(self) -> None:
        if self.status not in (DONE, REJECTED, FAILED):
            raise InputError(f"status must be done, rejected or failed, not {self.status!r}")
        if self.status == DONE and not self.token_s:
            raise InputError(f"request {self.id} is done but has no token")
        times = (self.arrival_s, *self.token_s)
        if not all(map(math.isfinite, times)):
            raise InputError(f"the times of request {self.id} must be finite, not {times[:9]}")
        if any(a > b for a, b in pairwise(times)):
            raise InputError(f"the times of request {self.id} run backwards")

    @property
    def ttft_s(self) -> float | None:
        """Arrival to first token, queueing included."""
        return self.token_s[0] - self.arrival_s if self.token_s else None

    @property
    def e2e_s(self) -> float | None:
        """Arrival to last token; ``None`` unless it is done."""
        return self.token_s[-1] - self.arrival_s if self.status == DONE else None

    @property
    def tpot_s(self) -> float | None:
        """(e2e - TTFT) / (output tokens - 1); ``None`` for a single token."""
        if self.status != DONE or self.output_tokens < 2:
            return None
        return (self.token_s[-1] - self.token_s[0]) / (self.output_tokens - 1)

    @property
    def itl_s(self) -> tuple[float, ...] | None:
        """Every gap between tokens; ``None`` where not every token's time was kept."""
        if len(self.token_s) != self.output_tokens:
            return None
        return tuple(b - a for a, b in pairwise(self.token_s))


@dataclass(frozen=True, slots=True, eq=False)
class Records:
    """Many records as columns; times are NaN where there is none.

    Attributes:
        arrival_s: when requests were sent.
        first_s: when their first tokens came out.
        last_s: when their last tokens came out.
        prompt_tokens: of the prompts.
        output_tokens: of the answers.
        cached_tokens: of the prompts that were in a cache.
        rejected: never started, because it cannot fit.

    """

    arrival_s: Floats
    first_s: Floats
    last_s: Floats
    prompt_tokens: Ints
    output_tokens: Ints
    cached_tokens: Ints
    rejected: Bools

    def __post_init__(self) -> None:
        n = len(self.arrival_s)
        if any(len(getattr(self, name)) != n for name in self.__slots__):
            raise InputError("the columns of records differ in length")

    def __len__(self) -> int:
        return len(self.arrival_s)

    @classmethod
    def of(cls, records: Sequence[RequestRecord]) -> Records:
        """Return ``records`` as columns; times of what did not end are NaN."""
        first_s = [r.token_s[0] if r.token_s else math.nan for r in records]
        last_s = [r.token_s[-1] if r.status == DONE else math.nan for r in records]
        return cls(
            arrival_s=np.array([r.arrival_s for r in records], dtype=np.float64),
            first_s=np.array(first_s, dtype=np.float64),
            last_s=np.array(last_s, dtype=np.float64),
            prompt_tokens=np.array([r.prompt_tokens for r in records], dtype=np.int64),
            output_tokens=np.array([r.output_tokens for r in records], dtype=np.int64),
            cached_tokens=np.array([r.cached_tokens or 0 for r in records], dtype=np.int64),
            rejected=np.array([r.status == REJECTED for r in records], dtype=np.bool_),
        )

    def take(self, rows: Bools) -> Records:
        """Return the records where ``rows`` is true."""
        return Records(**{name: getattr(self, name)[rows] for name in self.__slots__})

    @property
    def done(self) -> Bools:
        """Which ended with their last token."""
        return np.isfinite(self.last_s)

    @property
    def ttft_s(self) -> Floats:
        """Arrival to first token."""
        return self.first_s - self.arrival_s

    @property
    def e2e_s(self) -> Floats:
        """Arrival to last token."""
        return self.last_s - self.arrival_s

    @property
    def tpot_s(self) -> Floats:
        """(e2e - TTFT) / (output tokens - 1); NaN for a single token."""
        gaps = np.where(self.output_tokens > 1, self.output_tokens - 1, np.nan)
        return np.asarray((self.last_s - self.first_s) / gaps)

    def record(self, i: int) -> RequestRecord:
        """Request ``i`` as an object."""
        status = DONE if self.done[i] else REJECTED if self.rejected[i] else FAILED
        output_tokens = int(self.output_tokens[i])
        times = (float(self.first_s[i]), float(self.last_s[i]))[: max(1, min(output_tokens, 2))]
        return RequestRecord(
            id=str(i),
            arrival_s=float(self.arrival_s[i]),
            token_s=times if status == DONE else (),
            prompt_tokens=int(self.prompt_tokens[i]),
            output_tokens=output_tokens,
            cached_tokens=int(self.cached_tokens[i]),
            status=status,
        )
