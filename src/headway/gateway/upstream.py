"""A connection to an engine: its answers taken apart, and closed as soon as nobody wants one.

An answer's bytes go to the client as they came wherever they came whole; see `framing`.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

import httptools

from headway.gateway.framing import (
    LAST_CHUNK,
    MOST_HEAD_BYTES,
    BrokenAnswerError,
    ChunkedBody,
    whole_chunks,
)

HIGH_WATER_BYTES = 1 << 20


class Receiver(Protocol):
    """Whoever wants the answer."""

    def answer_begins(self, status: int, headers: list[tuple[bytes, bytes]]) -> bool:
        """The head came; returns whether the bytes of whole chunks are wanted as they are."""
        ...

    def answer_raw(self, data: bytes) -> None:
        """Exactly one whole chunk, framing included, that ends with the end of an event."""
        ...

    def answer_body(self, data: bytes) -> None:
        """Bytes of the body."""
        ...

    def answer_ends(self) -> None:
        """The answer is complete."""
        ...

    def answer_fails(self, why: str, stale: bool) -> None:
        """It will never be; ``stale`` if a reused connection was closed before its first byte."""
        ...


class Owner(Protocol):
    """Who keeps connections."""

    def made(self, connection: Connection) -> None:
        """It is open."""
        ...

    def give_back(self, connection: Connection) -> None:
        """It may be used again."""
        ...

    def lost(self, connection: Connection) -> None:
        """It is closed."""
        ...


class Connection(asyncio.Protocol):
    """One connection to an engine."""

    __slots__ = (
        "_chunks", "_head", "_headers", "_left", "_owner", "_raw", "_receiver", "_status",
        "_until_close", "idle_since_s", "reused", "transport",
    )  # fmt: skip

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._receiver: Receiver | None = None
        self._head: bytes | None = None  # what came of a head that is not complete
        self._headers: list[tuple[bytes, bytes]] = []
        self._status = 0
        self._chunks: ChunkedBody | None = None
        self._left = -1
        self._until_close = False
        self._raw = False
        self.reused = False
        self.idle_since_s = 0.0
        self.transport: asyncio.Transport

    def send(self, request: bytes, body: bytes, receiver: Receiver) -> None:
        """Send a request; its answer goes to ``receiver``."""
        self._receiver = receiver
        self._head = b""
        self._raw = False
        if len(body) < 65_536:
            self.transport.write(request + body)
        else:
            self.transport.writelines((request, body))

    def cancel(self) -> None:
        """Nobody wants the answer: engines stop working when their client goes away."""
        self._receiver = None
        self.transport.abort()

    def pause(self) -> None:
        """Read no more for now."""
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume(self) -> None:
        """Go on reading."""
        if not self.transport.is_closing():
            self.transport.resume_reading()

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        self._owner.made(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        chunks = self._chunks
        if self._raw and chunks is not None and chunks.between:
            # The usual case of a stream: whole chunks, which hold whole events.
            whole = whole_chunks(data)
            if whole and data.endswith(b"\n\n\r\n" if whole == len(data) else b"\r\n0\r\n\r\n"):
                assert self._receiver is not None  # an answer is under way
                try:
                    if whole == len(data):
                        self._receiver.answer_raw(data)
                    elif data[whole:] == LAST_CHUNK and data[whole - 4 : whole] == b"\n\n\r\n":
                        self._receiver.answer_raw(data[:whole])
                        if self._receiver is not None:
                            self._end()
                    else:
                        self._take_body(data)
                except BrokenAnswerError as error:
                    self._fail(str(error))
                return
        try:
            if self._head is not None:
                self._take_head(self._head + data)
            elif self._receiver is None:
                self.transport.abort()  # an engine that speaks without being asked
            else:
                self._take_body(data)
        except BrokenAnswerError as error:
            self._fail(str(error))

    def eof_received(self) -> None:
        """Close, too."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        self._owner.lost(self)
        receiver = self._receiver
        if receiver is None:
            return
        self._receiver = None
        if self._until_close and self._head is None and exc is None:
            receiver.answer_ends()
        else:
            early = self._head == b""
            what = "before its first byte" if early else "in the middle of its answer"
            receiver.answer_fails(
                f"the backend closed the connection {what}", early and self.reused
            )

    # the answer

    def _take_head(self, data: bytes) -> None:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            if len(data) > MOST_HEAD_BYTES or not b"HTTP/1."[: len(data)] == data[:7]:
                raise BrokenAnswerError("the backend sent something that is not HTTP/1.1")
            self._head = data
            return
        head, rest = data[: end + 4], data[end + 4 :]
        self._headers = []
        # Not kept: the two would hold each other until the garbage collector comes.
        parser = httptools.HttpResponseParser(self)
        try:
            parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            raise BrokenAnswerError("the backend switched protocols") from None
        except httptools.HttpParserError as error:
            raise BrokenAnswerError(
                f"the backend sent something that is not HTTP: {error}"
            ) from None
        self._status = parser.get_status_code()
        if 100 <= self._status < 200:
            self._head = b""
            if rest:
                self._take_head(rest)
            return
        self._head = None
        self._frame()
        assert self._receiver is not None  # checked by data_received
        wants_raw = self._receiver.answer_begins(self._status, self._headers)
        self._raw = wants_raw and self._chunks is not None
        if self._left == 0:
            self._end()
        elif rest:
            self._take_body(rest)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header of the answer (called by the parser)."""
        self._headers.append((name, value))

    def _frame(self) -> None:
        """Find out how the body's end is told (RFC 9112, section 6.3)."""
        self._chunks, self._left, self._until_close = None, -1, False
        lengths, coded = set(), False
        for name, value in self._headers:
            lower = name.lower()
            if lower == b"content-length":
                lengths.add(value.strip())
            elif lower == b"transfer-encoding":
                if value.strip().lower() != b"chunked" or coded:
                    raise BrokenAnswerError("the backend used an unknown transfer encoding")
                coded = True
        if (coded and lengths) or len(lengths) > 1:
            raise BrokenAnswerError("the backend said twice how long its answer is")
        if self._status in (204, 304):
            self._left = 0
        elif coded:
            self._chunks = ChunkedBody()
        elif lengths:
            text = lengths.pop()
            if not text.isdigit() or len(text) > 15:
                raise BrokenAnswerError("the backend sent a Content-Length that is no number")
            self._left = int(text)
        else:
            self._until_close = True

    def _take_body(self, data: bytes) -> None:
        receiver = self._receiver
        assert receiver is not None  # an answer is under way
        if self._chunks is not None:
            body = self._chunks.feed(data)
            if body:
                receiver.answer_body(body)
            if self._chunks.ended and self._receiver is not None:
                self._end()
            return
        if self._left >= 0:
            if len(data) > self._left:
                raise BrokenAnswerError("the backend sent more than it announced")
            self._left -= len(data)
        receiver.answer_body(data)
        if self._left == 0 and self._receiver is not None:
            self._end()

    def _end(self) -> None:
        receiver, self._receiver = self._receiver, None
        keep = not self._until_close and not any(
            name.lower() == b"connection" and value.strip().lower() == b"close"
            for name, value in self._headers
        )
        self._chunks, self._raw = None, False
        if keep:
            self._owner.give_back(self)
        else:
            self.transport.close()
        if receiver is not None:
            receiver.answer_ends()

    def _fail(self, why: str) -> None:
        receiver, self._receiver = self._receiver, None
        self.transport.abort()
        if receiver is not None:
            receiver.answer_fails(why, stale=False)
