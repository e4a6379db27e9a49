"""HTTP/1.1 as a client speaks it: one connection, one request at a time, and a pool of them.

httptools takes answers apart, heads and bodies; what it yields goes to a `Receiver` in the order in
which it came, with the time at which its bytes arrived. The clock is read before they are looked
at, so that a load generator can trust it.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Protocol, cast

import httptools

from headway.http.bounds import BOUNDS
from headway.http.message import BrokenAnswerError, is_number
from headway.http.passes import Passes

Headers = list[tuple[bytes, bytes]]


class Receiver(Protocol):
    """Whoever wants an answer."""

    def answer_begins(self, status: int, headers: Headers) -> None:
        """Take the head."""
        ...

    def answer_body(self, data: bytes, now_s: float, is_last: bool) -> None:
        """Take bytes of the body, which arrived at ``now_s`` on the monotonic clock.

        ``is_last`` tells that the answer ends with them, and `answer_ends` follows at once.

        Raises:
            BrokenAnswerError: they are not what they should be; the answer then fails.

        """
        ...

    def answer_ends(self) -> None:
        """The answer is complete."""
        ...

    def answer_fails(self, why: str, stale: bool) -> None:
        """It will never be; ``stale`` if a reused connection was closed before its first byte."""
        ...


class ClientConnection(asyncio.Protocol):
    """One connection to a server.

    Attributes:
        reused: whether it has answered before.
        opened_s: when it was opened, on the monotonic clock.
        idle_since_s: when it was last free.
        on_body: where the parser puts parts of a body.

    """

    __slots__ = (
        "_begins", "_complete", "_headers", "_keep_alive", "_parser", "_parts", "_pool",
        "_quiet_bytes", "_receiver", "_seat", "_status", "_until_close", "idle_since_s",
        "on_body", "opened_s", "reused", "transport",
    )  # fmt: skip

    def __init__(self, pool: ConnectionPool) -> None:
        """Belong to ``pool``; asyncio connects."""
        self._pool = pool
        self._receiver: Receiver | None = None
        self._parts: list[bytes] = []
        # No frame of Python for each part: the parser appends by itself.
        self.on_body = self._parts.append
        self._parser = httptools.HttpResponseParser(self)

        self._status = 0
        self._headers: Headers = []
        self._begins = self._complete = self._until_close = False
        self._keep_alive = True
        self._quiet_bytes = 0
        self._seat: int | None = None  # its socket's number, while it is read in passes
        self.reused = False
        self.opened_s = monotonic()
        self.idle_since_s = 0.0
        self.transport: asyncio.Transport

    def send(self, request: bytes, body: bytes, receiver: Receiver) -> None:
        """Send a request; its answer goes to ``receiver``."""
        self._receiver = receiver
        self._status = 0
        self._begins = self._complete = self._until_close = False
        self._quiet_bytes = 0

        if len(body) < 65_536:
            self.transport.write(request + body)
        else:
            self.transport.writelines((request, body))

    def cancel(self) -> None:
        """Nobody wants the answer: engines stop working when their client goes away."""
        self._receiver = None
        self._abort()

    def take_time(self) -> None:
        """The rest of this answer may wait for company, where the pool reads in passes."""
        passes = self._pool.passes
        if passes is None or passes.is_closed or self._seat is not None or self._complete:
            return
        if not self.transport.is_closing():
            self.transport.pause_reading()
            self._seat = self.transport.get_extra_info("socket").fileno()
            passes.join(self._seat, self)

    def pause(self) -> None:
        """Read no more for now."""
        if not self._leave() and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume(self) -> None:
        """Go on reading."""
        if not self.transport.is_closing():
            self.transport.resume_reading()

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open."""
        self.transport = cast(asyncio.Transport, transport)
        self._pool.opened(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came: read the time, take them apart, and tell the receiver."""
        now_s = monotonic()
        receiver, parts = self._receiver, self._parts
        if receiver is None:
            self._abort()  # a server that speaks without being asked
            return

        problem = ""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            problem = "the backend switched protocols"
        except httptools.HttpParserCallbackError as error:
            problem = str(error.__context__)
        except httptools.HttpParserError as error:
            problem = f"the backend sent something that is not HTTP: {error}"

        # What came before a problem is still told: the receiver knows best what it is worth.
        try:
            if self._begins:
                self._begins = False
                receiver.answer_begins(self._status, self._headers)
            if parts:
                body = parts[0] if len(parts) == 1 else b"".join(parts)
                parts.clear()
                self._quiet_bytes = 0
                if self._receiver is not None:
                    receiver.answer_body(body, now_s, self._complete)
            else:
                self._note_quiet(len(data))
        except BrokenAnswerError as error:
            problem = problem or str(error)

        if problem:
            self._fail(problem)
        elif self._complete and self._receiver is not None:
            self._end()

    def eof_received(self) -> None:
        """Close, too."""

    def reading_ended(self, error: OSError | None) -> None:
        """There will be no more bytes, which a pass has seen first."""
        if error is not None:
            self._fail("the backend closed the connection in the middle of its answer")
            return
        self._leave()
        self.resume()  # the transport sees the end, too

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        self._leave()
        self._pool.lost(self)
        del self._parser  # the two would hold each other until the garbage collector comes
        receiver, self._receiver = self._receiver, None
        if receiver is None:
            return

        if self._until_close and exc is None:
            receiver.answer_ends()
            return
        early = not self._status and not self._quiet_bytes
        where = "before its first byte" if early else "in the middle of its answer"
        receiver.answer_fails(f"the backend closed the connection {where}", early and self.reused)

    # the parser's side

    def on_message_begin(self) -> None:
        """A head begins: of the answer, or of another after one that only informs."""
        if self._complete:
            raise BrokenAnswerError("the backend sent more than its answer")
        self._headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header came; those after the body are not wanted."""
        if not self._status:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is complete."""
        status = self._parser.get_status_code()
        if status < 200:
            return  # it only informs: another head follows

        self._status = status
        self._until_close = _ends_with_connection(status, self._headers)
        self._keep_alive = self._parser.should_keep_alive() and not self._until_close
        self._begins = True

    def on_message_complete(self) -> None:
        """The answer is complete."""
        self._complete = self._status >= 200

    # to the receiver

    def _note_quiet(self, num_bytes: int) -> None:
        self._quiet_bytes += num_bytes
        if self._quiet_bytes > BOUNDS.quiet_bytes:
            raise BrokenAnswerError("the backend's head or trailer is too long")

    def _end(self) -> None:
        receiver, self._receiver = self._receiver, None
        if self._leave():
            self.transport.resume_reading()
        if self._keep_alive:
            self.reused = True
            self._pool.give_back(self)
        else:
            self.transport.close()
        if receiver is not None:
            receiver.answer_ends()

    def _fail(self, why: str) -> None:
        receiver, self._receiver = self._receiver, None
        self._abort()
        if receiver is not None:
            receiver.answer_fails(why, stale=False)

    def _leave(self) -> bool:
        """Be read in passes no more; return whether it was."""
        number, self._seat = self._seat, None
        if number is None or self._pool.passes is None:
            return False
        self._pool.passes.leave(number, self)
        return True

    def _abort(self) -> None:
        self._leave()
        self.transport.abort()


def _ends_with_connection(status: int, headers: Headers) -> bool:
    """Whether only the connection's end tells the body's (RFC 9112, section 6.3).

    Raises:
        BrokenAnswerError: the head says it twice, or in a coding that is not known.

    """
    lengths: set[bytes] = set()
    is_chunked = False
    for name, value in headers:
        lower = name.lower()
        if lower == b"content-length":
            lengths.add(value.strip())
        elif lower == b"transfer-encoding":
            if value.strip().lower() != b"chunked" or is_chunked:
                raise BrokenAnswerError("the backend used an unknown transfer encoding")
            is_chunked = True

    if len(lengths) + is_chunked > 1:
        raise BrokenAnswerError("the backend said twice how long its answer is")
    return not lengths and not is_chunked and status not in (204, 304)


class ConnectionPool:
    """The connections to one server, used again while they are fresh.

    Attributes:
        connections: those that are open, in use or free.
        passes: in which the rest of answers may be read; ``None`` to read all at once.

    """

    def __init__(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None = None,
        *,
        name: str = "",
        idle_s: float = BOUNDS.kept_s,
        max_idle: int = BOUNDS.num_idle,
        renew_s: float = BOUNDS.renew_s,
        passes: Passes | None = None,
    ) -> None:
        """Open nothing yet; ``name`` is what a certificate must say, ``host`` by default."""
        self._host = host
        self._port = port
        self._tls = tls
        self.passes = passes if tls is None else None  # what a socket has is no bytes of an answer
        self._name = (name or host) if tls is not None else None
        self._idle_s = idle_s
        self._max_idle = max_idle
        # A number stays where it is; a name is resolved anew for every connection.
        self._renew_s = math.inf if is_number(host) else renew_s
        self._closed = False
        self._idle: dict[ClientConnection, None] = {}  # the one used last at the end
        self.connections: set[ClientConnection] = set()

    @property
    def num_open(self) -> int:
        """Connections that are open, in use or free."""
        return len(self.connections)

    @property
    def num_idle(self) -> int:
        """Connections that are free."""
        return len(self._idle)

    def idle(self) -> ClientConnection | None:
        """Return the free connection that was used last, ``None`` if there is none."""
        now_s = monotonic()
        while self._idle:
            connection, _ = self._idle.popitem()
            if connection.transport.is_closing():
                continue
            if now_s - connection.idle_since_s > self._idle_s:
                connection.transport.close()  # servers close idle ones without a word
                continue
            return connection
        return None

    async def open(self, timeout_s: float = math.inf) -> ClientConnection:
        """Open a connection; raise `OSError` or `TimeoutError` if there is none to be had."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(None if timeout_s == math.inf else timeout_s):
            _, connection = await loop.create_connection(
                lambda: ClientConnection(self),
                self._host,
                self._port,
                ssl=self._tls,
                server_hostname=self._name,
            )
        return connection

    def opened(self, connection: ClientConnection) -> None:
        """Count a connection that is open."""
        self.connections.add(connection)

    def give_back(self, connection: ClientConnection) -> None:
        """Keep ``connection`` for the next request."""
        now_s = monotonic()
        has_room = len(self._idle) < self._max_idle and not self._closed
        is_young = now_s - connection.opened_s < self._renew_s
        if has_room and is_young and not connection.transport.is_closing():
            connection.idle_since_s = now_s
            self._idle[connection] = None
        else:
            connection.transport.close()

    def lost(self, connection: ClientConnection) -> None:
        """Forget a connection that is closed."""
        self.connections.discard(connection)
        self._idle.pop(connection, None)

    def close(self) -> None:
        """Close what is free now, and the others once they are."""
        self._closed = True
        while self._idle:
            self._idle.popitem()[0].transport.close()


@dataclass(frozen=True, slots=True)
class WholeAnswer:
    """An answer that was read to its end."""

    status: int
    body: bytes


@dataclass(slots=True, eq=False)
class _Reader:
    """Receives a whole answer of at most ``max_bytes``."""

    max_bytes: int
    answer: asyncio.Future[WholeAnswer]
    status: int = 0
    parts: list[bytes] = field(default_factory=list)
    num_bytes: int = 0

    def answer_begins(self, status: int, headers: Headers) -> None:
        self.status = status

    def answer_body(self, data: bytes, now_s: float, is_last: bool) -> None:
        self.num_bytes += len(data)
        if self.num_bytes > self.max_bytes:
            raise BrokenAnswerError(f"the answer is longer than {self.max_bytes} bytes")
        self.parts.append(data)

    def answer_ends(self) -> None:
        if not self.answer.done():
            self.answer.set_result(WholeAnswer(self.status, b"".join(self.parts)))

    def answer_fails(self, why: str, stale: bool) -> None:
        if not self.answer.done():
            self.answer.set_exception(BrokenAnswerError(why))


async def fetch(
    pool: ConnectionPool,
    path: str,
    header_lines: Sequence[str],
    *,
    timeout_s: float,
    max_bytes: int = BOUNDS.fetched_bytes,
) -> WholeAnswer:
    """Get ``path`` over a connection of its own and return the whole answer.

    Raises:
        OSError: nobody listens there, or `TimeoutError`: not in time.
        BrokenAnswerError: what came is no answer, or it is longer than ``max_bytes``.

    """
    async with asyncio.timeout(timeout_s):
        connection = await pool.open()
        try:
            lines = [f"GET {path} HTTP/1.1", *header_lines, "Connection: close", "", ""]
            answer: asyncio.Future[WholeAnswer] = asyncio.get_running_loop().create_future()
            connection.send("\r\n".join(lines).encode(), b"", _Reader(max_bytes, answer))
            return await answer
        finally:
            connection.cancel()
