"""One generating request, from its last byte to its record.

It is queued, then connecting, then sent, then answering, then ended; what happens to it happens in
callbacks of the two connections, without a task of its own. Until the first byte goes to the client
a failing engine can be replaced by another; after it the client is told by an error event.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Protocol

from headway.gateway.asked import Asked, error_body, error_event, is_error_body, with_priority
from headway.gateway.backend import Backend
from headway.gateway.config import GatewayConfig
from headway.gateway.framing import MOST_HELD_BYTES, BrokenAnswerError, whole_events
from headway.gateway.meter import Meter
from headway.gateway.reply import Reply
from headway.gateway.upstream import Connection
from headway.gateway.waiting import Ticket
from headway.gateway.wire import ClientConnection, Incoming
from headway.metrics.record import DONE, FAILED, REJECTED
from headway.workload.request import Request

QUEUED, CONNECTING, SENT, ANSWERING, ENDED = range(5)
RETRIED = frozenset({408, 429, 500, 502, 503, 504})
HOP_BY_HOP = frozenset({
    b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding",
    b"upgrade", b"content-length",
})  # fmt: skip
JSON_HEADERS = b"Content-Type: application/json\r\n"


class Desk(Protocol):
    """The gateway, as one of its requests sees it."""

    @property
    def config(self) -> GatewayConfig:
        """What holds now."""
        ...

    def another(self, exchange: Exchange) -> Backend | None:
        """A backend for one more attempt."""
        ...

    def released(self) -> None:
        """A backend has room again."""
        ...

    def ended(self, exchange: Exchange, status: str, reason: str, code: int | None) -> None:
        """It is over: write it down."""
        ...

    def predict_late(self) -> None:
        """Predict whoever was started without a prediction."""
        ...

    def spawn(self, exchange: Exchange) -> asyncio.Task[None]:
        """Run `Exchange.connect`."""
        ...


class Exchange(Ticket):
    """One request on its way.

    Attributes:
        request: as predictors and policies see it.
        expected_tokens: the mean of its prediction; a guess until there is one.
        home: the pool it was meant for when it arrived.
        pool: the pool it waits for or runs in.
        pinned: whether the client chose the pool.
        place: the address of the backend that has it, or had it last.
        backend: who has it now.
        sent_s: when it was first sent to an engine.
        active_s: when something last happened, for timeouts.
    """

    __slots__ = (
        "_buffered", "_charged", "_connect", "_desk", "_forward", "_held", "_length", "_paused",
        "_reply", "_status", "_streaming", "_upstream", "active_s", "asked", "attempts", "backend",
        "connection", "expected_tokens", "headers", "home", "incoming", "meter", "p50_tokens",
        "p90_tokens", "phase", "pinned", "place", "pool", "priority", "request", "request_id",
        "sent_s", "tenant", "tried",
    )  # fmt: skip

    def __init__(
        self, desk: Desk, connection: ClientConnection, incoming: Incoming, asked: Asked,
        request: Request, forward: bytes,
    ) -> None:  # fmt: skip
        """Come into being as ``request`` arrives; ``forward`` are header lines for the engine."""
        super().__init__(request.arrival_s, lane=request.tenant)
        self._desk = desk
        self.connection = connection
        self.incoming = incoming
        self.asked = asked
        self.request = request
        self.tenant = request.tenant
        # The client's own name for it, to find it in the queue before the first header comes back.
        self.request_id = incoming.headers.get(b"x-request-id", b"")[:200].decode("latin-1")
        self.p50_tokens: float | None = None
        self.p90_tokens: float | None = None
        self.priority: int | None = None
        self.expected_tokens = 256.0
        self.home = self.pool = ""
        self.pinned = False
        self.place = ""
        self.backend: Backend | None = None
        self.tried: set[str] = set()
        self.attempts = 0
        self.phase = QUEUED
        self.sent_s: float | None = None
        self.active_s = self.arrival_s
        self.meter = Meter(asked.api)
        self._forward = forward
        self._reply = Reply(connection, incoming)
        self._upstream: Connection | None = None
        self._connect: asyncio.Task[None] | None = None
        self._charged = 0.0
        self._paused = False
        self._reset()

    def _reset(self) -> None:
        self._status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self._streaming = False
        self._buffered: list[bytes] = []
        self._length = 0
        self._held = b""  # an event that is not complete

    # towards the engine

    def start(self, backend: Backend, fresh: bool = False) -> None:
        """Send it to ``backend``; ``fresh``: over a new connection."""
        self.waits = False
        self.backend = backend
        self.attempts += 1
        self.tried.add(backend.endpoint.url)
        backend.inflight += 1
        self._charged = self.expected_tokens
        backend.predicted_tokens += self._charged
        self.place = backend.endpoint.url
        backend.breaker.sent()
        self.active_s = monotonic()
        if self.sent_s is None:
            self.sent_s = self.active_s
        connection = None if fresh else backend.connections.idle()
        if connection is None:
            self.phase = CONNECTING
            self._connect = self._desk.spawn(self)
        else:
            self._send(backend, connection)

    async def connect(self) -> None:
        """Open a connection to the chosen backend, then send."""
        backend = self.backend
        assert backend is not None  # chosen by start
        try:
            connection = await backend.connections.open(self._desk.config.timeouts.connect_s)
        except (OSError, TimeoutError) as error:
            why = str(error) or type(error).__name__
            self._attempt_failed(f"cannot connect to the backend: {why}", 503)
            return
        if self.phase != CONNECTING:
            connection.cancel()
        else:
            self._send(backend, connection)

    def _send(self, backend: Backend, connection: Connection) -> None:
        self._upstream = connection
        self.phase = SENT
        body = self.incoming.body
        if self.priority is not None:
            body = with_priority(body, self.priority)
        path = self.incoming.path + ("?" + self.incoming.query if self.incoming.query else "")
        connection.send(backend.head(path, len(body), self._forward), body, self)

    # from the engine

    def answer_begins(self, status: int, headers: list[tuple[bytes, bytes]]) -> bool:
        """Take the head of the engine's answer."""
        self.phase = ANSWERING
        self.active_s = monotonic()
        self._status = status
        self.headers = [pair for pair in headers if pair[0].lower() not in HOP_BY_HOP]
        self._streaming = status == 200 and any(
            name.lower() == b"content-type" and value.lower().startswith(b"text/event-stream")
            for name, value in headers
        )
        return self._streaming and self.incoming.version == "1.1"

    def answer_raw(self, data: bytes) -> None:
        """Take whole chunks that hold whole events."""
        self.active_s = now_s = monotonic()
        if self._held:  # cannot be in order with what is held back
            raise BrokenAnswerError("the backend cut its events strangely")
        self.meter.see(data, now_s)
        self._send_on(data)

    def answer_body(self, data: bytes) -> None:
        """Take bytes of the body."""
        self.active_s = monotonic()
        if self._streaming:
            data = self._held + data
            whole = whole_events(data)
            if not whole and len(data) > MOST_HELD_BYTES:
                whole = len(data)
            self._held = data[whole:]
            if whole:
                self._pass_on(data[:whole])
            return
        self._buffered.append(data)
        self._length += len(data)
        if self._length > self._desk.config.limits.answer_bytes:
            self._pass_through()

    def answer_ends(self) -> None:
        """The engine's answer is complete."""
        if self._streaming:
            self._end_stream()
        elif self._reply.begun:
            self._pass_through()
            self.meter.first_s = self.meter.last_s = monotonic()
            self._reply.finish()
            self._over(DONE, "", self._status)
        else:
            self._end_whole(b"".join(self._buffered))

    def answer_fails(self, why: str, stale: bool) -> None:
        """The engine's answer will never be complete."""
        self._upstream = None
        if self._streaming and self._reply.begun:
            self.meter.end_stream()
            if self.meter.finished:  # all was said before the connection went
                self._end_stream()
                return
        if stale and not self._reply.begun and self.backend is not None:
            backend = self.backend
            self._release(undecided=True)
            self._reset()
            self.start(backend, fresh=True)
            return
        self._attempt_failed(why, 502)

    # towards the client

    def _pass_on(self, events: bytes) -> None:
        self.meter.see(events, monotonic())
        self._send_on(self._reply.framed(events))

    def _send_on(self, framed: bytes) -> None:
        if self._reply.begun:
            self._reply.piece(framed)
        elif self._reply.begin(self._status, self._header_lines(), framed):
            self.client_full()

    def _pass_through(self) -> None:
        """An answer too long to hold: pass it on as it comes."""
        data = b"".join(self._buffered)
        self._buffered = []
        self._send_on(self._reply.framed(data))

    def _end_stream(self) -> None:
        if self._held.strip():  # an engine that forgets the last empty line
            held, self._held = self._held, b""
            try:
                self._pass_on(held + b"\n\n")
            except BrokenAnswerError as error:
                self._attempt_failed(str(error), 502)
                return
        self.meter.end_stream()
        if not self.meter.finished:
            self._attempt_failed("the backend ended its answer early", 502)
            return
        if not self._reply.begun:
            self._attempt_failed("the backend sent an empty stream", 502)
            return
        self._reply.finish()
        self._over(DONE, "", 200)

    def _end_whole(self, body: bytes) -> None:
        if self._status in RETRIED and self._retry():
            return
        if self._status == 200 and not self.meter.whole(body, monotonic()):
            self._attempt_failed("the backend's answer is not JSON", 502)
            return
        if 300 <= self._status < 400:
            self._attempt_failed(f"the backend answered with a redirection ({self._status})", 502)
            return
        if self._status >= 400 and not is_error_body(body):
            said = body[:300].decode("utf-8", "replace").strip() or "nothing"
            kind = "server_error" if self._status >= 500 else "invalid_request_error"
            body = error_body(f"the backend said: {said}", kind, "backend_error")
            self.headers = [h for h in self.headers if h[0].lower() == b"retry-after"]
            self.headers.append((b"Content-Type", b"application/json"))
        self._reply.whole(self._status, self._header_lines(), body)
        ok = self._status < 400
        self._over(DONE if ok else FAILED, "" if ok else f"backend_{self._status}", self._status)

    def _header_lines(self) -> bytes:
        lines = [b"%b: %b\r\n" % pair for pair in self.headers]
        return b"".join(lines) + self.own_headers()

    def own_headers(self) -> bytes:
        """What the gateway says about the request."""
        waited_s = (self.sent_s if self.sent_s is not None else monotonic()) - self.arrival_s
        if self.p50_tokens is None and self.phase != QUEUED:
            self._desk.predict_late()
        place = self.pool.encode("utf-8", "replace") if self.pool else b"-"
        text = b"x-headway-id: %b\r\nx-headway-queue-ms: %.3f\r\nx-headway-pool: %b\r\n" % (
            self.request.id.encode(), 1e3 * waited_s, place,
        )  # fmt: skip
        if self.pool != self.home:
            text += b"x-headway-offloaded-from: %b\r\n" % self.home.encode("utf-8", "replace")
        if self.p50_tokens is not None and self.p90_tokens is not None:
            text += b"x-headway-predicted-tokens: p50=%.0f, p90=%.0f\r\n" % (
                self.p50_tokens, self.p90_tokens,
            )  # fmt: skip
        return text

    # ends

    def refuse(self, status: int, message: str, code: str, retry_s: float | None = None) -> None:
        """End it before it reached an engine."""
        self._fail_to_client(message, status, code, retry_s)
        self._over(REJECTED, code, status)

    def time_out(self, why: str, code: str) -> None:
        """End it because a phase lasted too long."""
        if self.phase == QUEUED:
            self.refuse(503, why, code, retry_s=5.0)
        elif self._paused:
            self._reply.cut_off()  # the connection's `connection_lost` ends the exchange
        else:
            self._attempt_failed(why, 504)

    def shut(self) -> None:
        """End it because the gateway stops."""
        self.tried = set()
        self._end_failed("the gateway is shutting down", 503, "shutting_down")

    def client_gone(self) -> None:
        """The client has disconnected."""
        if self.phase == ENDED:
            return
        stalled = self._paused
        self._drop_upstream()
        self._release(undecided=True)
        self._over(FAILED, "client_stalled" if stalled else "client_disconnected", None)

    def client_full(self) -> None:
        """The client reads more slowly than it is sent to."""
        if self._upstream is not None and not self._paused:
            self._paused = True
            self._upstream.pause()

    def client_ready(self) -> None:
        """The client has caught up."""
        if self._paused:
            self._paused = False
            self.active_s = monotonic()
            if self._upstream is not None:
                self._upstream.resume()

    def _attempt_failed(self, why: str, status: int) -> None:
        if self.phase == ENDED:
            return
        self._drop_upstream()
        if self.backend is not None:
            self.backend.breaker.failed(monotonic())
            self.backend.failed += 1
        if not self._reply.begun and self._retry():
            return
        code = {503: "backend_unavailable", 504: "backend_timeout"}.get(status, "backend_failed")
        self._end_failed(why, status, code)

    def _retry(self) -> bool:
        """Try another backend; whether there is one."""
        other = self._desk.another(self)
        if other is None:
            return False
        self._release(undecided=True)
        self._reset()
        self.meter = Meter(self.asked.api)
        self.start(other)
        return True

    def _end_failed(self, why: str, status: int, code: str) -> None:
        self._drop_upstream()
        if self._reply.begun and self._streaming:
            status = 200
        if not self._reply.begun:
            self._fail_to_client(why, status, code, 1.0 if status == 503 else None)
        elif self._streaming:
            # The stream must not look complete: an event says so, and no [DONE] follows.
            self._reply.piece(self._reply.framed(error_event(self.asked.api, why, code)))
            self._reply.finish(complete=False)
        else:
            self._reply.cut_off()
        self._over(FAILED, code, status)

    def _fail_to_client(self, why: str, status: int, code: str, retry_s: float | None) -> None:
        kind = "rate_limit_error" if status == 429 else "server_error"
        after = b"Retry-After: %d\r\n" % max(1, round(retry_s)) if retry_s is not None else b""
        headers = JSON_HEADERS + after + self.own_headers()
        self._reply.whole(status, headers, error_body(why, kind, code))

    def _over(self, status: str, reason: str, code: int | None) -> None:
        self.phase = ENDED
        if self.connection.exchange is self:
            self.connection.exchange = None
        if self._paused and self._upstream is not None:
            self._upstream.resume()
        self._upstream = None
        self._release(undecided=status != DONE)
        self._desk.ended(self, status, reason, code)

    def _drop_upstream(self) -> None:
        if self._upstream is not None:
            upstream, self._upstream = self._upstream, None
            upstream.cancel()
        if self._connect is not None and self.phase == CONNECTING:
            connect, self._connect = self._connect, None
            if connect is not asyncio.current_task():
                connect.cancel()

    def _release(self, undecided: bool) -> None:
        backend = self.backend
        if backend is None:
            return
        self.backend = None
        backend.inflight -= 1
        backend.predicted_tokens = max(0.0, backend.predicted_tokens - self._charged)
        if undecided:
            backend.breaker.undecided()
        else:
            backend.breaker.worked()
            backend.served += 1
        self._desk.released()
