"""HTTP/1.1 as small servers speak it: requests come off a connection, bytes go back.

For engines and test servers on the loopback address. The gateway, which meets the world, has a
reader of its own that bounds and times everything. httptools is imported when a connection is made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from time import monotonic
from typing import Any, Protocol, cast

MOST_BODY_BYTES = 64 * 2**20
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
LAST_CHUNK = b"0\r\n\r\n"
_REASONS = {
    200: b"OK", 400: b"Bad Request", 404: b"Not Found", 405: b"Method Not Allowed",
    413: b"Content Too Large", 503: b"Service Unavailable",
}  # fmt: skip


@dataclass(slots=True, eq=False)
class Incoming:
    """A request as it came.

    Attributes:
        method: such as ``POST``.
        path: without the query.
        headers: names in lower case; of repeated ones the last.
        body: chunks joined.
        came_s: when its last bytes came, on the monotonic clock.

    """

    method: str = ""
    path: str = ""
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""
    came_s: float = 0.0


class Application(Protocol):
    """Whoever answers."""

    def received(self, connection: ServerConnection, incoming: Incoming) -> None:
        """A request is complete."""
        ...

    def gone(self, connection: ServerConnection) -> None:
        """The client has disconnected."""
        ...


class ServerConnection(asyncio.Protocol):
    """One client's connection, one request at a time; a second one before its answer closes it."""

    def __init__(self, app: Application) -> None:
        """Serve ``app``."""
        self._app = app
        self._parser: Any = import_module("httptools").HttpRequestParser(self)
        self._incoming = Incoming()
        self._url = b""
        self._parts: list[bytes] = []
        self._length = 0
        self._now_s = 0.0
        self._busy = False
        self._keep = True
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open."""
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        self._app.gone(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self._now_s = monotonic()
        try:
            self._parser.feed_data(data)
        except Exception as error:  # httptools has a tree of its own; none of it is our fault
            self._keep = False
            self.answer(400, b"text/plain", f"not an HTTP/1.1 request: {error}".encode())

    def on_message_begin(self) -> None:
        """A request begins."""
        self._incoming, self._url, self._parts, self._length = Incoming(), b"", [], 0

    def on_url(self, url: bytes) -> None:
        """A part of its address came."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of its headers came."""
        self._incoming.headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        """A part of its body came."""
        self._length += len(body)
        if self._length <= MOST_BODY_BYTES:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        """All of it is there."""
        incoming = self._incoming
        incoming.method = self._parser.get_method().decode("latin-1")
        incoming.path = self._url.partition(b"?")[0].decode("latin-1")
        incoming.body = b"".join(self._parts)
        incoming.came_s = self._now_s
        self._keep = bool(self._parser.should_keep_alive())
        if self._busy:
            self.transport.abort()
        elif self._length > MOST_BODY_BYTES:
            self._keep = False
            self.answer(413, b"text/plain", b"the body is too large")
        else:
            self._busy = True
            self._app.received(self, incoming)

    def write(self, data: bytes) -> None:
        """Send bytes of an answer that `finish` will end."""
        self.transport.write(data)

    def answer(self, status: int, kind: bytes, body: bytes) -> None:
        """Send a whole answer of the content type ``kind``."""
        self.transport.write(
            b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b\r\n%b"
            % (status, _REASONS.get(status, b"Status"), kind, len(body),
               b"" if self._keep else b"Connection: close\r\n", body)
        )  # fmt: skip
        self.finish()

    def finish(self) -> None:
        """The answer is complete."""
        self._busy = False
        if not self._keep:
            self.transport.close()


def as_chunk(body: bytes) -> bytes:
    """``body`` as one chunk of a chunked answer."""
    return b"%x\r\n%b\r\n" % (len(body), body)


def fastest_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes event loops: uvloop where it is installed."""
    try:
        uvloop: Any = import_module("uvloop")
    except ImportError:
        return asyncio.new_event_loop
    made: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return made
