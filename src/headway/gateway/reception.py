"""What clients meet first: keys, limits, and refusals before anything waits for an engine."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from headway.errors import InputError
from headway.gateway.answer import HOP_BY_HOP
from headway.gateway.config import Tenant
from headway.gateway.exchange import JSON_HEADERS, Exchange
from headway.gateway.slo import read_slo
from headway.gateway.tracing import CARRIED
from headway.gateway.views import answer_view
from headway.http.message import HttpRequest
from headway.http.openai import PATHS, error_body, read_request
from headway.http.server import Application, ServerConnection
from headway.workload.record import FAILED, REJECTED
from headway.workload.request import Request

if TYPE_CHECKING:  # the gateway imports this module
    from headway.gateway.app import Gateway

_NOT_FORWARDED = HOP_BY_HOP | {b"host", b"expect", b"accept-encoding"}
_INVALID = "invalid_request_error"
_FULL = "the gateway has as many connections open as the system allows it"


class Reception(Application):
    """Takes requests off connections; see `headway.http.server.Application`.

    Attributes:
        connections: those that are open.
        characters_per_token: as engines were seen to count.
    """

    def __init__(self, gateway: Gateway) -> None:
        """Take requests for ``gateway``."""
        self._gateway = gateway
        self.connections: set[ServerConnection] = set()
        self.characters_per_token = 4.0

    @property
    def max_head_bytes(self) -> int:
        """Most bytes of a request's head."""
        return self._gateway.config.limits.head_bytes

    @property
    def max_body_bytes(self) -> int:
        """Most bytes of a request's body."""
        return self._gateway.config.limits.body_bytes

    def opened(self, connection: ServerConnection) -> None:
        """A client has connected."""
        gateway = self._gateway
        upstream = gateway.fleet.num_connections
        if not gateway.descriptors.allows_client(len(self.connections), upstream):
            body = error_body(_FULL, "server_error", "too_many_connections")
            connection.refuse(503, JSON_HEADERS + b"Retry-After: 1\r\n", body)
        self.connections.add(connection)

    def closed(self, connection: ServerConnection) -> None:
        """It has gone."""
        self.connections.discard(connection)

    def begun(self, connection: ServerConnection, incoming: HttpRequest) -> None:
        """Refuse whoever has no key before reading the rest."""
        if incoming.path not in PATHS:
            return
        if self._gateway.doorkeeper.tenant(incoming.headers) is None:
            self._gateway.ledger.turned_away(incoming, REJECTED, "unauthorized", 401)
            why = "this gateway needs an API key: Authorization: Bearer KEY"
            body = error_body(why, _INVALID, "invalid_api_key")
            connection.refuse(401, JSON_HEADERS + b"WWW-Authenticate: Bearer\r\n", body)
        elif incoming.method != "POST":
            body = error_body(f"{incoming.path} takes POST", _INVALID, None)
            connection.refuse(405, JSON_HEADERS + b"Allow: POST\r\n", body)

    def malformed(
        self, connection: ServerConnection, incoming: HttpRequest | None, status: int, why: str
    ) -> None:
        """Answer what is no request."""
        if incoming is not None and incoming.path in PATHS and incoming.method == "POST":
            self._gateway.ledger.turned_away(incoming, REJECTED, f"http_{status}", status)
        connection.refuse(status, JSON_HEADERS, error_body(why, _INVALID, None))

    def abandoned(self, connection: ServerConnection, incoming: HttpRequest) -> None:
        """Note a request whose client went away before it was complete."""
        if incoming.path in PATHS and incoming.method == "POST":
            self._gateway.ledger.turned_away(incoming, FAILED, "client_disconnected", None)

    def received(self, connection: ServerConnection, incoming: HttpRequest) -> None:
        """A request is complete."""
        gateway = self._gateway
        if incoming.path not in PATHS:
            answer_view(gateway, connection, incoming)
            return
        tenant = gateway.doorkeeper.tenant(incoming.headers)
        if tenant is None:  # its key was taken away while its body came in
            self.begun(connection, incoming)
            return
        refused = self._refusal(tenant)
        if refused is not None and refused[0] == 503:
            incoming.keep_alive = False  # it may find another gateway; this one wants its socket
        try:
            exchange = self._exchange(connection, incoming, tenant)
        except InputError as error:
            gateway.ledger.turned_away(incoming, REJECTED, "bad_request", 400, tenant.name)
            body = error_body(str(error), _INVALID, None)
            connection.answer(400, JSON_HEADERS, body, incoming.keep_alive)
            return
        connection.exchange = exchange
        gateway.doorkeeper.began(tenant)
        if refused is not None:
            exchange.waits = False
            exchange.refuse(*refused)
            return
        self._find_pool(exchange)
        gateway.ledger.began(exchange)
        gateway.dispatcher.arrived(exchange)

    def _exchange(
        self, connection: ServerConnection, incoming: HttpRequest, tenant: Tenant
    ) -> Exchange:
        gateway = self._gateway
        asked = read_request(PATHS[incoming.path], incoming.body)
        request = Request(
            gateway.ledger.new_id(), monotonic(), asked.prompt,
            asked.prompt_tokens(self.characters_per_token), asked.max_tokens, asked.model,
            tenant.name, read_slo(incoming.headers, gateway.config.classes),
        )  # fmt: skip
        made = Exchange(gateway, connection, incoming, asked, request, self._forwarded(incoming))
        made.weight = tenant.weight
        if gateway.tracing is not None:
            made.trace = gateway.tracing.began(made, gateway.ledger.anchor_s)
        return made

    def _refusal(self, tenant: Tenant) -> tuple[int, str, str, float | None] | None:
        gateway = self._gateway
        if gateway.draining:
            return 503, "the gateway is shutting down", "shutting_down", 1.0
        waiting, fleet = gateway.dispatcher.num_waiting, gateway.fleet
        requests = waiting + len(gateway.dispatcher.running)
        if not gateway.descriptors.allows_request(
            len(self.connections), fleet.num_connections, requests, fleet.most_inflight
        ):
            return 503, _FULL, "too_many_connections", 1.0
        if waiting >= gateway.config.limits.queue:
            return 429, "too many requests wait already", "queue_full", 5.0
        wait_s = gateway.doorkeeper.wait_s(tenant, monotonic())
        if wait_s > 0:
            return 429, f"tenant {tenant.name} sends more than its limit", "rate_limited", wait_s
        return None

    def _find_pool(self, exchange: Exchange) -> None:
        """The pool that the client names, else the first that has the model."""
        config = self._gateway.config
        wanted = exchange.incoming.headers.get(b"x-headway-pool", b"").decode("latin-1")
        pools, fleet = config.pools, self._gateway.fleet
        if wanted in pools:
            exchange.pool, exchange.pinned = wanted, True
        elif len(pools) == 1:
            exchange.pool = pools[0]
        else:
            model = exchange.request.model
            exchange.pool = next((pool for pool in pools if fleet.serves(pool, model)), pools[0])
        exchange.home = exchange.pool

    def _forwarded(self, incoming: HttpRequest) -> bytes:
        config = self._gateway.config
        own_key = bool(config.tenants)
        backend_key = any(endpoint.api_key for endpoint in config.endpoints)
        dropped = _NOT_FORWARDED if self._gateway.tracing is None else _NOT_FORWARDED | CARRIED
        return b"".join(
            b"%b: %b\r\n" % (name, value)
            for name, value in incoming.headers.items()
            if name not in dropped
            and not name.startswith(b"x-headway-")
            and not (name == b"authorization" and (own_key or backend_key))
        )
