"""What is written down of every request, once it ends and once while it lasts long."""

from __future__ import annotations

import hashlib
import os
import time
from collections import deque
from collections.abc import Callable

from headway.gateway.exchange import ENDED, Exchange
from headway.gateway.telemetry import Telemetry
from headway.http.message import HttpRequest
from headway.http.openai import PATHS
from headway.record.entry import OPEN, Entry
from headway.record.store import Store

RECENT_ENTRIES = 500


class Ledger:
    """Makes entries; keeps the last ones for the live page and hands all to the store.

    Attributes:
        recent: the last entries that ended.
        keep_prompts: whether they hold prompts, not only their hashes.
    """

    def __init__(self, store: Store | None, unix_s: Callable[[], float] = time.time) -> None:
        """Write to ``store``, if there is one."""
        self.store = store
        self.telemetry = Telemetry()
        self.recent: deque[Entry] = deque(maxlen=RECENT_ENTRIES)
        self.keep_prompts = False
        self._unnoted: list[Exchange] = []  # not in the record yet, not even as open
        self._boot = f"{os.getpid():x}{time.time_ns():x}"
        self._number = 0
        # One anchor for all records: should the wall clock jump, times still run forwards.
        self.anchor_s = unix_s() - time.monotonic()

    def new_id(self) -> str:
        """A name that no request of any gateway had."""
        self._number += 1
        return f"hw-{self._boot}-{self._number:x}"

    def began(self, exchange: Exchange) -> None:
        """``exchange`` has arrived; it is written down as open if it lasts until `note_open`."""
        self._unnoted.append(exchange)

    def note_open(self) -> None:
        """Write down what has begun and not ended since the last time."""
        unnoted, self._unnoted = self._unnoted, []
        for exchange in unnoted if self.store is not None else ():
            if self.store is not None and exchange.phase != ENDED:
                self.store.put(self._entry(exchange, OPEN, "", None))

    def ended(self, exchange: Exchange, status: str, reason: str, code: int | None) -> Entry:
        """Write down how ``exchange`` ended."""
        entry = self._entry(exchange, status, reason, code)
        self._write(entry)
        return entry

    def turned_away(
        self, incoming: HttpRequest, status: str, reason: str, code: int | None, tenant: str = ""
    ) -> None:
        """Write down a request that never became an exchange."""
        self._write(
            Entry(
                id=self.new_id(),
                status=status,
                reason=reason,
                arrival_s=time.monotonic() + self.anchor_s,
                tenant=tenant,
                api=PATHS.get(incoming.path, ""),
                code=code,
            )
        )

    def _entry(self, exchange: Exchange, status: str, reason: str, code: int | None) -> Entry:
        request, meter, asked = exchange.request, exchange.meter, exchange.asked
        prompt = request.prompt.encode("utf-8", "surrogatepass")

        def unix_s(loop_s: float | None) -> float | None:
            return None if loop_s is None else loop_s + self.anchor_s

        return Entry(
            id=request.id,
            status=status,
            reason=reason,
            arrival_s=request.arrival_s + self.anchor_s,
            sent_s=unix_s(exchange.sent_s),
            first_s=unix_s(meter.first_s),
            last_s=unix_s(meter.last_s if meter.first_s is not None else None),
            prompt_tokens=meter.usage.prompt_tokens or request.prompt_tokens,
            output_tokens=meter.output_tokens,
            cached_tokens=meter.usage.cached_tokens,
            max_tokens=request.max_tokens,
            p50_tokens=exchange.p50_tokens,
            p90_tokens=exchange.p90_tokens,
            slo_ttft_s=request.slo.ttft_s,
            slo_tpot_s=request.slo.tpot_s,
            slo_e2e_s=request.slo.e2e_s,
            tenant=request.tenant,
            model=request.model,
            api=asked.api,
            stream=int(asked.stream),
            pool=exchange.pool,
            backend=exchange.place,
            attempts=exchange.attempts,
            code=code,
            prompt_hash=hashlib.sha256(prompt).hexdigest()[:32],
            prompt=prompt.decode("utf-8", "replace") if self.keep_prompts else None,
        )

    def _write(self, entry: Entry) -> None:
        self.telemetry.see(entry)
        self.recent.append(entry)
        if self.store is not None:
            self.store.put(entry)
