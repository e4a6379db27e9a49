"""HTTP/1.1 as a server speaks it: one connection, its requests in order, nothing but bytes out."""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic
from typing import Protocol, cast

import httptools

from headway.http.message import LAST_CHUNK, REASONS, HttpRequest, as_chunk

HIGH_WATER_BYTES = 256 * 1024
MOST_PIPELINED = 16
LINGER_S = 0.5
DECLARED = (b"content-length", b"transfer-encoding")


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

    def opened(self, connection: ServerConnection) -> None:
        """A client has connected."""
        ...

    def closed(self, connection: ServerConnection) -> None:
        """It has gone."""
        ...

    def begun(self, connection: ServerConnection, incoming: HttpRequest) -> None:
        """The head of a request is complete; a refusal here saves reading its body."""
        ...

    def received(self, connection: ServerConnection, incoming: HttpRequest) -> None:
        """A request is complete."""
        ...

    def malformed(
        self, connection: ServerConnection, incoming: HttpRequest | None, status: int, why: str
    ) -> None:
        """What came is no request; answer with ``status`` and close."""
        ...

    def abandoned(self, connection: ServerConnection, incoming: HttpRequest) -> None:
        """The client went away between the head of a request and its end."""
        ...


class ServerConnection(asyncio.Protocol):
    """One client's connection; requests are answered one after the other."""

    __slots__ = (
        "_app", "_body", "_closing", "_complete", "_incoming", "_length", "_loop", "_parser",
        "_refused", "_seen", "_waiting", "began_s", "exchange", "full", "transport",
    )  # fmt: skip

    def __init__(self, app: Application, loop: asyncio.AbstractEventLoop) -> None:
        self._app = app
        self._loop = loop
        self._parser = httptools.HttpRequestParser(self)
        self._incoming: HttpRequest | None = None  # being received
        self._body: list[bytes] = []
        self._length = 0
        self._seen = 0  # bytes of the head so far
        self._complete = True
        self._closing = False
        self._refused = False
        self._waiting: deque[HttpRequest] = deque()
        self.began_s: float | None = None  # first byte of the request being received
        self.exchange: Exchange | None = None
        self.full = False
        self.transport: asyncio.Transport

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        self._app.opened(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._closing:
            return
        if self._complete:
            if self.began_s is None:
                self.began_s = monotonic()
            self._seen += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.close_after()  # answered as an ordinary request, and no other follows
        except httptools.HttpParserCallbackError as error:
            self._broken(400, f"the request cannot be read: {error.__context__}")
        except httptools.HttpParserError as error:
            self._broken(400, f"not an HTTP/1.1 request: {error}")
        if self._complete and self._seen > self._app.head_limit_bytes and not self._closing:
            self._broken(431, "the request's headers are too long")

    def eof_received(self) -> None:
        """Close: a client that stops sending has gone, as far as HTTP servers go."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        self._closing = True
        if self.exchange is not None:
            gone, self.exchange = self.exchange, None
            gone.client_gone()
        for incoming in (*self._waiting, *([] if self._complete else [self._incoming])):
            if incoming is not None and not self._refused:
                self._app.abandoned(self, incoming)
        self._waiting.clear()
        del self._parser  # the two would hold each other until the garbage collector comes
        self._app.closed(self)

    def pause_writing(self) -> None:
        """The other side reads too slowly."""
        self.full = True
        if self.exchange is not None:
            self.exchange.client_full()

    def resume_writing(self) -> None:
        """The other side has caught up."""
        self.full = False
        if self.exchange is not None:
            self.exchange.client_ready()

    # the parser's side

    def on_message_begin(self) -> None:
        """A request begins."""
        self._incoming = HttpRequest()
        self._body = []
        self._length = 0

    def on_url(self, url: bytes) -> None:
        """A part of its address came."""
        incoming = self._incoming
        assert incoming is not None  # a message has begun
        path, _, query = (incoming.path.encode("latin-1") + url).partition(b"?")
        incoming.path, incoming.query = path.decode("latin-1"), query.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of its headers came."""
        assert self._incoming is not None  # a message has begun
        name = name.lower()
        if name in DECLARED and name in self._incoming.headers:
            self._incoming.repeated = True
        self._incoming.headers[name] = value

    def on_headers_complete(self) -> None:
        """All of its headers are there."""
        incoming = self._incoming
        assert incoming is not None  # a message has begun
        self._complete = False
        self._refused = False
        self._seen = 0
        incoming.method = self._parser.get_method().decode("latin-1")
        incoming.version = self._parser.get_http_version()
        incoming.keep_alive = bool(self._parser.should_keep_alive())
        if incoming.repeated or all(name in incoming.headers for name in DECLARED):
            self._broken(400, "the request says twice how long its body is")
            return
        length = incoming.headers.get(b"content-length")
        if length is not None and int(length) > self._app.body_limit_bytes:
            self._too_large()
            return
        if not self._waiting and self.exchange is None:
            self._app.begun(self, incoming)
        if not self._closing and incoming.headers.get(b"expect", b"").lower() == b"100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """A part of its body came."""
        if self._closing:
            return
        self._length += len(body)
        if self._length > self._app.body_limit_bytes:
            self._too_large()
            return
        self._body.append(body)

    def on_message_complete(self) -> None:
        """All of it is there."""
        if self._closing or self._incoming is None:
            return
        incoming, self._incoming = self._incoming, None
        self._complete = True
        self.began_s = None
        incoming.body = b"".join(self._body)
        self._body = []
        if self.exchange is None and not self._waiting:
            self._app.received(self, incoming)
        elif len(self._waiting) < MOST_PIPELINED:
            self._waiting.append(incoming)
        else:
            self._closing = True
            self.transport.abort()

    # the application's side

    @property
    def gone(self) -> bool:
        """Whether nothing more can be sent."""
        return self.transport.is_closing()

    def write(self, data: bytes) -> None:
        """Send bytes of the answer."""
        self.transport.write(data)

    def answer(
        self, status: int, headers: bytes, body: bytes, keep_alive: bool, head_only: bool = False
    ) -> None:
        """Send a whole answer; ``headers`` are complete lines."""
        close = b"" if keep_alive else b"Connection: close\r\n"
        reason = REASONS.get(status, b"Status")
        self.transport.write(
            b"HTTP/1.1 %d %b\r\n%bContent-Length: %d\r\n%b\r\n%b"
            % (status, reason, headers, len(body), close, b"" if head_only else body)
        )
        self.finished(keep_alive)

    def finished(self, keep_alive: bool) -> None:
        """The answer is complete: go on with the next request, or close."""
        self.exchange = None
        if not keep_alive or self._closing:
            self._closing = True
            self.transport.close()
        elif self._waiting:
            self._loop.call_soon(self._next)

    def close_after(self) -> None:
        """Close once what was written is out."""
        self._closing = True
        if self.exchange is None:
            self.transport.close()

    def refuse(self, status: int, headers: bytes, body: bytes) -> None:
        """Answer before the request has come in completely; read no more of it, and close."""
        self._closing = True
        self._refused = True
        reason = REASONS.get(status, b"Status")
        self.transport.write(
            b"HTTP/1.1 %d %b\r\n%bContent-Length: %d\r\nConnection: close\r\n\r\n%b"
            % (status, reason, headers, len(body), body)
        )
        # A close with unread bytes would reset the connection before the client reads the answer.
        self._loop.call_later(LINGER_S, self.transport.close)

    def request_timed_out(self) -> None:
        """The rest of a request did not come in time."""
        self._broken(408, "the request did not arrive completely in time")

    def _next(self) -> None:
        if self._waiting and self.exchange is None and not self._closing:
            incoming = self._waiting.popleft()
            self._app.begun(self, incoming)
            if not self._closing:
                self._app.received(self, incoming)

    def _too_large(self) -> None:
        most = self._app.body_limit_bytes
        self._broken(413, f"the body is larger than the limit of {most} bytes")

    def _broken(self, status: int, why: str) -> None:
        if self._closing:
            return
        if self.exchange is None and not self._waiting:
            self._app.malformed(self, self._incoming, status, why)
        else:
            self._closing = True
            self.transport.close()


class Reply:
    """One answer to one client.

    Attributes:
        begun: whether the client was sent anything of it.
        chunked: whether pieces are framed as chunks; a client of HTTP/1.0 is sent them bare.
    """

    __slots__ = ("_connection", "_keep_alive", "begun", "chunked")

    def __init__(self, connection: ServerConnection, incoming: HttpRequest) -> None:
        """Answer ``incoming`` over ``connection``."""
        self._connection = connection
        self._keep_alive = incoming.keep_alive
        self.begun = False
        self.chunked = incoming.version == "1.1"

    def begin(self, status: int, lines: bytes, framed: bytes = b"") -> bool:
        """Send the head of an answer in pieces, and its first piece as it stands.

        Returns whether the client's buffer is full already.
        """
        self.begun = True
        coding = b"Transfer-Encoding: chunked\r\n" if self.chunked else b"Connection: close\r\n"
        self._connection.transport.write(
            b"HTTP/1.1 %d %b\r\n%b%b\r\n%b"
            % (status, REASONS.get(status, b"Status"), lines, coding, framed)
        )
        return self._connection.full

    def framed(self, data: bytes) -> bytes:
        """``data`` as one piece."""
        return as_chunk(data) if self.chunked and data else data

    def piece(self, framed: bytes) -> None:
        """Send one more piece, framed already."""
        if framed:
            self._connection.transport.write(framed)

    def finish(self, complete: bool = True) -> None:
        """End an answer in pieces; one that is not ``complete`` closes the connection."""
        if self.chunked:
            self._connection.transport.write(LAST_CHUNK)
        self._connection.finished(complete and self._keep_alive and self.chunked)

    def whole(self, status: int, lines: bytes, body: bytes) -> None:
        """Send an answer in one."""
        self.begun = True
        self._connection.answer(status, lines, body, self._keep_alive)

    def cut_off(self) -> None:
        """Close in the middle: there is no other way to tell that what follows is missing."""
        self._connection.transport.abort()
