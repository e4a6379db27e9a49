"""One row of a gateway's record: what was asked, what was predicted, what happened."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import get_type_hints

from headway.errors import HeadwayError, InputError
from headway.workload.record import DONE, FAILED, REJECTED, RequestRecord

OPEN = "open"
KEY_BYTES = 32  # of the secret of a record's hashes
Row = tuple[object, ...]  # an entry's fields, in the order of `COLUMNS`


class RecordError(HeadwayError):
    """The database did not take what it was given; it may later."""


@dataclass(frozen=True, slots=True, kw_only=True)
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
        stream: 1 for an answer that came as a stream, else 0.
        prompt_hash: of the prompt, by the record's own secret: short ones cannot be guessed.
        prompt: only where the configuration says to keep it.
        code: the HTTP status that the client was sent; ``None`` if it had gone.

    """

    id: str
    status: str
    reason: str = ""
    arrival_s: float
    sent_s: float | None = None
    first_s: float | None = None
    last_s: float | None = None
    prompt_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int | None = None
    max_tokens: int | None = None
    p50_tokens: float | None = None
    p90_tokens: float | None = None
    slo_ttft_s: float | None = None
    slo_tpot_s: float | None = None
    slo_e2e_s: float | None = None
    tenant: str = ""
    model: str = ""
    api: str = ""
    stream: int = 0
    pool: str = ""
    backend: str = ""
    attempts: int = 0
    code: int | None = None
    prompt_hash: str = ""
    prompt: str | None = None

    @classmethod
    def from_row(cls, row: Row) -> Entry:
        """Return the entry whose fields, in the order of `COLUMNS`, are ``row``."""
        return cls(**dict(zip(COLUMNS, row, strict=True)))  # type: ignore[arg-type] # as written

    @property
    def record(self) -> RequestRecord:
        """The form that every part of Headway reads; the first and the last token stand for all.

        Raises:
            InputError: the request has not ended.

        """
        if self.status == OPEN:
            raise InputError(f"request {self.id} has not ended yet")

        token_s = tuple(t for t in (self.first_s, self.last_s) if t is not None)
        # An answer that came whole and held no token has no times to speak of.
        status = self.status if self.status in (DONE, REJECTED) else FAILED
        if status == DONE and not token_s:
            status = FAILED
        return RequestRecord(
            id=self.id,
            arrival_s=self.arrival_s,
            token_s=token_s[:1] if self.output_tokens < 2 else token_s,
            prompt_tokens=self.prompt_tokens,
            output_tokens=self.output_tokens,
            cached_tokens=self.cached_tokens,
            status=status,
        )


def prompt_hash(prompt: bytes, key: bytes) -> str:
    """Return 32 digits that are the same for the same prompt and ``key``, and tell nothing else."""
    return hashlib.blake2b(prompt, key=key, digest_size=16).hexdigest()


COLUMNS = tuple(field.name for field in fields(Entry))


def column_types(real: str, whole: str, text: str) -> dict[str, str]:
    """Return a database's type of each column, from what it calls the three kinds of values."""
    names = {float: real, int: whole, str: text}
    hints = get_type_hints(Entry)
    kinds = {name: next(k for k in names if k in _members(hints[name])) for name in COLUMNS}
    return {name: names[kind] for name, kind in kinds.items()}


def _members(hint: object) -> tuple[object, ...]:
    return getattr(hint, "__args__", ()) or (hint,)
