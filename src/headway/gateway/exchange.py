"""One generating request, from its last byte to its record.

It is queued, then connecting, then sent, then answering, then ended; what happens to it happens in
callbacks of the two connections, without a task of its own. Until the first byte goes to the client
a failing engine can be replaced by another; after it the client is told by an error event.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Protocol

from headway.gateway.answer import Answer
from headway.gateway.backend import Backend
from headway.gateway.config import GatewayConfig
from headway.gateway.foresight import Foreseen
from headway.gateway.tracing import Trace
from headway.http.client import ClientConnection
from headway.http.message import HttpRequest
from headway.http.meter import TokenMeter
from headway.http.openai import GenerationRequest, error_body, error_event, with_priority
from headway.http.server import Reply, ServerConnection
from headway.workload.record import DONE, FAILED, REJECTED
from headway.workload.request import Request

QUEUED, CONNECTING, SENT, ANSWERING, ENDED = range(5)
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


class Exchange(Foreseen):
    """One request on its way.

    Attributes:
        home: the pool it was meant for when it arrived.
        pool: the pool it waits for or runs in.
        pinned: whether the client chose the pool.
        place: the address of the backend that has it, or had it last.
        backend: who has it now.
        sent_s: when it was first sent to an engine.
        active_s: when something last happened, for timeouts.
        answer: the latest attempt of an engine.
        trace: its spans, where they are wanted.
    """

    __slots__ = (
        "_charged", "_connect", "_desk", "_forward", "_paused", "_reply", "_upstream", "active_s",
        "answer", "asked", "attempts", "backend", "connection", "home", "incoming", "phase",
        "pinned", "place", "pool", "priority", "request_id", "sent_s", "tenant", "trace", "tried",
    )  # fmt: skip

    def __init__(
        self, desk: Desk, connection: ServerConnection, incoming: HttpRequest,
        asked: GenerationRequest, request: Request, forward: bytes,
    ) -> None:  # fmt: skip
        """Come into being as ``request`` arrives; ``forward`` are header lines for the engine."""
        super().__init__(request)
        self._desk = desk
        self.connection = connection
        self.incoming = incoming
        self.asked = asked
        self.tenant = request.tenant
        # The client's own name for it, to find it in the queue before the first header comes back.
        self.request_id = incoming.headers.get(b"x-request-id", b"")[:200].decode("latin-1")
        self.priority: int | None = None
        self.home = self.pool = ""
        self.pinned = False
        self.place = ""
        self.backend: Backend | None = None
        self.tried: set[str] = set()
        self.attempts = 0
        self.phase = QUEUED
        self.sent_s: float | None = None
        self.active_s = self.arrival_s
        self._reply = Reply(connection, incoming)
        self.answer = self._new_answer()
        self.trace: Trace | None = None
        self._forward = forward
        self._upstream: ClientConnection | None = None
        self._connect: asyncio.Task[None] | None = None
        self._charged = 0.0
        self._paused = False

    def _new_answer(self) -> Answer:
        return Answer(self, self._reply, self.asked.api, self._desk.config.limits.answer_bytes)

    @property
    def meter(self) -> TokenMeter:
        """The tokens of the latest attempt."""
        return self.answer.meter

    # towards the engine

    def start(self, backend: Backend, fresh: bool = False) -> None:
        """Send it to ``backend``; ``fresh``: over a new connection."""
        self.waits = False
        self.backend = backend
        self.attempts += 1
        if self.attempts > 1:
            self.answer.let_go()
            self.answer = self._new_answer()
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
            self.attempt_failed(f"cannot connect to the backend: {why}", 503)
            return
        if self.phase != CONNECTING:
            connection.cancel()
        else:
            self._send(backend, connection)

    def _send(self, backend: Backend, connection: ClientConnection) -> None:
        self._upstream = connection
        self.phase = SENT
        body = self.incoming.body
        if self.priority is not None:
            body = with_priority(body, self.priority)
        path = self.incoming.path + ("?" + self.incoming.query if self.incoming.query else "")
        lines = self._forward
        if self.trace is not None:
            lines += self.trace.attempt(self)
        connection.send(backend.head(path, len(body), lines), body, self.answer)

    # what comes of it

    def answering(self) -> None:
        """The engine has begun to answer."""
        self.phase = ANSWERING
        self.active_s = monotonic()

    def answered(self, status: int) -> None:
        """The client has all of the answer."""
        ok = status < 400
        self._over(DONE if ok else FAILED, "" if ok else f"backend_{status}", status)

    def attempt_failed(self, why: str, status: int, stale: bool = False) -> None:
        """There will be no more of this answer; ``stale``: over a connection that was old."""
        if self.phase == ENDED:
            return
        self._drop_upstream()
        backend = self.backend
        if stale and not self._reply.begun and backend is not None:
            self._release(undecided=True)
            self.start(backend, fresh=True)
            return
        if backend is not None:
            backend.breaker.failed(monotonic())
            backend.failed += 1
        if not self._reply.begun and self.retry():
            return
        code = {503: "backend_unavailable", 504: "backend_timeout"}.get(status, "backend_failed")
        self._end_failed(why, status, code)

    def retry(self) -> bool:
        """Try another engine; whether there is one."""
        other = self._desk.another(self)
        if other is None:
            return False
        self._release(undecided=True)
        self.start(other)
        return True

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
            self.attempt_failed(why, 504)

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

    def _end_failed(self, why: str, status: int, code: str) -> None:
        self._drop_upstream()
        if self._reply.begun and self.answer.streaming:
            status = 200
        if not self._reply.begun:
            self._fail_to_client(why, status, code, 1.0 if status == 503 else None)
        elif self.answer.streaming and not self.answer.mid_event:
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
        self.answer.let_go()
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
