"""HTTP/1.1 as a server speaks it: one connection, its requests in order, nothing but bytes out.

httptools takes requests apart, heads and bodies. A connection bounds what a client may send (head,
body, trailers, pipelined requests) and knows the moment at which a request began, so that whoever
looks after it can end one that does not come in time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic
from typing import Protocol, cast

import httptools

from headway.http.bounds import BOUNDS, UNREAD_STEP_BYTES, WireBounds
from headway.http.message import LAST_CHUNK, REASONS, HttpRequest, as_chunk

VERSIONS = ("1.1", "1.0")
_ONCE = frozenset({
    b"host", b"authorization", b"content-type", b"content-length", b"transfer-encoding",
})  # fmt: skip


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


class Application:
    """What connections serve: override `received`, and whatever else matters."""

    bounds: WireBounds = BOUNDS

    @property
    def max_head_bytes(self) -> int:
        """Bytes of a request line with its headers, or of trailers."""
        return 65_536

    @property
    def max_body_bytes(self) -> int:
        """Bytes of a request's body."""
        return 64 * 2**20

    def body_bytes(self, request: HttpRequest) -> int:
        """Return how long the body of a request with this head may be."""
        return self.max_body_bytes

    def opened(self, connection: ServerConnection) -> None:
        """A client has connected."""

    def closed(self, connection: ServerConnection) -> None:
        """A client has gone."""

    def begun(self, connection: ServerConnection, request: HttpRequest) -> None:
        """The head of a request is complete; a refusal here saves reading its body."""

    def received(self, connection: ServerConnection, request: HttpRequest) -> None:
        """A request is complete."""
        raise NotImplementedError

    def malformed(
        self, connection: ServerConnection, request: HttpRequest | None, status: int, why: str
    ) -> None:
        """What came is no request; answer with ``status`` and close."""
        connection.refuse(status, b"Content-Type: text/plain\r\n", why.encode())

    def abandoned(self, connection: ServerConnection, request: HttpRequest) -> None:
        """The client went away between the head of a request and its end."""


