"""What a client is sent of one answer: whole or piece by piece, ended well or with an error."""

from __future__ import annotations

from headway.gateway.framing import LAST_CHUNK, as_chunk
from headway.gateway.incoming import REASONS, Incoming
from headway.gateway.wire import ClientConnection


class Reply:
    """One answer to one client.

    Attributes:
        begun: whether the client was sent anything of it.
        chunked: whether pieces are framed as chunks; a client of HTTP/1.0 is sent them bare.
    """

    __slots__ = ("_connection", "_keep_alive", "begun", "chunked")

    def __init__(self, connection: ClientConnection, incoming: Incoming) -> None:
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
