"""A connection whose clock can be trusted: it reads the time first of all.

Every arrival of bytes is stamped before it is looked at. A chunk that holds exactly one event, the
usual case, is counted without being taken apart; anything else goes through the parser.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Protocol, cast

import httptools

from headway.load.flight import Flight

ZERO = 0x30  # int() would take 0x5 for a number, too
MOST_BODY_BYTES = 1 << 26


class Keeper(Protocol):
    """Whoever opened a connection."""

    open: set[Connection]

    @property
    def head(self) -> bytes:
        """The head of every request, up to its length."""
        ...

    def free(self, connection: Connection) -> None:
        """The connection may take another request."""
        ...

    def again(self, flight: Flight) -> None:
        """The server had closed the connection before it was asked."""
        ...


class Connection(asyncio.Protocol):
    """One connection; at most one request under way."""

    __slots__ = (
        "_between",
        "_body",
        "_client",
        "_flight",
        "_held",
        "_keep",
        "_now_s",
        "_parser",
        "_streaming",
        "transport",
        "used",
    )  # fmt: skip

    def __init__(self, client: Keeper) -> None:
        self._client = client
        self._flight: Flight | None = None
        self._between = False  # whether the next byte begins a chunk of a stream
        self._held = b""
        self._body = b""
        self._streaming = False
        self._keep = True
        self.used = False  # whether it has answered before
        self._now_s = 0.0
        self._parser = httptools.HttpResponseParser(self)
        self.transport: asyncio.Transport

    def ask(self, flight: Flight, began_s: float | None = None) -> None:
        """Send a request; ``began_s`` is when connecting for it began, if it had to."""
        self._flight = flight
        self._held = self._body = b""
        self._streaming = self._between = False
        body = flight.planned.body
        data = b"%b%d\r\n%b\r\n%b" % (
            self._client.head, len(body), flight.planned.headers, body,
        )  # fmt: skip
        flight.sent_s = monotonic() if began_s is None else began_s
        self.transport.write(data)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open."""
        self.transport = cast(asyncio.Transport, transport)
        self._client.open.add(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came: read the time, then look at them."""
        now_s = monotonic()
        flight = self._flight
        if flight is None:
            self.transport.abort()
            return
        if self._between and not self._held:
            line = data.find(b"\r\n", 0, 12)
            size = data[:line]
            if line > 0 and size.isalnum() and data[0] != ZERO and data.endswith(b"\n\n\r\n"):
                try:
                    whole = int(size, 16) + line + 4 == len(data)
                except ValueError:
                    whole = False
                if whole:
                    if flight.times and data.count(b"\n\n") == 1:
                        flight.times.append(now_s)
                        flight.tail = (flight.tail[1], flight.tail[2], (data, 1))
                    else:
                        flight.see(data, now_s)
                    return
        self._now_s = now_s
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._over(f"the server sent something that is not HTTP: {error}")

    def drop(self) -> None:
        """Nobody wants the answer that is under way."""
        self._flight = None
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        self._client.open.discard(self)
        flight = self._flight
        if flight is None:
            return
        self._flight = None
        if flight.reused and not flight.times and not flight.status:
            self._client.again(flight)
        elif flight.times or self._body:
            self._finish(flight, "the connection was closed in the middle of the answer")
        else:
            flight.end("the connection was closed without an answer")

    # the parser's side

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header came."""
        if name.lower() == b"content-type" and b"event-stream" in value.lower():
            self._streaming = True

    def on_headers_complete(self) -> None:
        """All headers are there."""
        if self._flight is not None:
            self._flight.status = self._parser.get_status_code()
        self._keep = self._parser.should_keep_alive()

    def on_chunk_header(self) -> None:
        """A chunk begins."""
        self._between = False

    def on_chunk_complete(self) -> None:
        """A chunk has ended."""
        self._between = self._streaming

    def on_body(self, body: bytes) -> None:
        """A part of the body came."""
        flight = self._flight
        if flight is None:
            return
        if not self._streaming:
            self._body += body
            if len(self._body) > MOST_BODY_BYTES:
                self._over("the answer is too long")
            return
        data = self._held + body
        if b"\r\n\r\n" in data:
            data = data.replace(b"\r\n", b"\n")
        whole = data.rfind(b"\n\n") + 2
        if whole < 2:
            self._held = data
            return
        self._held = data[whole:]
        flight.see(data[:whole], self._now_s)

    def on_message_complete(self) -> None:
        """The answer is complete."""
        if self._flight is not None and self._flight.status >= 200:
            self._over("")

    def _over(self, problem: str) -> None:
        flight, self._flight = self._flight, None
        self._between = False
        if problem or not self._keep:
            self.transport.abort()
        else:
            self.used = True
            self._client.free(self)
        if flight is not None:
            self._finish(flight, problem)

    def _finish(self, flight: Flight, problem: str) -> None:
        if flight.status != 200:
            said = self._body[:200].decode("utf-8", "replace")
            problem = problem or f"status {flight.status}: {said}"
        elif not self._streaming and not problem:
            # Not a stream: all its tokens came at once.
            flight.see(b"data: " + self._body.replace(b"\n", b" ") + b"\n\n", self._now_s)
        flight.end(problem)
