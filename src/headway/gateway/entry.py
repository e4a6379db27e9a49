"""One row of the record: what was asked, what was predicted, what happened."""

from __future__ import annotations

from dataclasses import dataclass, fields

from headway.errors import HeadwayError, InputError
from headway.workload.record import DONE, FAILED, REJECTED, RequestRecord

OPEN = "open"
Row = tuple[object, ...]  # an entry's fields, in the order of `COLUMNS`


class RecordError(HeadwayError):
    """The database did not take what it was given; it may later."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A request as the database holds it; times are seconds of one clock, anchored at the start.

    Attributes:
        id: unique for ever.
        status: open, done, rejected (never started) or failed.
        reason: why it was not done; empty if it was.
        arrival_s: Unix time at which its last byte came in.
        sent_s: when it was sent to an engine.
        first_s: when the first token was seen.
        last_s: when the last token was seen.
        prompt_tokens: the engine's count, else an estimate.
        output_tokens: the engine's count, else events seen.
        cached_tokens: of the prompt; ``None`` where the engine does not say.
        max_tokens: the client's limit.
        p50_tokens, p90_tokens: what was predicted.
        slo_ttft_s, slo_tpot_s, slo_e2e_s: objectives.
        prompt_hash: SHA-256 of the prompt, 32 digits of it.
        prompt: only where the configuration says to keep it.
        code: the HTTP status the client was sent; ``None`` if it had gone.
    """

    id: str
    status: str
    reason: str
    arrival_s: float
    sent_s: float | None
    first_s: float | None
    last_s: float | None
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int | None
    max_tokens: int | None
    p50_tokens: float | None
    p90_tokens: float | None
    slo_ttft_s: float | None
    slo_tpot_s: float | None
    slo_e2e_s: float | None
    tenant: str
    model: str
    api: str
    stream: int
    pool: str
    backend: str
    attempts: int
    code: int | None
    prompt_hash: str
    prompt: str | None

    @property
    def record(self) -> RequestRecord:
        """What every part of Headway reads; the first and the last token stand for all.

        Raises:
            InputError: the request has not ended.
        """
        if self.status == OPEN:
            raise InputError(f"request {self.id} has not ended yet")
        times = tuple(t for t in (self.first_s, self.last_s) if t is not None)
        if self.output_tokens < 2:
            times = times[:1]
        status = {DONE: DONE, REJECTED: REJECTED}.get(self.status, FAILED)
        return RequestRecord(
            self.id, self.arrival_s, times, self.prompt_tokens, self.output_tokens,
            self.cached_tokens, status,
        )  # fmt: skip


COLUMNS = tuple(field.name for field in fields(Entry))
