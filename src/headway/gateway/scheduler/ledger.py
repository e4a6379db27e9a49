"""What is written down of every request, once it ends and once while it lasts long."""

from __future__ import annotations

import os
import secrets
import time
from collections import deque
from collections.abc import Callable

from headway.gateway.scheduler.queued import Outcome, QueuedRequest
from headway.gateway.scheduler.telemetry import Telemetry
from headway.record.entry import KEY_BYTES, OPEN, Entry, prompt_hash
from headway.record.store import Store
from headway.workload.record import REJECTED

MAX_RECENT = 500


class Ledger:
    """Makes entries; keeps the last ones for the live page and gives all to the store.

    Attributes:
        store: where entries go; ``None`` for nowhere.
        telemetry: what is counted of them.
        recent: the last entries that ended.
        keep_prompts: whether entries hold prompts, not only their hashes.
        anchor_s: turns the loop's clock into Unix time. One for all records: should the wall clock
            jump, times still run forwards.

    """

    def __init__(self, store: Store | None, unix_s: Callable[[], float] = time.time) -> None:
        """Write to ``store``, if there is one."""
        self.store = store
        self.telemetry = Telemetry()
        self.recent: deque[Entry] = deque(maxlen=MAX_RECENT)
        self.keep_prompts = False
        self.anchor_s = unix_s() - time.monotonic()
        self._unnoted: list[QueuedRequest] = []  # not in the record yet, not even as open
        self._boot = f"{os.getpid():x}{time.time_ns():x}"
        self._number = 0
        self._hash_key = secrets.token_bytes(KEY_BYTES) if store is None else store.hash_key

    def new_id(self) -> str:
        """Return a name that no request of any gateway had."""
        self._number += 1
        return f"hw-{self._boot}-{self._number:x}"

    def begin(self, queued: QueuedRequest) -> None:
        """``queued`` has arrived; it is written down as open if it lasts until `note_open`."""
        self._unnoted.append(queued)

    def note_open(self) -> None:
        """Write down what has begun and not ended since the last time."""
        unnoted, self._unnoted = self._unnoted, []
        for queued in unnoted if self.store is not None else ():
            if self.store is not None and queued.carrier is not None:
                self.store.add(self._entry(queued, queued.carrier.outcome(OPEN)))

    def end(self, queued: QueuedRequest, outcome: Outcome) -> Entry:
        """Write down how ``queued`` ended."""
        entry = self._entry(queued, outcome)
        self._write(entry, queued.service_class.name)
        return entry

    def turn_away(
        self, *, status: str, reason: str, code: int | None, api: str, tenant: str = ""
    ) -> None:
        """Write down a request that was never queued."""
        self._write(
            Entry(
                id=self.new_id(),
                status=status,
                reason=reason,
                arrival_s=time.monotonic() + self.anchor_s,
                tenant=tenant,
                api=api,
                code=code,
            )
        )

    def refuse(self, reason: str) -> None:
        """Count a request of somebody without a key: nothing else is kept of it."""
        self.telemetry.ends[REJECTED, reason] += 1

    def _entry(self, queued: QueuedRequest, outcome: Outcome) -> Entry:
        request = queued.request
        prompt = b""
        if not queued.prompt_hash or self.keep_prompts:  # one that lasts long has two rows
            prompt = request.prompt.encode("utf-8", "surrogatepass")
            queued.prompt_hash = prompt_hash(prompt, self._hash_key)

        def unix_s(loop_s: float | None) -> float | None:
            return None if loop_s is None else loop_s + self.anchor_s

        return Entry(
            id=request.id,
            status=outcome.status,
            reason=outcome.reason,
            arrival_s=request.arrival_s + self.anchor_s,
            sent_s=unix_s(queued.sent_s),
            first_s=unix_s(outcome.first_s),
            last_s=unix_s(outcome.last_s),
            prompt_tokens=outcome.prompt_tokens or request.prompt_tokens,
            output_tokens=outcome.output_tokens,
            cached_tokens=outcome.cached_tokens,
            max_tokens=request.max_tokens,
            p50_tokens=queued.p50_tokens,
            p90_tokens=queued.p90_tokens,
            slo_ttft_s=request.slo.ttft_s,
            slo_tpot_s=request.slo.tpot_s,
            slo_e2e_s=request.slo.e2e_s,
            tenant=request.tenant,
            model=request.model,
            api=queued.api,
            stream=int(queued.stream),
            pool=queued.pool,
            backend=queued.engine_url,
            attempts=queued.attempts,
            code=outcome.code,
            prompt_hash=queued.prompt_hash,
            prompt=prompt.decode("utf-8", "replace") if self.keep_prompts else None,
        )

    def _write(self, entry: Entry, class_name: str = "") -> None:
        self.telemetry.count(entry, class_name)
        self.recent.append(entry)
        if self.store is not None:
            self.store.add(entry)
