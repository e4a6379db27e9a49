"""What is looked after beside the requests: whatever lasts too long is ended."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING

from headway.gateway.exchange import ANSWERING, SENT, Exchange
from headway.gateway.waiting import Waiting

if TYPE_CHECKING:  # the gateway imports this module
    from headway.gateway.app import Gateway

SWEEP_S = 0.25


class Watch:
    """Ends what lasts longer than the configuration's timeouts."""

    def __init__(self, gateway: Gateway) -> None:
        """Watch over ``gateway``."""
        self._gateway = gateway
        self._last_up_s: dict[str, float] = {}

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            await asyncio.sleep(SWEEP_S)
            self.sweep(monotonic())

    def sweep(self, now_s: float) -> None:
        """End what has lasted too long by now."""
        gateway = self._gateway
        gateway.ledger.note_open()
        self._running(now_s)
        for pool, queue in gateway.waiting.items():
            self._waiting(pool, queue, now_s)
        request_s = gateway.config.timeouts.request_s
        for connection in list(gateway.reception.connections):
            began_s = connection.began_s
            if began_s is not None and now_s - began_s > request_s:
                connection.request_timed_out()
        gateway.dispatcher.wake()  # a breaker may have closed since

    def _running(self, now_s: float) -> None:
        limits = self._gateway.config.timeouts
        for exchange in list(self._gateway.dispatcher.running):
            idle_s = now_s - exchange.active_s
            if exchange.phase == SENT and idle_s > limits.first_byte_s:
                exchange.time_out("the backend did not begin to answer in time", "first_byte")
            elif exchange.phase == ANSWERING and idle_s > limits.gap_s:
                exchange.time_out("the backend stopped in the middle of its answer", "gap")

    def _waiting(self, pool: str, queue: Waiting[Exchange], now_s: float) -> None:
        limits = self._gateway.config.timeouts
        for exchange in _older(queue, now_s - limits.queue_s):
            exchange.time_out("no backend was free in time", "queue_timeout")
        if self._gateway.fleet.up(pool, now_s):
            self._last_up_s[pool] = now_s
            return
        self._gateway.dispatcher.send_home(pool, now_s)
        if now_s - self._last_up_s.setdefault(pool, now_s) > limits.away_s:
            for exchange in _older(queue, now_s - limits.away_s):
                exchange.time_out("no backend is up", "backend_unavailable")


def _older(queue: Waiting[Exchange], than_s: float) -> Sequence[Exchange]:
    found = []
    for exchange in queue:
        if exchange.arrival_s > than_s:
            break
        found.append(exchange)
    return found