class ServerConnection(asyncio.Protocol):
    """One client's connection; requests are answered one after the other.

    Attributes:
        began_s: when the first byte came of the request that is being received, else ``None``.
        exchange: whoever answers the present request.
        full: whether the client reads more slowly than it is sent to.
        extra_lines: that go into the head of every answer to the present request.

    """

    __slots__ = (
        "_app", "_closing", "_head_bytes", "_idle_since_s", "_is_held", "_length", "_loop",
        "_max_body_bytes", "_now_s", "_overrun", "_parser", "_parts", "_progress", "_receiving",
        "_refused", "_request", "_turn_over", "_unread", "_url", "_waiting", "began_s", "exchange",
        "extra_lines", "full", "transport",
    )  # fmt: skip

    def __init__(self, app: Application, loop: asyncio.AbstractEventLoop) -> None:
        """Serve ``app``; asyncio connects."""
        self._app = app
        self._loop = loop
        self._parser = httptools.HttpRequestParser(self)

        # The request that is being received.
        self._request: HttpRequest | None = None
        self._receiving = False  # its head is complete, its body is not
        self._refused = False
        self._url = b""
        self._parts: list[bytes] = []
        self._length = 0
        self._max_body_bytes = 0
        self._head_bytes = 0  # of a head or of trailers so far
        self._progress = False  # whether the newest bytes held more than a part of those
        self._now_s = self._idle_since_s = monotonic()

        # Those that wait behind the present one.
        self._waiting: deque[HttpRequest] = deque()
        self._turn_over = False  # a request was handed over in this turn of the loop
        self._is_held = False  # nothing more is read until it is answered
        self._overrun = False  # more came than may wait: the rest is not looked at

        self._closing = False
        self._unread: tuple[int, float] | None = None  # bytes, and since when so many or more
        self.began_s: float | None = None
        self.exchange: Exchange | None = None
        self.full = False
        self.extra_lines = b""
        self.transport: asyncio.Transport

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=self._app.bounds.unread_bytes)
        self._app.opened(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._closing or self._overrun:
            return
        self._now_s = monotonic()
        self._progress = self._turn_over = False

        self._feed(data)

        # What is no body and completes nothing is a head, a trailer, or the line of a chunk's size.
        if not self._progress:
            self._head_bytes += len(data)
            if self._head_bytes > self._app.max_head_bytes:
                self._broken(431, "the request's headers are too long")

        # Whoever sends on before the answer waits with the rest of it.
        if self._waiting or (self._request is not None and self.exchange is not None):
            self._hold()
        if self._waiting and self.exchange is None and not self.full:
            self._loop.call_soon(self._next)

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._feed_anew(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError as error:
            self._broken(400, f"the request cannot be read: {error.__context__}")
        except httptools.HttpParserError as error:
            self._broken(400, f"not an HTTP/1.1 request: {error}")

    def _feed_anew(self, rest: bytes) -> None:
        """Read a request that offers another protocol as one that does not: it is an offer.

        The parser stops at its body, so another one reads it with a head that offers nothing.
        """
        request, self._request = self._request, None
        if request is None or request.method == "CONNECT" or self._closing:
            self._broken(400, "this server makes no tunnels")
            return
        lines = b"".join(
            b"%b: %b\r\n" % (name, value)
            for name, value in request.headers.items()
            if name not in (b"upgrade", b"connection", b"http2-settings")
        )
        close = b"" if request.keep_alive else b"connection: close\r\n"
        head = b"%b %b HTTP/1.1\r\n%b%b\r\n" % (
            request.method.encode(), self._url, lines, close,
        )  # fmt: skip
        self._parser = httptools.HttpRequestParser(self)
        self._receiving = False
        self._feed(head + rest)

    def eof_received(self) -> None:
        """Close: a client that stops sending has gone, as far as HTTP servers go."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        self._closing = True
        if self.exchange is not None:
            exchange, self.exchange = self.exchange, None
            exchange.client_gone()

        unanswered = list(self._waiting)
        if self._receiving and self._request is not None:
            unanswered.append(self._request)
        for request in unanswered:
            if not self._refused:
                self._app.abandoned(self, request)

        self._waiting.clear()
        del self._parser  # the two would hold each other until the garbage collector comes
        self._app.closed(self)

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        self.full = True
        if self.exchange is not None:
            self.exchange.client_full()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self.full = False
        self._unread = None
        if self.exchange is not None:
            self.exchange.client_ready()
        elif self._waiting:
            self._loop.call_soon(self._next)

    # the parser's side

    def on_message_begin(self) -> None:
        """A request begins."""
        self.began_s = self._now_s
        self._request = HttpRequest()
        self._url = b""
        self._parts = []
        self._length = 0
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        """A part of its address came."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of its headers came; trailers are not wanted."""
        if self._receiving:
            return
        assert self._request is not None  # a message has begun
        name = name.lower()
        headers = self._request.headers
        if name in headers:
            if name in _ONCE:
                self._request.problem = f"the request says {name.decode()} twice"
            elif len(headers[name]) < self._app.max_head_bytes:
                value = headers[name] + (b"; " if name == b"cookie" else b", ") + value
        headers[name] = value
        self._request.num_headers += 1

    def on_headers_complete(self) -> None:
        """All of its headers are there."""
        request = self._request
        assert request is not None  # a message has begun
        self._receiving = self._progress = True
        self._refused = False
        self._head_bytes = 0
        request.method = self._parser.get_method().decode("latin-1")
        request.version = self._parser.get_http_version()
        request.keep_alive = bool(self._parser.should_keep_alive())
        path, _, query = self._url.partition(b"?")
        request.path, request.query = path.decode("latin-1"), query.decode("latin-1")
        if self._closing or self._overrun or self._parser.should_upgrade():
            return
        self._max_body_bytes = self._app.body_bytes(request)
        if self._is_refused(request):
            return

        if self._is_busy:
            return  # nothing is written into the answer that is under way
        self._app.begun(self, request)
        if not self._closing and request.headers.get(b"expect", b"").lower() == b"100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """A part of its body came."""
        if self._closing:
            return
        self._progress = True
        self._length += len(body)
        if self._length > self._max_body_bytes:
            self._too_large()
            return
        self._parts.append(body)

    def on_message_complete(self) -> None:
        """All of it is there."""
        if self._closing or self._overrun or self._request is None:
            return
        if self._parser.should_upgrade():
            return  # read once more, without its offer
        request, self._request = self._request, None
        request.body = b"".join(self._parts)
        request.arrival_s = self._now_s
        self._parts = []
        self._receiving = False
        self._progress = True
        self.began_s = None

        if not self._is_busy:
            self._turn_over = True
            self._app.received(self, request)
        elif len(self._waiting) < self._app.bounds.num_pipelined:
            self._waiting.append(request)
        else:
            self._overrun = True

    @property
    def _is_busy(self) -> bool:
        """Whether a request must wait: for another's answer, its reader, or its turn."""
        is_answering = self.exchange is not None or bool(self._waiting)
        return is_answering or self.full or self._turn_over

    def _is_refused(self, request: HttpRequest) -> bool:
        """Refuse a head that can be read in two ways, or not at all; return whether it was."""
        # Whoever says twice how long a body is means to be read in two ways.
        headers = request.headers
        if b"content-length" in headers and b"transfer-encoding" in headers:
            request.problem = "the request says twice how long its body is"
        elif headers.get(b"transfer-encoding", b"chunked").strip().lower() != b"chunked":
            request.problem = "the request's body is in a transfer coding other than chunked"
        if request.version not in VERSIONS:
            self._broken(505, f"this server speaks HTTP/1.1, not {request.version}")
        elif request.num_headers > self._app.bounds.num_headers:
            self._broken(431, f"the request has more than {self._app.bounds.num_headers} headers")
        elif request.problem:
            self._broken(400, request.problem)
        elif request.version == "1.1" and b"host" not in headers:
            self._broken(400, "the request names no host")
        elif int(headers.get(b"content-length", b"0")) > self._max_body_bytes:
            self._too_large()
        else:
            return False
        return True

    # the application's side

    def look_after(self, now_s: float, request_s: float) -> None:
        """End what lasts too long: a request that does not come, silence, a reader that sleeps."""
        bounds = self._app.bounds
        if self._closing:
            if now_s - self._idle_since_s > bounds.flush_s and self.exchange is None:
                self.transport.abort()
        elif self.full:
            unread_bytes = self.transport.get_write_buffer_size()
            before = self._unread
            if before is None or unread_bytes <= before[0] - min(before[0], UNREAD_STEP_BYTES):
                self._unread = (unread_bytes, now_s)
            elif now_s - before[1] > bounds.unread_s:
                self.transport.abort()
        elif self.began_s is not None:
            if now_s - self.began_s > request_s:
                self.request_timed_out()
        elif self.is_idle and now_s - self._idle_since_s > bounds.idle_s:
            self.transport.abort()

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits for anything here."""
        is_asked = self.exchange is not None or bool(self._waiting) or self.began_s is not None
        return not is_asked and not self._closing

    @property
    def idle_since_s(self) -> float:
        """When its last answer was complete, or when it was opened."""
        return self._idle_since_s

    def answer(
        self, status: int, headers: bytes, body: bytes, keep_alive: bool, head_only: bool = False
    ) -> None:
        """Send a whole answer; ``headers`` are complete lines."""
        close = b"" if keep_alive else b"Connection: close\r\n"
        length = b"" if status == 204 else b"Content-Length: %d\r\n" % len(body)
        head = _head(status, b"%b%b%b%b" % (headers, self.extra_lines, length, close))
        self.transport.write(head if head_only else head + body)
        self.finished(keep_alive)

    def finished(self, keep_alive: bool) -> None:
        """The answer is complete: go on with the next request, or close."""
        self.exchange = None
        self._idle_since_s = monotonic()
        if self.began_s is not None:
            self.began_s = self._idle_since_s  # the next request has all of its time from now on
        is_last = self._overrun and not self._waiting
        if not keep_alive or self._closing or is_last:
            self._closing = True
            self.transport.close()
        elif self._waiting:
            if not self.full:
                self._loop.call_soon(self._next)
        else:
            self._release()

    def refuse(self, status: int, headers: bytes, body: bytes) -> None:
        """Answer before the request has come in completely; read no more of it, and close."""
        self._closing = True
        self._refused = True
        lines = b"%b%bContent-Length: %d\r\nConnection: close\r\n" % (
            headers, self.extra_lines, len(body),
        )  # fmt: skip
        self.transport.write(_head(status, lines) + body)
        # A close with unread bytes would reset the connection before the client reads the answer.
        self._loop.call_later(self._app.bounds.linger_s, self.transport.abort)

    def request_timed_out(self) -> None:
        """The rest of a request did not come in time; an answer that is under way goes on."""
        if self.exchange is None:
            self._broken(408, "the request did not arrive completely in time")

    def _next(self) -> None:
        if self._waiting and self.exchange is None and not self._closing and not self.full:
            request = self._waiting.popleft()
            self._app.begun(self, request)
            if not self._closing:
                self._app.received(self, request)

    def _hold(self) -> None:
        if not self._is_held and not self._closing and not self.transport.is_closing():
            self._is_held = True
            self.transport.pause_reading()

    def _release(self) -> None:
        if self._is_held and not self.transport.is_closing():
            self._is_held = False
            self.transport.resume_reading()

    def _too_large(self) -> None:
        limit = self._max_body_bytes
        self._broken(413, f"the body is larger than the limit of {limit} bytes")

    def _broken(self, status: int, why: str) -> None:
        if self._closing:
            return
        if self.exchange is None and not self._waiting:
            self._app.malformed(self, self._request, status, why)
        else:
            self._closing = True
            self.transport.close()


class Reply:
    """One answer to one client: whole or in pieces, ended well or cut off.

    Attributes:
        begun: whether the client was sent anything of it.
        chunked: whether pieces are framed as chunks; a client of HTTP/1.0 is sent them bare.

    """

    __slots__ = ("_connection", "_keep_alive", "begun", "chunked")

    def __init__(self, connection: ServerConnection, request: HttpRequest) -> None:
        """Answer ``request`` over ``connection``."""
        self._connection = connection
        self._keep_alive = request.keep_alive
        self.begun = False
        self.chunked = request.version == "1.1"

    def begin(self, status: int, lines: bytes, framed: bytes = b"") -> bool:
        """Send the head of an answer in pieces, and its first piece as it stands.

        Returns whether the client's buffer is full already.
        """
        self.begun = True
        coding = b"Transfer-Encoding: chunked\r\n" if self.chunked else b"Connection: close\r\n"
        connection = self._connection
        connection.transport.write(_head(status, lines + connection.extra_lines + coding) + framed)
        return connection.full

    def framed(self, data: bytes) -> bytes:
        """Return ``data`` as one piece."""
        return as_chunk(data) if self.chunked and data else data

    def piece(self, framed: bytes) -> None:
        """Send one more piece, framed already."""
        if framed:
            self._connection.transport.write(framed)

    def finish(self, framed: bytes = b"") -> None:
        """End an answer in pieces, of which ``framed`` is the last.

        Without chunks only the connection's end tells its own.
        """
        self.piece(framed + LAST_CHUNK if self.chunked else framed)
        self._connection.finished(self._keep_alive and self.chunked)

    def whole(self, status: int, lines: bytes, body: bytes) -> None:
        """Send an answer in one."""
        self.begun = True
        self._connection.answer(status, lines, body, self._keep_alive)

    def cut_off(self) -> None:
        """Close in the middle: there is no other way to tell that what follows is missing."""
        self._connection.transport.abort()


def _head(status: int, lines: bytes) -> bytes:
    reason = REASONS.get(status, b"Status")
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, reason, lines)
