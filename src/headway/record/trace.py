"""A gateway's record as a trace to replay."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from headway.errors import InputError
from headway.record.entry import Entry
from headway.record.store import read_entries, record_name
from headway.workload.oracle import Trace
from headway.workload.record import DONE


def answered_entries(where: str | Path) -> list[Entry]:
    """Return the entries of the record that were answered, in the order of arrival.

    Raises:
        InputError: it is no record, or holds no answered request.

    """
    entries = [e for e in read_entries(where) if e.status == DONE and e.output_tokens > 0]
    if not entries:
        raise InputError(f"{record_name(where)} holds no answered request")
    return entries


def recorded_trace(where: str | Path) -> Trace:
    """Return the answered requests of the record; prompts are there only if they were kept."""
    entries = answered_entries(where)
    start_s = entries[0].arrival_s
    tenants = sorted({entry.tenant for entry in entries})
    texts = [entry.prompt for entry in entries]

    return Trace(
        arrival_s=np.array([entry.arrival_s - start_s for entry in entries]),
        prompt_tokens=np.array([max(1, entry.prompt_tokens) for entry in entries]),
        output_tokens=np.array([entry.output_tokens for entry in entries]),
        name=record_name(where).removesuffix(".db"),
        tenants=np.array([tenants.index(entry.tenant) for entry in entries]),
        prompts=tuple(text or "" for text in texts) if all(texts) else None,
        tenant_names=tuple(tenants),
    )
