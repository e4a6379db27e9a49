"""What clients meet first: keys, limits, and refusals before anything waits for an engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic

from headway.errors import InputError
from headway.gateway.config import Tenant
from headway.gateway.intake import read_queued
from headway.gateway.scheduler.admission import NO_KEY, STRANGER, TAKES_POST
from headway.gateway.scheduler.queued import Refusal
from headway.gateway.scheduler.scheduler import Scheduler
from headway.gateway.server.backend import Backends
from headway.gateway.server.exchange import Exchange, ReceivedRequest, refusal_parts
from headway.gateway.server.headers import NOT_FORWARDED, bearer, forwarded_lines
from headway.gateway.server.origin import is_stranger, origin_lines
from headway.gateway.server.passing import API, is_passed, queued_of
from headway.gateway.server.tracing import CONTEXT_HEADERS, Tracing
from headway.gateway.server.views import Views
from headway.http.bounds import BOUNDS, WireBounds
from headway.http.descriptors import Descriptors
from headway.http.message import JSON_HEADERS, HttpRequest
from headway.http.openai import PATHS, error_body
from headway.http.server import Application, ServerConnection
from headway.workload.record import FAILED, REJECTED

INVALID = "invalid_request_error"
TOO_MANY_CONNECTIONS = Refusal(
    503,
    "the gateway has as many connections open as the system allows it",
    "too_many_connections",
    retry_after_s=1.0,
)


@dataclass(slots=True, eq=False)
class Reception(Application):
    """Takes requests off connections and makes exchanges of them.

    Attributes:
        scheduler: whom requests wait for.
        backends: where they go.
        views: answer what needs no engine.
        descriptors: how many connections there may be.
        tracing: traces of requests, where they are wanted.
        connections: those that are open.
        bounds: what a client may do.

    """

    scheduler: Scheduler
    backends: Backends
    views: Views
    descriptors: Descriptors
    tracing: Tracing | None
    connections: set[ServerConnection] = field(default_factory=set)
    bounds: WireBounds = BOUNDS

    @property
    def max_head_bytes(self) -> int:
        """Bytes of a request's head."""
        return self.scheduler.config.limits.head_bytes

    @property
    def max_body_bytes(self) -> int:
        """Bytes of a request's body."""
        return self.scheduler.config.limits.body_bytes

    def body_bytes(self, request: HttpRequest) -> int:
        """Return how long its body may be: next to nothing, unless it may ask for something."""
        has_key = _is_for_engines(request) and self._tenant(request) is not None
        return self.max_body_bytes if has_key else self.bounds.early_body_bytes

    # a connection

    def opened(self, connection: ServerConnection) -> None:
        """Refuse a client that the system has no descriptor for."""
        if not self._has_room_for_client and not self._close_idle():
            _refuse(connection, TOO_MANY_CONNECTIONS)
        self.connections.add(connection)

    def closed(self, connection: ServerConnection) -> None:
        """Forget a client that has gone."""
        self.connections.discard(connection)

    @property
    def _has_room_for_client(self) -> bool:
        num_clients = len(self.connections)
        return self.descriptors.allows_client(num_clients, self.backends.num_connections)

    def _close_idle(self, asking: ServerConnection | None = None) -> bool:
        """Close the one idle for longest, ``asking`` aside; return whether there was one."""
        idle = [other for other in self.connections if other.is_idle and other is not asking]
        if not idle:
            return False
        oldest = min(idle, key=lambda connection: connection.idle_since_s)
        if monotonic() - oldest.idle_since_s < self.bounds.spared_s:
            return False  # it may be about to ask
        self.connections.discard(oldest)
        oldest.transport.abort()
        return True

    # a request

    def begun(self, connection: ServerConnection, request: HttpRequest) -> None:
        """Refuse whoever has no key before reading the rest."""
        config = self.scheduler.config
        connection.extra_lines = origin_lines(request, config)
        if is_stranger(request, config):
            _refuse(connection, STRANGER)
        elif not _is_for_engines(request):
            return
        elif self._tenant(request) is None:
            self.scheduler.ledger.refuse("unauthorized")
            _refuse(connection, NO_KEY)
        elif request.path in PATHS and request.method != "POST":
            _refuse(connection, TAKES_POST)

    def malformed(
        self, connection: ServerConnection, request: HttpRequest | None, status: int, why: str
    ) -> None:
        """Answer what is no request."""
        if request is not None:
            self._turn_away(request, REJECTED, f"http_{status}", status)
        connection.refuse(status, JSON_HEADERS, error_body(why, INVALID, None))

    def abandoned(self, connection: ServerConnection, request: HttpRequest) -> None:
        """Note a request whose client went away before it was complete."""
        self._turn_away(request, FAILED, "client_disconnected", None)

    def received(self, connection: ServerConnection, request: HttpRequest) -> None:
        """Answer a complete request, or let it wait for its turn."""
        if not _is_for_engines(request):
            self.views.answer(connection, request)
            return
        tenant = self._tenant(request)
        if tenant is None:  # its key was taken away while its body came in
            self.begun(connection, request)
            return

        # Whoever may not come in now is told so before its body is looked at.
        refusal = self._refusal(tenant, connection)
        if refusal is not None:
            self._turn_away(request, REJECTED, refusal.code, refusal.status)
            keep_alive = request.keep_alive and refusal.status != 503  # it may find another gateway
            lines, body = refusal_parts(refusal)
            connection.answer(refusal.status, lines, body, keep_alive)
            return
        try:
            exchange = self._exchange(connection, request, tenant)
        except InputError as error:
            self._turn_away(request, REJECTED, "bad_request", 400)
            body = error_body(str(error), INVALID, None)
            connection.answer(400, JSON_HEADERS, body, request.keep_alive)
            return

        connection.exchange = exchange
        pool = request.headers.get(b"x-headway-pool", b"").decode("latin-1")
        self.scheduler.enter(exchange.queued, pool)
        self.scheduler.arrive(exchange.queued)

    def _refusal(self, tenant: Tenant, connection: ServerConnection) -> Refusal | None:
        """Return why one more request cannot come in; ``None`` counts it as sent."""
        while not self._has_room_for_request:
            if not self._close_idle(asking=connection):
                return TOO_MANY_CONNECTIONS
        return self.scheduler.refusal(tenant)

    @property
    def _has_room_for_request(self) -> bool:
        # A client asks for one thing at a time: if each could have a connection more, nothing else
        # need be counted.
        num_clients, upstream = len(self.connections), self.backends.num_connections
        if self.descriptors.allows_request(2 * num_clients, upstream, requests=0, engines=0):
            return True

        dispatcher = self.scheduler.dispatcher
        return self.descriptors.allows_request(
            num_clients,
            upstream,
            requests=dispatcher.num_waiting + len(dispatcher.running),
            engines=self.scheduler.fleet.max_in_flight,
        )

    def _exchange(
        self, connection: ServerConnection, http: HttpRequest, tenant: Tenant
    ) -> Exchange:
        """Return the exchange of ``http``; raise `InputError` if it makes no sense."""
        config, anchor_s = self.scheduler.config, self.scheduler.ledger.anchor_s
        if http.path in PATHS:
            queued, _ = read_queued(
                self.scheduler, path=http.path, headers=http.headers, body=http.body, tenant=tenant
            )
        else:
            queued = queued_of(self.scheduler, http, tenant)

        has_keys = bool(config.tenants) or any(engine.api_key for engine in config.endpoints)
        dropped = NOT_FORWARDED if self.tracing is None else NOT_FORWARDED | CONTEXT_HEADERS
        forward = forwarded_lines(http.headers, dropped, with_key=not has_keys)
        received = ReceivedRequest(http, forward, forwards_key=not has_keys)
        exchange = Exchange(self.scheduler, self.backends, connection, received, queued)
        if self.tracing is not None:
            exchange.trace = self.tracing.begin(http, queued.arrival_s + anchor_s)
        return exchange

    def _tenant(self, request: HttpRequest) -> Tenant | None:
        admission = self.scheduler.admission
        return admission.tenant(bearer(request.headers) if admission.asks_for_keys else "")

    def _turn_away(self, request: HttpRequest, status: str, reason: str, code: int | None) -> None:
        """Write down a request that never became an exchange; without a key it is only counted."""
        if not _is_for_engines(request) or (request.path in PATHS and request.method != "POST"):
            return
        tenant, ledger = self._tenant(request), self.scheduler.ledger
        if tenant is None:
            ledger.refuse(reason)
        else:
            api = PATHS.get(request.path, API)
            ledger.turn_away(status=status, reason=reason, code=code, api=api, tenant=tenant.name)


def _refuse(connection: ServerConnection, refusal: Refusal) -> None:
    """Answer with ``refusal`` before the rest of the request is read."""
    connection.refuse(refusal.status, *refusal_parts(refusal))


def _is_for_engines(request: HttpRequest) -> bool:
    """Return whether an engine answers ``request``."""
    if request.path in PATHS:
        return request.method != "OPTIONS"
    return is_passed(request)
