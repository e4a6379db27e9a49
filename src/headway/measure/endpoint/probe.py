"""One request to an endpoint and everything that was seen of it, failures included."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from itertools import pairwise
from statistics import fmean, median
from typing import Any

from headway.errors import InputError
from headway.http.openai import Usage

# Gaps are averaged over so many chunks: servers send in bursts.
BLOCK = 4
# A block that takes so many times the median has waited for something else.
STALL = 1.5
# Chunks nearer to one another than so much of the usual gap came together: the mean of the lower
# three quarters, so that stalls do not count.
TOGETHER = 0.25
USUAL = 0.75


@dataclass(frozen=True, slots=True)
class Probe:
    """What was asked and what came, times in seconds since the request was sent.

    Attributes:
        id: unique in its ledger: round, prompt tokens that were planned, attempt ("0/512/0").
        prompt_words: words in the prompt.
        max_tokens: the limit that was set on the answer.
        sent_at: seconds since 1970, UTC.
        failure: ``None``, or what went wrong, as named in `headway.measure.endpoint.stream`.
        message: the endpoint's own words on the failure, shortened.
        ttft_s: first token, shown or counted as reasoning; ``None`` if none came.
        chunks_s: every chunk with text.
        shown_s: first chunk with text that is no reasoning; ``None`` if none came.
        e2e_s: end of the stream.
        usage: tokens as counted by the endpoint.
        finish: why the answer ended ("stop", "length"), ``None`` if it was not said.
        retry_after_s: what a refusal asked to wait.

    """

    id: str
    prompt_words: int
    max_tokens: int
    sent_at: float
    failure: str | None = None
    message: str = ""
    ttft_s: float | None = None
    chunks_s: tuple[float, ...] = ()
    shown_s: float | None = None
    e2e_s: float | None = None
    usage: Usage = field(default_factory=Usage)
    finish: str | None = None
    retry_after_s: float | None = None

    def __post_init__(self) -> None:
        if any(later < earlier for earlier, later in pairwise(self.chunks_s)):
            raise InputError(f"the chunks of probe {self.id} are not in the order of time")

    @property
    def planned_tokens(self) -> int:
        """Prompt tokens that the plan called for."""
        return int(self.id.split("/")[1])

    @property
    def complete(self) -> bool:
        """Whether the answer came to its end."""
        return self.failure is None and self.ttft_s is not None and self.e2e_s is not None

    @property
    def failure_text(self) -> str:
        """What went wrong, in words."""
        return f"{self.failure}{': ' + self.message if self.message else ''}"

    @property
    def output_tokens(self) -> int:
        """Tokens generated: the endpoint's count, else the chunks."""
        counted = self.usage.output_tokens
        return len(self.chunks_s) if counted is None else counted

    @property
    def hidden_tokens(self) -> int | None:
        """Tokens that were generated and never sent; ``None`` where usage does not say."""
        if self.usage.output_tokens is None or self.usage.reasoning_tokens is None:
            return None

        # Reasoning that is streamed has chunks; then the first of them precedes the shown ones.
        is_streamed = self.shown_s is None or (self.ttft_s or 0.0) < self.shown_s
        return 0 if is_streamed and len(self.chunks_s) > 1 else self.usage.reasoning_tokens

    @property
    def tokens_per_chunk(self) -> float:
        """Tokens that one chunk carries: above 1 with drafted tokens or slow flushing."""
        streamed = self.output_tokens - (self.hidden_tokens or 0)
        return max(streamed / len(self.chunks_s), 1e-9) if self.chunks_s and streamed > 0 else 1.0

    @property
    def tpot_s(self) -> float | None:
        """Undisturbed seconds per token after the first; ``None`` where chunks do not tell.

        The mean over blocks of chunks without those that stalled, so that neither bursts nor stalls
        count, over the tokens per chunk. A block ends only where the next chunk did not come with
        it: what a late reader finds waiting took the time before it. A median would be less than
        what a quiet engine takes for a whole answer, whose steps vary as well.
        """
        if len(self.chunks_s) < 2:
            return None
        gaps_s = sorted(b - a for a, b in pairwise(self.chunks_s))
        together_s = TOGETHER * fmean(gaps_s[: math.ceil(USUAL * len(gaps_s))])

        # Blocks begin and end at marks; the first is the last of the chunks that came together.
        block_size = min(BLOCK, len(self.chunks_s) - 1)
        marks: list[int] = []
        for i, (now_s, next_s) in enumerate(pairwise((*self.chunks_s, math.inf))):
            if next_s - now_s > together_s and (not marks or i - marks[-1] >= block_size):
                marks.append(i)

        block_gaps_s = [(self.chunks_s[b] - self.chunks_s[a]) / (b - a) for a, b in pairwise(marks)]
        if not block_gaps_s:
            return None
        calm_s = [gap_s for gap_s in block_gaps_s if gap_s <= STALL * median(block_gaps_s)]
        return fmean(calm_s) / self.tokens_per_chunk

    @property
    def calm_s(self) -> float:
        """Seconds to the last chunk without stalls between chunks, 0 for no chunk.

        A reader that is late finds chunks waiting, which makes the time per token too short and the
        time of the first chunk too long by as much: the sum is not too short.
        """
        if not self.chunks_s:
            return 0.0
        if self.tpot_s is None:
            return self.chunks_s[-1]
        per_chunk_s = self.tpot_s * self.tokens_per_chunk
        return min(self.chunks_s[0] + per_chunk_s * (len(self.chunks_s) - 1), self.chunks_s[-1])

    @property
    def mean_tpot_s(self) -> float | None:
        """Mean seconds per token after the first, disturbances included."""
        if len(self.chunks_s) < 2:
            return None
        span_s = self.chunks_s[-1] - self.chunks_s[0]
        return span_s / (len(self.chunks_s) - 1) / self.tokens_per_chunk

    def to_entry(self) -> dict[str, object]:
        """Return the probe as a line of a ledger."""
        return {"kind": "probe", **asdict(self)}

    @classmethod
    def from_entry(cls, entry: Mapping[str, Any]) -> Probe:
        """Read what `to_entry` wrote; raise `InputError` for anything else."""
        try:
            values = {own.name: entry[own.name] for own in fields(cls)}
            values["usage"] = Usage(**values["usage"])
            values["chunks_s"] = tuple(float(seconds) for seconds in values["chunks_s"])

            times_s = [values[name] for name in ("ttft_s", "shown_s", "e2e_s")]
            if not all(t is None or math.isfinite(t) for t in [*times_s, *values["chunks_s"]]):
                raise ValueError("a time is not finite")
            return cls(**values)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"not a probe: {error}") from None
