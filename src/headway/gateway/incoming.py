"""A request as it came off the wire, and what a connection expects of those who answer it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # the connection imports this module
    from headway.gateway.wire import ClientConnection

REASONS = {
    200: b"OK", 204: b"No Content", 400: b"Bad Request", 401: b"Unauthorized", 403: b"Forbidden",
    404: b"Not Found", 405: b"Method Not Allowed", 408: b"Request Timeout",
    411: b"Length Required", 413: b"Content Too Large", 429: b"Too Many Requests",
    431: b"Request Header Fields Too Large", 499: b"Client Closed Request",
    500: b"Internal Server Error", 502: b"Bad Gateway", 503: b"Service Unavailable",
    504: b"Gateway Timeout",
}  # fmt: skip


@dataclass(slots=True, eq=False)
class Incoming:
    """One request as it came off the wire.

    Attributes:
        method: such as ``POST``.
        path: decoded by nobody, without the query.
        query: after the question mark.
        headers: names in lower case; of repeated ones the last.
        body: as sent, chunks joined.
        version: ``1.1`` or ``1.0``.
        keep_alive: whether the connection may serve another request.

    """

    method: str = ""
    path: str = ""
    query: str = ""
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""
    version: str = "1.1"
    keep_alive: bool = True
    repeated: bool = False


class Exchange(Protocol):
    """Whoever answers a request, as a connection sees it."""

    def client_gone(self) -> None:
        """The client has disconnected."""
        ...

    def client_full(self) -> None:
        """The client reads more slowly than it is sent to."""
        ...

    def client_ready(self) -> None:
        """The client has caught up."""
        ...


class Application(Protocol):
    """What a connection serves."""

    @property
    def head_limit_bytes(self) -> int:
        """Most bytes of a request line with its headers."""
        ...

    @property
    def body_limit_bytes(self) -> int:
        """Most bytes of a body."""
        ...

    def opened(self, connection: ClientConnection) -> None:
        """A client has connected."""
        ...

    def closed(self, connection: ClientConnection) -> None:
        """It has gone."""
        ...

    def begun(self, connection: ClientConnection, incoming: Incoming) -> None:
        """The head of a request is complete; a refusal here saves reading its body."""
        ...

    def received(self, connection: ClientConnection, incoming: Incoming) -> None:
        """A request is complete."""
        ...

    def malformed(
        self, connection: ClientConnection, incoming: Incoming | None, status: int, why: str
    ) -> None:
        """What came is no request; answer with ``status`` and close."""
        ...

    def abandoned(self, connection: ClientConnection, incoming: Incoming) -> None:
        """The client went away between the head of a request and its end."""
        ...
