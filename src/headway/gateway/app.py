"""The gateway: requests come in, wait in order, go to engines and are written down."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from headway.errors import InputError
from headway.gateway.backend import Backend
from headway.gateway.config import GatewayConfig
from headway.gateway.dispatch import Dispatcher
from headway.gateway.exchange import Exchange
from headway.gateway.fleet import Fleet
from headway.gateway.foresight import Unpredicted
from headway.gateway.keys import Doorkeeper
from headway.gateway.ledger import Ledger
from headway.gateway.reception import Reception
from headway.gateway.tracing import Tracing
from headway.gateway.waiting import Waiting
from headway.gateway.watch import Watch
from headway.http.descriptors import UNLIMITED, Descriptors
from headway.http.server import ServerConnection
from headway.predict.prediction import MOST_TOKENS
from headway.predict.predictor import LengthPredictor
from headway.record.entry import Entry
from headway.record.store import Store
from headway.schedule.route import LEAST_LOADED, Placement
from headway.workload.record import DONE

BACKLOG = 16_384
LEARN_S = 0.002  # lets a client's next request go before


class Gateway:
    """One gateway process.

    Attributes:
        config: what holds now; `reload` replaces it.
        reception: takes requests off connections.
        dispatcher: keeps those that wait in order, and starts them.
        fleet: the engines.
        ledger: writes down what happened.
        doorkeeper: knows the tenants' keys.
    """

    def __init__(
        self,
        config: GatewayConfig,
        predictor: LengthPredictor | None = None,
        store: Store | None = None,
        placement: Placement = LEAST_LOADED,
        unix_s: Callable[[], float] = time.time,
        descriptors: Descriptors = UNLIMITED,
        tracing: Tracing | None = None,
    ) -> None:
        """Make a gateway; it serves after `start`."""
        self.config = config
        self.predictor: LengthPredictor = predictor if predictor is not None else Unpredicted()
        self.store = store
        self.ledger = Ledger(store, unix_s)
        self.fleet = Fleet(placement)
        self.dispatcher = Dispatcher(self.fleet, self.predictor, self.ledger.anchor_s)
        self.reception = Reception(self)
        self.doorkeeper = Doorkeeper(config)
        self.descriptors = descriptors
        self.tracing = tracing
        self.draining = False
        self.on_reload: Callable[[], str] | None = None  # returns what is wrong, or nothing
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self._loop: asyncio.AbstractEventLoop

    # life

    async def start(self) -> int:
        """Begin to listen; returns the port."""
        self._loop = asyncio.get_running_loop()
        self._adopt(self.config)
        try:
            self._listener = await self._loop.create_server(
                lambda: ServerConnection(self.reception, self._loop),
                self.config.host, self.config.port, backlog=BACKLOG,
            )  # fmt: skip
        except OSError as error:
            where = f"{self.config.host}:{self.config.port}"
            raise InputError(f"cannot listen on {where}: {error.strerror or error}") from None
        self._keep(self._loop.create_task(Watch(self).run()))
        looking = self.fleet.look_after(time.monotonic, self.dispatcher.wake)
        self._keep(self._loop.create_task(looking))
        port: int = self._listener.sockets[0].getsockname()[1]
        return port

    async def stop(self, drain_s: float | None = None) -> None:
        """Take no more requests, let running ones end for ``drain_s``, end the rest, and close."""
        self.draining = True
        if self._listener is not None:
            self._listener.close()
        until_s = time.monotonic()
        until_s += self.config.timeouts.drain_s if drain_s is None else drain_s
        while self.dispatcher.everything and time.monotonic() < until_s:
            await asyncio.sleep(0.02)
        for exchange in self.dispatcher.everything:
            exchange.shut()
        await asyncio.sleep(0)  # lets the last bytes out
        for connection in list(self.reception.connections):
            connection.transport.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for backend in self.backends.values():
            backend.connections.close()
        for beside in (self.store, self.tracing):
            if beside is not None:
                await asyncio.to_thread(beside.close)

    def reload(self, config: GatewayConfig) -> None:
        """Go by ``config`` from now on; what waits and runs goes on.

        Raises:
            InputError: it changes what only a restart can change.
        """
        if (config.host, config.port) != (self.config.host, self.config.port):
            raise InputError("a reload cannot change the address; restart to listen elsewhere")
        for what, changes in (
            ("records", config.record != self.config.record),
            ("traces", config.traces != self.config.traces),
        ):
            if changes:
                raise InputError(f"a reload cannot change where {what} go; restart")
        self._adopt(config)
        self.dispatcher.wake()

    def _adopt(self, config: GatewayConfig) -> None:
        old = self.doorkeeper
        self.config = config
        self.doorkeeper = Doorkeeper(config)
        self.doorkeeper.take_over(old)
        self.ledger.keep_prompts = config.keep_prompts
        self.fleet.adopt(config, self._loop)
        self.dispatcher.adopt(config, self._loop)

    @property
    def backends(self) -> dict[str, Backend]:
        """The engines, by address."""
        return self.fleet.backends

    @property
    def waiting(self) -> dict[str, Waiting[Exchange]]:
        """The queue of each pool."""
        return self.dispatcher.waiting

    # what exchanges call

    def another(self, exchange: Exchange) -> Backend | None:
        """A backend for one more attempt."""
        return self.dispatcher.another(exchange)

    def spawn(self, exchange: Exchange) -> asyncio.Task[None]:
        """Open a connection for ``exchange``."""
        return self._keep(self._loop.create_task(exchange.connect()))

    def released(self) -> None:
        """A backend has room again."""
        self.dispatcher.released()

    def predict_late(self) -> None:
        """Predict whoever was started without a prediction."""
        self.dispatcher.predict_late()

    def ended(self, exchange: Exchange, status: str, reason: str, code: int | None) -> None:
        """Write down how ``exchange`` ended, and learn from it."""
        self.dispatcher.gone(exchange)
        self.doorkeeper.ended(exchange.tenant)
        entry = self.ledger.ended(exchange, status, reason, code)
        if exchange.trace is not None:
            exchange.trace.end(exchange, entry, time.monotonic() + self.ledger.anchor_s)
        if exchange.charged_s and self.config.sharing.by_tenant:
            self.dispatcher.settle(exchange, entry.prompt_tokens, entry.output_tokens)
        if status == DONE:
            self._learn(exchange, entry)

    def _learn(self, exchange: Exchange, entry: Entry) -> None:
        meter, request = exchange.meter, exchange.request
        if meter.usage.prompt_tokens and len(request.prompt) >= 40 and not exchange.asked.images:
            seen = len(request.prompt) / meter.usage.prompt_tokens
            usual = self.reception.characters_per_token
            self.reception.characters_per_token += 0.02 * (min(max(seen, 0.5), 16.0) - usual)
        if 0 < entry.output_tokens <= MOST_TOKENS:
            self._loop.call_later(LEARN_S, self.predictor.observe, request, entry.output_tokens)
        backend = self.backends.get(exchange.place)
        if backend is None or not entry.stream or meter.first_s is None or exchange.sent_s is None:
            return
        gap_s = None
        if entry.output_tokens > 1:
            gap_s = (meter.last_s - meter.first_s) / (entry.output_tokens - 1)
        first_s = meter.first_s - exchange.sent_s
        backend.speed.answered(backend.inflight + 1, entry.prompt_tokens, first_s, gap_s)

    def _keep(self, task: asyncio.Task[None]) -> asyncio.Task[None]:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
