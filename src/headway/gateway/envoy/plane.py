"""The data plane that Envoy is: its calls, its access log, and what the scheduler needs of both."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from time import monotonic
from typing import Protocol

from headway.gateway.envoy import messages
from headway.gateway.envoy.answer_shape import AnswerShape, Looks
from headway.gateway.envoy.http2 import RpcConnection, Service, Stream
from headway.gateway.scheduler.engine import EngineState
from headway.gateway.scheduler.scheduler import Scheduler

_log = logging.getLogger("headway.gateway")

MORE_BYTES = 65_536  # of a message, beyond the request's body
MAX_STREAMS = 2**31 - 1  # the scheduler's own limit on waiting requests holds
LOG_PATIENCE_S = 10.0  # for the line of a request that has ended
SPARES = 2  # engines that Envoy may go on to by itself

Subset = frozenset[str] | None


class OpenRequest(Protocol):
    """A request that has not ended.

    Attributes:
        closed_s: when Envoy ended its call; 0 before.

    """

    closed_s: float

    def logged(self, passage: messages.Passage) -> None:
        """The access log tells what came of it."""
        ...

    def lose(self) -> None:
        """Its line in the access log never came."""
        ...

    def shut(self) -> None:
        """The gateway stops."""
        ...


class EnvoyPlane:
    """What Envoy carries for one scheduler.

    Attributes:
        scheduler: decides.
        open: requests that have not ended, by the scheduler's name for them.
        looks: which answers are looked into.
        names_engine_in_header: whether the engine is named in a header, too, as the endpoint picker
            protocol wants it; on one's own Envoy metadata suffices.
        num_logs: access logs that are open.

    """

    def __init__(
        self, scheduler: Scheduler, *, logs: bool = True, names_engine_in_header: bool = False
    ) -> None:
        """Decide by ``scheduler``; ``logs``: an access log is to come with the first request."""
        self.scheduler = scheduler
        self._logs = logs
        self.names_engine_in_header = names_engine_in_header
        self.open: dict[str, OpenRequest] = {}
        self.looks = Looks()
        self.num_logs = 0
        self.connections: set[RpcConnection] = set()

        self._shapes: dict[tuple[str, str, bool], AnswerShape] = {}
        self._addresses: dict[str, str] = {}
        self._urls: dict[str, str] = {}
        self._services: dict[bytes, Service] = {
            messages.ACCESS_LOGS: lambda stream: _AccessLog(self, stream)
        }

    def serve(self, services: Mapping[bytes, Service]) -> None:
        """Serve ``services``, by path, beside the access log."""
        self._services.update(services)

    def connection(self) -> RpcConnection:
        """Return the protocol of one more connection."""
        return RpcConnection(
            self._services,
            self.connections,
            max_streams=MAX_STREAMS,
            max_message_bytes=self.max_body_bytes + MORE_BYTES,
        )

    def adopt(self, addresses: Mapping[str, str]) -> None:
        """Go by these engines: ``ip:port`` by URL."""
        self._addresses = dict(addresses)
        self._urls = {address: url for url, address in addresses.items()}
        self._shapes = {key: shape for key, shape in self._shapes.items() if key[0] in addresses}

    # limits

    @property
    def max_body_bytes(self) -> int:
        """Bytes of a request's body."""
        return self.scheduler.config.limits.body_bytes

    @property
    def max_answer_bytes(self) -> int:
        """Bytes of a whole answer that is looked into."""
        return self.scheduler.config.limits.answer_bytes

    @property
    def has_keys(self) -> bool:
        """Whether clients' keys are the gateway's, and not the engines'."""
        config = self.scheduler.config
        return bool(config.tenants) or any(endpoint.api_key for endpoint in config.endpoints)

    @property
    def has_log(self) -> bool:
        """Whether an access log tells how requests end."""
        return self._logs or self.num_logs > 0

    # engines and their addresses

    def engine_at(self, address: str) -> EngineState | None:
        """Return the engine at ``ip:port``; ``None`` if there is none."""
        return self.scheduler.fleet.engines.get(self._urls.get(address, ""))

    def is_any_ready(self, subset: Subset) -> bool:
        """Return whether an engine that may be chosen is up; without a subset all may wait."""
        return subset is None or bool(self._usable(subset))

    def any_engine(self, subset: Subset) -> EngineState | None:
        """Return the engine with the least to do; ``None`` if none is up."""
        usable = self._usable(subset)
        return min(usable, key=lambda engine: engine.num_in_flight) if usable else None

    def allowed(self, engine: EngineState, subset: Subset) -> EngineState:
        """Return ``engine`` if it may be chosen, else the one of those that may with most room."""
        if subset is None or self._addresses.get(engine.url) in subset:
            return engine
        return self.any_engine(subset) or engine

    def addresses_for(self, engine: EngineState, model: str, subset: Subset) -> str:
        """Return the address of ``engine``, and of those with ``model`` that are tried after it."""
        endpoint = engine.endpoint
        spares = [
            other.url
            for other in self._usable(subset)
            if other is not engine
            and other.may_serve(model)
            and other.endpoint.pool == endpoint.pool
            and other.endpoint.prefix == endpoint.prefix
            and other.endpoint.api_key == endpoint.api_key
        ]
        return ",".join(self._addresses[url] for url in (engine.url, *spares[:SPARES]))

    def _usable(self, subset: Subset) -> list[EngineState]:
        now_s = monotonic()
        return [
            engine
            for url, engine in self.scheduler.fleet.engines.items()
            if url in self._addresses
            and (subset is None or self._addresses[url] in subset)
            and engine.is_up(now_s)
        ]

    def shape(self, url: str, api: str, *, stream: bool) -> AnswerShape:
        """Return what is known of the bytes of an engine's answers."""
        key = (url, api, stream)
        if key not in self._shapes:
            self._shapes[key] = AnswerShape.expected(stream=stream)
        return self._shapes[key]

    # life

    def sweep(self, now_s: float) -> None:
        """End what the access log has not told of in time."""
        late_s = now_s - LOG_PATIENCE_S
        for request in [r for r in self.open.values() if r.closed_s and r.closed_s < late_s]:
            request.lose()

    def stop(self) -> None:
        """End what waits; what runs goes on in Envoy."""
        for request in list(self.open.values()):
            request.shut()

    async def close(self) -> None:
        """Close all connections."""
        for connection in list(self.connections):
            connection.shut()
        await asyncio.sleep(0)


class _AccessLog:
    """The access log of one of Envoy's threads."""

    def __init__(self, plane: EnvoyPlane, stream: Stream) -> None:
        self._plane = plane
        plane.num_logs += 1

    def message(self, data: bytes) -> None:
        for passage in messages.read_log(data):
            request = self._plane.open.get(passage.id)
            if request is None:
                continue
            try:
                request.logged(passage)
            except Exception:  # one request's line must not cost the others theirs
                _log.exception("the end of request %s was not understood", passage.id)

    def closed(self) -> None:
        self._plane.num_logs -= 1
