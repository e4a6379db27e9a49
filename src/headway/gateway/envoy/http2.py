"""gRPC over HTTP/2 (RFC 9113), the server's side: calls in, messages both ways.

grpcio's own server spends more on one message than the scheduler spends on the whole request
(docs/decisions/0024), so the bytes are read here, as those of HTTP/1 are in `headway.http`. Calls
meet their service as objects: `Service(stream)` returns a `Call`, which is told what comes.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol, cast
from urllib.parse import quote

from headway.gateway.envoy.hpack import HeaderError, HeaderReader

_log = logging.getLogger("headway.gateway")

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RESET, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
ENDS, ACK, ENDS_HEADERS, PADDED, HAS_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
NUM_STREAMS_SETTING, WINDOW_SETTING, FRAME_SETTING = 3, 4, 5
PROTOCOL_ERROR, FLOW_ERROR, SIZE_ERROR, REFUSED, COMPRESSION_ERROR = 1, 3, 6, 7, 9

MAX_FRAME_BYTES = 16_384
MAX_BLOCK_BYTES = 65_536  # of headers, in compressed form
FIRST_WINDOW_BYTES = 65_535  # until a peer says otherwise
STREAM_WINDOW_BYTES = 4 * 2**20
CONNECTION_WINDOW_BYTES = 64 * 2**20
MAX_WINDOW_BYTES = 2**31 - 1
PREFIX_BYTES = 5  # of a message: whether it is compressed, and its length

OK, UNKNOWN, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 0, 2, 8, 12, 13, 14

_CONTENT_TYPE = b"\x0f\x10\x10application/grpc"
_ANSWER_BEGINS = b"\x88" + _CONTENT_TYPE  # :status 200
_ENDS_WELL = b"\x00\x0bgrpc-status\x010"


class ProtocolError(Exception):
    """The peer does not speak HTTP/2; ``code`` tells it so."""

    def __init__(self, code: int, why: str) -> None:
        """Say ``why`` in the log."""
        super().__init__(why)
        self.code = code


class Call(Protocol):
    """One call of a client, told what comes of it."""

    def message(self, data: bytes) -> None:
        """A message has come."""
        ...

    def closed(self) -> None:
        """No more will: the client has ended the call, or has gone. Comes once."""
        ...


Service = Callable[["Stream"], Call]


class Stream:
    """One call as a stream of its connection.

    Attributes:
        number: of the stream.
        call: who is told what comes; ``None`` once it is over.
        window_bytes: that the client takes before it grants more.

    """

    __slots__ = ("_begun", "_connection", "_ended", "_unread", "call", "granted_bytes", "number",
                 "unsent", "window_bytes")  # fmt: skip

    def __init__(self, connection: RpcConnection, number: int, window_bytes: int) -> None:
        """Stand for stream ``number`` of ``connection``."""
        self.number = number
        self.call: Call | None = None
        self.window_bytes = window_bytes
        self.granted_bytes = 0  # received since the client was last granted more
        self.unsent: deque[tuple[bytes, bool]] = deque()  # payloads, and whether they are trailers
        self._connection = connection
        self._unread = b""
        self._begun = self._ended = False

    # towards the client

    def send(self, message: bytes) -> None:
        """Send ``message``; a client that has gone gets nothing."""
        if self._ended:
            return
        if not self._begun:
            self._begun = True
            self._connection.write(HEADERS, ENDS_HEADERS, self.number, _ANSWER_BEGINS)
        self._connection.send(self, b"\x00" + len(message).to_bytes(4, "big") + message)

    def finish(self, status: int = OK, why: str = "") -> None:
        """End the call; a ``status`` other than OK says ``why``."""
        if self._ended:
            return
        self._ended = True
        trailers = _ENDS_WELL
        if status:
            text = quote(why[:200]).encode()[:120]
            number = str(status).encode()
            trailers = b"\x00\x0bgrpc-status%c%b" % (len(number), number)
            trailers += b"\x00\x0cgrpc-message%c%b" % (len(text), text)
        if not self._begun:
            trailers = _ANSWER_BEGINS + trailers
        self._connection.send(self, trailers, ends=True)

    # from the client

    def feed(self, data: bytes, max_bytes: int) -> None:
        """Take bytes of messages; each whole one goes to the call."""
        data = self._unread + data if self._unread else data
        at, size = 0, len(data)
        while size - at >= PREFIX_BYTES:
            length = int.from_bytes(data[at + 1 : at + PREFIX_BYTES], "big")
            if data[at] or length > max_bytes:
                why = "compressed messages are not read" if data[at] else "the message is too long"
                self.finish(UNIMPLEMENTED if data[at] else RESOURCE_EXHAUSTED, why)
                self.close()
                return
            end = at + PREFIX_BYTES + length
            if end > size:
                break
            if self.call is not None:
                self._tell(self.call, data[at + PREFIX_BYTES : end])
            at = end
        self._unread = data[at:]

    def _tell(self, call: Call, message: bytes) -> None:
        try:
            call.message(message)
        except Exception:  # one call's exception must not reach another's
            _log.exception("a message of Envoy's could not be answered")
            self.finish(INTERNAL, "the picker failed")

    def close(self) -> None:
        """No more comes from the client."""
        call, self.call = self.call, None
        self._unread = b""
        if call is None:
            return
        try:
            call.closed()
        except Exception:
            _log.exception("the end of a call of Envoy's was not understood")

    def reset(self) -> None:
        """The client wants nothing more."""
        self._ended = True
        self.unsent.clear()
        self.close()


class RpcConnection(asyncio.Protocol):
    """One connection of a gRPC client."""

    def __init__(
        self,
        services: Mapping[bytes, Service],
        connections: set[RpcConnection],
        *,
        max_streams: int,
        max_message_bytes: int,
    ) -> None:
        """Serve ``services``, by path; ``connections`` are the open ones."""
        self._services = services
        self._connections = connections
        self._max_streams = max_streams
        self._max_message_bytes = max_message_bytes

        self._transport: asyncio.Transport
        self._streams: dict[int, Stream] = {}
        self._last_number = 0
        self._headers = HeaderReader()
        self._block: tuple[int, int, bytearray] | None = None  # of headers that go on

        self._unread = b""
        self._greeted = self._broken = False
        self._out: list[bytes] = []
        self._reading = self._flushing = False

        self._window_bytes = FIRST_WINDOW_BYTES
        self._stream_window_bytes = FIRST_WINDOW_BYTES
        self._max_frame_bytes = MAX_FRAME_BYTES
        self._received_bytes = 0  # since the client was last granted more

    # of asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the client."""
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)
        settings = b"".join(
            name.to_bytes(2, "big") + value.to_bytes(4, "big")
            for name, value in (
                (NUM_STREAMS_SETTING, self._max_streams),
                (WINDOW_SETTING, STREAM_WINDOW_BYTES),
            )
        )
        self.write(SETTINGS, 0, 0, settings)
        more = CONNECTION_WINDOW_BYTES - FIRST_WINDOW_BYTES
        self.write(WINDOW, 0, 0, more.to_bytes(4, "big"))

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone, with all its calls."""
        self._connections.discard(self)
        self._broken = True
        streams, self._streams = list(self._streams.values()), {}
        for stream in streams:
            stream.reset()

    def data_received(self, data: bytes) -> None:
        """Take frames."""
        if self._broken:
            return
        self._reading = True
        try:
            self._read(self._unread + data if self._unread else data)
        except (ProtocolError, HeaderError) as error:
            code = error.code if isinstance(error, ProtocolError) else COMPRESSION_ERROR
            self._give_up(code, str(error))
        finally:
            self._reading = False
        self._flush()

    def shut(self) -> None:
        """Take no more calls, and close once what was written is out."""
        if not self._broken:
            self._give_up(0, "")
            self._flush()

    def _give_up(self, code: int, why: str) -> None:
        if why:
            _log.warning("closed a connection of a gRPC client: %s", why)
        self.write(GOAWAY, 0, 0, self._last_number.to_bytes(4, "big") + code.to_bytes(4, "big"))
        self._broken = True

    # frames in

    def _read(self, data: bytes) -> None:
        at, size = 0, len(data)
        if not self._greeted:
            if not data.startswith(PREFACE[:size]):
                raise ProtocolError(PROTOCOL_ERROR, "it does not speak HTTP/2")
            if size < len(PREFACE):
                self._unread = data
                return
            self._greeted, at = True, len(PREFACE)

        while size - at >= 9:
            length = data[at] << 16 | data[at + 1] << 8 | data[at + 2]
            if length > MAX_FRAME_BYTES:
                raise ProtocolError(SIZE_ERROR, f"a frame of {length} bytes")
            begin, end = at + 9, at + 9 + length
            if end > size:
                break
            number = int.from_bytes(data[at + 5 : begin], "big") & MAX_WINDOW_BYTES
            self._frame(data[at + 3], data[at + 4], number, data[begin:end])
            at = end
        self._unread = data[at:]

    def _frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if self._block is not None and (kind != CONTINUATION or number != self._block[0]):
            raise ProtocolError(PROTOCOL_ERROR, "a header block was interrupted")

        if kind == DATA:
            self._data(flags, number, payload)
        elif kind == HEADERS:
            self._block = (number, flags, bytearray(_unpadded(payload, flags)))
            self._block_goes_on(flags, b"")
        elif kind == CONTINUATION:
            self._block_goes_on(flags, payload)
        elif kind == RESET:
            stream = self._streams.pop(number, None)
            if stream is not None:
                stream.reset()
        elif kind == WINDOW:
            self._grant(number, payload)
        elif kind == SETTINGS:
            if not flags & ACK:
                self._settings(payload)
        elif kind == PING:
            if not flags & ACK:
                self.write(PING, ACK, 0, payload)
        elif kind == PUSH:
            raise ProtocolError(PROTOCOL_ERROR, "a client cannot push")

    def _data(self, flags: int, number: int, payload: bytes) -> None:
        # What is taken is granted again, now and then: nothing is kept beyond one message.
        self._received_bytes += len(payload)
        if self._received_bytes >= CONNECTION_WINDOW_BYTES // 4:
            self.write(WINDOW, 0, 0, self._received_bytes.to_bytes(4, "big"))
            self._received_bytes = 0

        stream = self._streams.get(number)
        if stream is None:
            if not number or number > self._last_number:
                raise ProtocolError(PROTOCOL_ERROR, "bytes of a call that was not begun")
            return  # of a call that has ended
        stream.granted_bytes += len(payload)
        if stream.granted_bytes >= STREAM_WINDOW_BYTES // 4 and not flags & ENDS:
            self.write(WINDOW, 0, number, stream.granted_bytes.to_bytes(4, "big"))
            stream.granted_bytes = 0

        if payload:
            stream.feed(_unpadded(payload, flags & ~HAS_PRIORITY), self._max_message_bytes)
        if flags & ENDS:
            stream.close()
            stream.finish()

    def _block_goes_on(self, flags: int, more: bytes) -> None:
        assert self._block is not None
        number, first_flags, block = self._block
        block += more
        if len(block) > MAX_BLOCK_BYTES:
            raise ProtocolError(PROTOCOL_ERROR, "a header block is too long")
        if not flags & ENDS_HEADERS:
            return
        self._block = None
        headers = self._headers.read(bytes(block))

        stream = self._streams.get(number)
        if stream is not None or number <= self._last_number:  # trailers
            if stream is not None:
                stream.close()
                stream.finish()
            return
        if not number % 2:
            raise ProtocolError(PROTOCOL_ERROR, "a client's streams have odd numbers")
        self._last_number = number
        self._open(number, headers, ends=bool(first_flags & ENDS))

    def _open(self, number: int, headers: list[tuple[bytes, bytes]], *, ends: bool) -> None:
        if len(self._streams) >= self._max_streams:
            self.write(RESET, 0, number, REFUSED.to_bytes(4, "big"))
            return
        stream = self._streams[number] = Stream(self, number, self._stream_window_bytes)
        service = self._services.get(next((v for n, v in headers if n == b":path"), b""))
        if service is None:
            stream.finish(UNIMPLEMENTED, "there is no such method")
            return

        stream.call = service(stream)
        if ends:
            stream.close()
            stream.finish()

    def _settings(self, payload: bytes) -> None:
        for at in range(0, len(payload) - 5, 6):
            name = int.from_bytes(payload[at : at + 2], "big")
            value = int.from_bytes(payload[at + 2 : at + 6], "big")
            if name == WINDOW_SETTING:
                if value > MAX_WINDOW_BYTES:
                    raise ProtocolError(FLOW_ERROR, "a window too large")
                for stream in self._streams.values():
                    stream.window_bytes += value - self._stream_window_bytes
                self._stream_window_bytes = value
            elif name == FRAME_SETTING:
                self._max_frame_bytes = max(MAX_FRAME_BYTES, min(value, 2**20))
        self.write(SETTINGS, ACK, 0, b"")
        self._send_unsent()

    def _grant(self, number: int, payload: bytes) -> None:
        more_bytes = int.from_bytes(payload, "big") & MAX_WINDOW_BYTES
        stream = self._streams.get(number)
        if not number:
            self._window_bytes += more_bytes
        elif stream is not None:
            stream.window_bytes += more_bytes

        window_bytes = self._window_bytes if stream is None else stream.window_bytes
        if not more_bytes or window_bytes > MAX_WINDOW_BYTES:
            raise ProtocolError(FLOW_ERROR, "a window that is none")
        self._send_unsent()

    # frames out

    def write(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        """Write one frame, together with others of this turn of the loop."""
        if self._broken:
            return
        head = len(payload).to_bytes(3, "big") + bytes((kind, flags)) + number.to_bytes(4, "big")
        self._out.append(head + payload)
        if not self._reading and not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def send(self, stream: Stream, payload: bytes, *, ends: bool = False) -> None:
        """Send bytes of messages, or trailers, as far as the client's windows allow it."""
        stream.unsent.append((payload, ends))
        if len(stream.unsent) == 1:
            self._send(stream)

    def _send_unsent(self) -> None:
        for stream in [stream for stream in self._streams.values() if stream.unsent]:
            self._send(stream)

    def _send(self, stream: Stream) -> None:
        unsent = stream.unsent
        while unsent:
            payload, ends = unsent[0]
            if ends:
                self.write(HEADERS, ENDS_HEADERS | ENDS, stream.number, payload)
                unsent.clear()
                self._over(stream)
                return

            room_bytes = min(self._window_bytes, stream.window_bytes, self._max_frame_bytes)
            if room_bytes <= 0:
                return
            part = payload[:room_bytes]
            self.write(DATA, 0, stream.number, part)
            self._window_bytes -= len(part)
            stream.window_bytes -= len(part)
            if len(part) == len(payload):
                unsent.popleft()
            else:
                unsent[0] = (payload[room_bytes:], False)

    def _over(self, stream: Stream) -> None:
        """The answer is complete: what the client still says of this call is not wanted."""
        if self._streams.pop(stream.number, None) is not None and stream.call is not None:
            self.write(RESET, 0, stream.number, (0).to_bytes(4, "big"))
            stream.close()

    def _flush(self) -> None:
        self._flushing = False
        if self._out:
            out, self._out = b"".join(self._out), []
            self._transport.write(out)
        if self._broken:
            self._transport.close()


def _unpadded(payload: bytes, flags: int) -> bytes:
    """Return ``payload`` without its padding and its priority."""
    begin, end = 0, len(payload)
    if flags & PADDED:
        begin, end = 1, end - (payload[0] if payload else end + 1)
    if flags & HAS_PRIORITY:
        begin += 5
    if begin > end:
        raise ProtocolError(PROTOCOL_ERROR, "a frame shorter than its padding")
    return payload[begin:end]
