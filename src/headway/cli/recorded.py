"""What a gateway recorded, as a trace to replay and as a log to learn from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from headway.errors import InputError
from headway.gateway.entry import Entry
from headway.gateway.postgres import shown
from headway.gateway.store import is_postgres, read_entries
from headway.predict.observation import Observation
from headway.workload.oracle import Trace


def is_record(text: str | Path) -> bool:
    """Whether ``text`` names a gateway's record: an SQLite file, or a PostgreSQL database."""
    return is_postgres(text) or Path(text).suffix == ".db"


def record_name(where: str | Path) -> str:
    """The record at ``where`` as it may be shown."""
    return shown(str(where)) if is_postgres(where) else Path(where).name


def recorded_trace(where: str | Path) -> Trace:
    """The answered requests of the record there; prompts are there only if they were kept."""
    entries = _answered(where)
    texts = [entry.prompt for entry in entries]
    start = entries[0].arrival_s
    names = sorted({entry.tenant for entry in entries})
    return Trace(
        np.array([entry.arrival_s - start for entry in entries]),
        np.array([max(1, entry.prompt_tokens) for entry in entries]),
        np.array([entry.output_tokens for entry in entries]),
        record_name(where).removesuffix(".db"),
        tenants=np.array([names.index(entry.tenant) for entry in entries]),
        prompts=tuple(text or "" for text in texts) if all(texts) else None,
        tenant_names=tuple(names),
    )


def recorded_observations(where: str | Path) -> list[Observation]:
    """The answered requests of the record there whose prompts were kept."""
    found = [
        Observation(
            entry.prompt, entry.output_tokens, entry.model, entry.tenant, "", entry.max_tokens
        )
        for entry in _answered(where)
        if entry.prompt
    ]
    if not found:
        raise InputError(
            f"{record_name(where)} holds no prompts to learn from: let the gateway keep them with "
            "keep_prompts = true"
        )
    return found


def _answered(where: str | Path) -> list[Entry]:
    entries = [e for e in read_entries(where) if e.status == "done" and e.output_tokens > 0]
    if not entries:
        raise InputError(f"{record_name(where)} holds no answered request")
    return entries
