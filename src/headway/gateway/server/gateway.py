"""The gateway: our own server in front of engines, which asks the scheduler."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from time import monotonic

from headway.errors import InputError
from headway.gateway.config import GatewayConfig
from headway.gateway.discovery import Lookout, union
from headway.gateway.kubernetes import ClusterApi
from headway.gateway.leases import Leases
from headway.gateway.scheduler.queue import PoolQueue
from headway.gateway.scheduler.queued import QueuedRequest, Refusal
from headway.gateway.scheduler.scheduler import Scheduler
from headway.gateway.server.backend import Backends
from headway.gateway.server.exchange import ANSWERING, SENT, Exchange
from headway.gateway.server.reception import Reception
from headway.gateway.server.tracing import Tracing
from headway.gateway.server.views import Views
from headway.http.bounds import BOUNDS, WireBounds
from headway.http.descriptors import UNLIMITED, Descriptors
from headway.http.server import ServerConnection
from headway.predict.predictor import LengthPredictor
from headway.record.store import Store
from headway.schedule.route import PREFIX_WORK_LEFT, Placement

BACKLOG = 16_384
SWEEP_S = 0.25
DRAIN_CHECK_S = 0.02
QUEUE_TIMEOUT = Refusal(503, "no backend was free in time", "queue_timeout", retry_after_s=5.0)
NO_ENGINE = Refusal(503, "no backend is up", "backend_unavailable", retry_after_s=5.0)
_log = logging.getLogger("headway.gateway")


class Gateway:
    """One gateway process.

    Attributes:
        scheduler: decides.
        backends: the engines as servers.
        connections: clients' that are open.
        on_reload: reads the configuration anew and returns what is wrong with it, or nothing.
        on_failure: is called with what it cannot go on without.

    """

    def __init__(
        self,
        config: GatewayConfig,
        predictor: LengthPredictor | None = None,
        store: Store | None = None,
        *,
        placement: Placement = PREFIX_WORK_LEFT,
        unix_s: Callable[[], float] = time.time,
        descriptors: Descriptors = UNLIMITED,
        tracing: Tracing | None = None,
        bounds: WireBounds = BOUNDS,
        cluster: ClusterApi | None = None,
    ) -> None:
        """Make a gateway; it serves after `start`."""
        self.scheduler = Scheduler(config, predictor, store, placement=placement, unix_s=unix_s)
        self.backends = Backends(self.scheduler.fleet)
        self.on_reload: Callable[[], str] = lambda: "started without a file"
        self.on_failure: Callable[[str], None] = _log.error
        self._store = store
        self._tracing = tracing
        if tracing is not None:
            tracing.anchor_s = self.scheduler.ledger.anchor_s

        self.connections: set[ServerConnection] = set()
        self._reception = Reception(
            scheduler=self.scheduler,
            backends=self.backends,
            views=Views(self.scheduler, self.connections, lambda: self.on_reload()),
            descriptors=descriptors,
            tracing=tracing,
            connections=self.connections,
            bounds=bounds,
        )
        self._listener: asyncio.Server | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._leases: Leases | None = None
        self._static = config.endpoints
        self._lookout = Lookout(config.discover, self._rediscover, cluster)
        self._last_up_s: dict[str, float] = {}

    @property
    def config(self) -> GatewayConfig:
        """What holds now."""
        return self.scheduler.config

    @property
    def queues(self) -> dict[str, PoolQueue[QueuedRequest]]:
        """The queue of each pool."""
        return self.scheduler.dispatcher.queues

    # life

    async def start(self, address: tuple[str, int] | None = None) -> int:
        """Begin to listen, at ``address`` or where the configuration says; return the port."""
        loop = asyncio.get_running_loop()
        config = self.config
        host, number = address or (config.host, config.port)
        if config.tls is not None and address is None:
            raise InputError("TLS is spoken by Envoy: add --through envoy")
        for discovery in config.discover:
            await self._lookout.look(discovery)
        self._adopt(config)
        try:
            self._listener = await loop.create_server(
                lambda: ServerConnection(self._reception, loop),
                host,
                number,
                backlog=BACKLOG,
            )
        except OSError as error:
            if self._store is not None:
                self._store.close()
            why = error.strerror or error
            raise InputError(f"cannot listen on {host}:{number}: {why}") from None

        looks = self.backends.look_after(self.scheduler.dispatcher.wake)
        self._tasks = [loop.create_task(self._sweep_for_ever()), loop.create_task(looks)]
        if config.discover:
            self._tasks.append(loop.create_task(self._lookout.look_for_ever()))
        if config.shares_limits and isinstance(config.record, str):
            budgets = self.scheduler.admission.budgets
            self._leases = Leases(config.record, lambda: budgets.allowances)
            await self._leases.round()
            self._tasks.append(loop.create_task(self._leases.keep_for_ever()))
        port: int = self._listener.sockets[0].getsockname()[1]
        return port

    async def stop(self, drain_s: float | None = None) -> None:
        """Take no more requests, let running ones end for ``drain_s``, end the rest, and close."""
        self.scheduler.draining = True
        if self._listener is not None:
            self._listener.close()

        # Let running requests end.
        dispatcher = self.scheduler.dispatcher
        until_s = monotonic() + (self.config.timeouts.drain_s if drain_s is None else drain_s)
        while dispatcher.everything and monotonic() < until_s:
            await asyncio.sleep(DRAIN_CHECK_S)
        for queued in dispatcher.everything:
            if queued.carrier is not None:
                queued.carrier.shut()

        # Close what is open, once its last bytes are out.
        await asyncio.sleep(0)
        for connection in list(self.connections):
            connection.transport.close()
        until_s = max(until_s, monotonic() + 1.0) if drain_s is None else monotonic()
        while self.connections and monotonic() < until_s:
            await asyncio.sleep(DRAIN_CHECK_S)
        for connection in list(self.connections):
            connection.transport.abort()

        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._leases is not None:
            await self._leases.close()
        self.backends.close()
        for part in (self._store, self._tracing):
            if part is not None:
                await asyncio.to_thread(part.close)

    def reload(self, config: GatewayConfig) -> None:
        """Go by ``config`` from now on; what waits and runs goes on.

        Raises:
            InputError: it changes what only a restart can change.

        """
        if (config.host, config.port) != (self.config.host, self.config.port):
            raise InputError("a reload cannot change the address; restart to listen elsewhere")
        if config.record != self.config.record:
            raise InputError("a reload cannot change where records go; restart")
        if config.discover != self.config.discover:
            raise InputError("a reload cannot change where engines are discovered; restart")
        if config.traces != self.config.traces:
            raise InputError("a reload cannot change where traces go; restart")
        self._adopt(config)
        self.scheduler.dispatcher.wake()

    def _adopt(self, config: GatewayConfig) -> None:
        """Go by ``config`` and the engines that were discovered beside its own."""
        self._static = config.endpoints
        endpoints = union(config.endpoints, self._lookout.endpoints)
        config = replace(config, endpoints=endpoints)
        self.scheduler.adopt(config)
        self.backends.adopt(config)

    def _rediscover(self) -> None:
        """Engines have come or gone."""
        if self._listener is not None:
            self._adopt(replace(self.config, endpoints=self._static))
            self.scheduler.dispatcher.wake()

    # what is looked after beside the requests: whatever lasts too long is ended

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                self.sweep(monotonic())
            except Exception:  # whatever is wrong with one request, the others are looked after
                _log.exception("the sweep failed")

    def sweep(self, now_s: float) -> None:
        """End what has lasted longer than the timeouts by now."""
        scheduler = self.scheduler
        scheduler.ledger.note_open()
        for exchange in _exchanges(list(scheduler.dispatcher.running)):
            try:
                exchange.look_again(now_s)
                self._sweep_running(exchange, now_s)
            except Exception:
                _log.exception("cannot look after request %s", exchange.queued.request.id)
                exchange.give_up()
        for pool, queue in self.queues.items():
            self._sweep_queue(pool, queue, now_s)

        request_s = self.config.timeouts.request_s
        for connection in list(self.connections):
            connection.look_after(now_s, request_s)
        scheduler.dispatcher.wake()  # a breaker may have closed since

    def _sweep_running(self, exchange: Exchange, now_s: float) -> None:
        limits = self.config.timeouts
        idle_s = now_s - exchange.active_s
        if exchange.phase == SENT and idle_s > limits.first_byte_s:
            exchange.time_out("the backend did not begin to answer in time", "first_byte")
        elif exchange.phase == ANSWERING and idle_s > limits.gap_s:
            exchange.time_out("the backend stopped in the middle of its answer", "gap")

    def _sweep_queue(self, pool: str, queue: PoolQueue[QueuedRequest], now_s: float) -> None:
        limits = self.config.timeouts
        _refuse(queue.older_than(now_s - limits.queue_s), QUEUE_TIMEOUT)

        # Classes may be more impatient.
        if any(each.ttl_s is not None for each in self.config.classes):
            for exchange in _exchanges([q for q in queue if q.has_outlived(now_s)]):
                exchange.time_out("its class waits no longer", "queue_timeout")

        # While no engine of the pool is up, patience is shorter.
        if self.scheduler.fleet.is_up(pool, now_s):
            self._last_up_s[pool] = now_s
            return
        self.scheduler.dispatcher.send_home(pool, now_s)
        if now_s - self._last_up_s.setdefault(pool, now_s) > limits.away_s:
            _refuse(queue.older_than(now_s - limits.away_s), NO_ENGINE)


def _refuse(requests: Iterable[QueuedRequest], refusal: Refusal) -> None:
    """End requests that wait, whoever carries them."""
    for queued in requests:
        if queued.carrier is not None:
            queued.carrier.refuse(refusal)


def _exchanges(requests: Iterable[QueuedRequest]) -> Iterator[Exchange]:
    """Yield what carries ``requests``, but for those that have ended in the meantime."""
    for queued in requests:
        if isinstance(queued.carrier, Exchange):
            yield queued.carrier
