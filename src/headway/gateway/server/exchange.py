"""One generating request on its way through the server, from its last byte to its record.

It is queued, then connecting, then sent, then answering, then ended; what happens to it happens in
callbacks of the two connections, without a task of its own. Until the first byte goes to the client
a failing engine can be replaced by another; after it the client is told by an error event.

Each part has a life of its own: the request as it was received never changes; the scheduler's
`QueuedRequest` says where it waits; an `Attempt` is one engine's try; an `Answer` is what comes of
that; the exchange leads from one to the next.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from time import monotonic

from headway.gateway.scheduler.engine import EngineState
from headway.gateway.scheduler.place import Place
from headway.gateway.scheduler.queued import Outcome, QueuedRequest, Refusal
from headway.gateway.scheduler.scheduler import Scheduler
from headway.gateway.server.answer import Answer
from headway.gateway.server.backend import Backend, Backends
from headway.gateway.server.passing import PassedAnswer
from headway.gateway.server.tracing import Trace
from headway.http.bounds import BOUNDS
from headway.http.client import ClientConnection
from headway.http.message import HttpRequest
from headway.http.openai import (
    error_event,
    with_arguments,
    with_model,
    with_priority,
)
from headway.http.server import Reply, ServerConnection
from headway.schedule.hints import PREFIX, hints_of
from headway.workload.record import DONE, FAILED, REJECTED

QUEUED, CONNECTING, SENT, ANSWERING, ENDED = range(5)
OVERLOADED = (502, 503, 504)
_log = logging.getLogger("headway.gateway")
FAILURE_CODES = {503: "backend_unavailable", 504: "backend_timeout"}


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request for an engine as it came in.

    Attributes:
        http: as it came off the wire.
        forward: header lines that go on to an engine.
        forwards_key: whether the client's own key is among them.

    """

    http: HttpRequest
    forward: bytes
    forwards_key: bool = False


class Attempt:
    """One engine's try at an answer: its place in the engine, and the connection to it.

    Attributes:
        backend: the engine.
        place: in it.
        answer: what comes of it.
        connection: over which it was sent; ``None`` before, and once it is over.
        began_s: when it began, on the monotonic clock.

    """

    __slots__ = ("_connecting", "answer", "backend", "began_s", "connection", "place")

    def __init__(self, backend: Backend, queued: QueuedRequest, answer: Answer) -> None:
        """Take a place in ``backend`` for ``queued``; ``answer`` is what comes of it."""
        self.backend = backend
        self.place = Place(
            backend.state, tokens=queued.expected_tokens, prompt_tokens=queued.prefill_tokens
        )
        self.answer = answer
        self.connection: ClientConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self.began_s = monotonic()

    def connect(self, task: asyncio.Task[None]) -> None:
        """``task`` opens its connection."""
        self._connecting = task

    def drop(self) -> None:
        """Nobody wants its answer any more: the engine stops working for it."""
        if self.connection is not None:
            connection, self.connection = self.connection, None
            connection.cancel()
        task, self._connecting = self._connecting, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()


class Exchange:
    """One request and its answer.

    Attributes:
        received: the request as it came.
        queued: the request as the scheduler knows it.
        phase: where it is.
        active_s: when something last happened, for timeouts.
        trace: its spans, where they are wanted.

    """

    __slots__ = (
        "_attempt", "_backends", "_client", "_paused", "_reply", "_scheduler", "active_s", "phase",
        "queued", "received", "trace",
    )  # fmt: skip

    def __init__(
        self,
        scheduler: Scheduler,
        backends: Backends,
        client: ServerConnection,
        received: ReceivedRequest,
        queued: QueuedRequest,
    ) -> None:
        """Answer ``received``, which ``client`` has sent, when it is the turn of ``queued``."""
        self._scheduler = scheduler
        self._backends = backends
        self._client = client
        self.received = received
        self.queued = queued
        queued.carrier = self

        self._reply = Reply(client, received.http)
        self._attempt: Attempt | None = None
        self._paused = False
        self.phase = QUEUED
        self.active_s = queued.arrival_s
        self.trace: Trace | None = None

    # towards the engine

    def start(self, engine: EngineState) -> None:
        """Send it to ``engine``; what goes wrong with that is this request's alone."""
        try:
            self._start(self._backends[engine.url], fresh_connection=False)
        except Exception:
            _log.exception("cannot send request %s", self.queued.request.id)
            self.give_up()

    def _start(self, backend: Backend, *, fresh_connection: bool) -> None:
        if self._attempt is not None:
            self._attempt.answer.detach()
        max_bytes = self._scheduler.config.limits.answer_bytes
        kind = Answer if self.queued.generates else PassedAnswer
        answer = kind(self, self._reply, self.queued.api, max_bytes)
        attempt = self._attempt = Attempt(backend, self.queued, answer)

        self.active_s = monotonic()
        self.queued.note_attempt(backend.state, self.active_s)
        connection = None if fresh_connection else backend.connections.idle()
        if connection is None:
            self.phase = CONNECTING
            attempt.connect(asyncio.get_running_loop().create_task(self._connect(attempt)))
        else:
            self._send(attempt, connection)

    async def _connect(self, attempt: Attempt) -> None:
        """Open a connection to the engine of ``attempt``, then send."""
        timeout_s = self._scheduler.config.timeouts.connect_s
        try:
            connection = await attempt.backend.connections.open(timeout_s)
        except (OSError, TimeoutError) as error:
            self._unreachable(attempt, str(error) or type(error).__name__)
            return

        if self.phase != CONNECTING or attempt is not self._attempt:
            connection.cancel()
        else:
            self._send(attempt, connection)

    def _unreachable(self, attempt: Attempt, why: str) -> None:
        """Nobody listens there: the engine is down until it is seen to be back."""
        if self.phase != CONNECTING or attempt is not self._attempt:
            return
        _log.info("cannot connect to %s: %s", attempt.backend.state.url, why)
        attempt.backend.state.note_health(is_good=False, now_s=monotonic())
        attempt.backend.doubt()
        if self.retry():
            return
        self._release(attempt)
        self._attempt = None
        attempt.answer.detach()
        self.phase = QUEUED
        self._scheduler.dispatcher.wait_again(self.queued)

    def _send(self, attempt: Attempt, connection: ClientConnection) -> None:
        attempt.connection = connection
        self.phase = SENT
        http = self.received.http

        body = self._body(attempt.backend)
        path = f"{http.path}?{http.query}" if http.query else http.path
        lines = self.received.forward
        if self.trace is not None:
            lines += self.trace.attempt(attempt.backend.state.url, self.active_s)
        head = attempt.backend.head(path, len(body), lines, method=http.method)
        connection.send(head, body, attempt.answer)

    def _body(self, backend: Backend) -> bytes:
        """Return the body as ``backend`` is sent it: the client's, with what is ours at its end."""
        queued, body = self.queued, self.received.http.body
        if queued.is_renamed:
            body = with_model(body, queued.request.model)
        if queued.priority is not None:
            body = with_priority(body, queued.priority)

        # An engine may order by what is known of a request, if its API has room for that.
        field = backend.queue.extra_arguments if backend.queue is not None else ""
        if field and queued.generates:
            hints = hints_of(queued.request, queued.quantiles, monotonic() - queued.arrival_s)
            body = with_arguments(body, field, hints, PREFIX)
        return body

    # what comes of it

    def answering(self) -> None:
        """The engine has begun to answer."""
        if self._attempt is not None:
            self._attempt.place.prefill()
            self._attempt.backend.state.breaker.answering()
        self.phase = ANSWERING
        self.active_s = monotonic()

    def take_time(self) -> None:
        """Nobody waits for the first token any more."""
        if self._attempt is not None and self._attempt.connection is not None and not self._paused:
            self._attempt.connection.take_time()

    def refused(self, status: int, retry_after: bytes) -> None:
        """The engine takes nothing now, or not from us; ``retry_after`` is its header's value."""
        attempt = self._attempt
        if attempt is None:
            return
        seconds = float(retry_after) if retry_after.isdigit() and len(retry_after) < 6 else None
        if seconds is not None or status in OVERLOADED or self.is_own_key(status):
            attempt.backend.state.refuse(self.active_s, attempt.began_s, seconds)

    def is_own_key(self, status: int) -> bool:
        """Whether ``status`` is about the gateway's key: clients' own do not reach engines."""
        return status in (401, 403) and not self.received.forwards_key

    def answered(self, status: int, problem: str = "") -> None:
        """The client has all of the answer; ``problem`` is what is wrong with what it says."""
        if status >= 400:
            problem = f"backend_{status}"
        self._end(FAILED if problem else DONE, problem, status)

    def attempt_failed(self, why: str, status: int, stale: bool = False) -> None:
        """There will be no more of this answer; ``stale``: over a connection that was old."""
        if self.phase == ENDED:
            return
        self._drop()

        # Servers close idle connections without a word: that says nothing about the engine.
        attempt = self._attempt
        if attempt is not None and stale and not self._reply.begun:
            self._release(attempt)
            self._start(attempt.backend, fresh_connection=True)
            return

        if attempt is not None:
            attempt.backend.state.fail(monotonic(), attempt.began_s)
            attempt.backend.doubt()
        if not self._reply.begun and self.retry():
            return
        self.failed(why, status)

    def failed(self, why: str, status: int) -> None:
        """Tell the client that there is no answer; the engine has been judged already."""
        self._fail(why, status, FAILURE_CODES.get(status, "backend_failed"))

    def retry(self, *, drops: bool = False) -> bool:
        """Try another engine, if there is one, and return whether there is.

        ``drops`` gives up what the present one has not ended.
        """
        engine = self._scheduler.dispatcher.another(self.queued)
        if engine is None:
            return False
        if drops:
            self._drop()
        self._release(self._attempt)
        self.start(engine)
        return True

    def look_again(self, now_s: float) -> None:
        """End or move what waits for nothing: the engine has said all, or is called dead."""
        attempt = self._attempt
        if attempt is None:
            return
        if self.phase == ANSWERING and now_s - self.active_s > BOUNDS.said_all_s:
            if attempt.answer.says_end:
                connection, attempt.connection = attempt.connection, None
                attempt.answer.end_here()
                if connection is not None:
                    connection.cancel()
        elif self.phase in (CONNECTING, SENT) and not attempt.backend.state.healthy:
            self.retry(drops=True)

    def own_headers(self) -> bytes:
        """Return what the gateway says about the request, as header lines."""
        queued = self.queued
        if queued.p50_tokens is None and self.phase != QUEUED:
            self._scheduler.dispatcher.foresight.predict_late()

        until_s = monotonic() if queued.sent_s is None else queued.sent_s
        pool = queued.pool.encode("utf-8", "replace") if queued.pool else b"-"
        lines = b"x-headway-id: %b\r\nx-headway-queue-ms: %.3f\r\nx-headway-pool: %b\r\n" % (
            queued.request.id.encode(), 1e3 * (until_s - queued.arrival_s), pool,
        )  # fmt: skip
        lines += queued.limit_lines
        if queued.pool != queued.home:
            home = queued.home.encode("utf-8", "replace")
            lines += b"x-headway-offloaded-from: %b\r\n" % home
        if queued.p50_tokens is not None and queued.p90_tokens is not None:
            lines += b"x-headway-predicted-tokens: p50=%.0f, p90=%.0f\r\n" % (
                queued.p50_tokens, queued.p90_tokens,
            )  # fmt: skip
        return lines

    # the client

    def client_gone(self) -> None:
        """The client has disconnected."""
        if self.phase != ENDED:
            self._drop()
            reason = "client_stalled" if self._paused else "client_disconnected"
            self._end(FAILED, reason, None)

    def client_full(self) -> None:
        """The client reads more slowly than it is sent to."""
        connection = self._attempt.connection if self._attempt is not None else None
        if connection is not None and not self._paused:
            self._paused = True
            connection.pause()

    def client_ready(self) -> None:
        """The client has caught up."""
        if self._paused:
            self._paused = False
            self.active_s = monotonic()
            if self._attempt is not None and self._attempt.connection is not None:
                self._attempt.connection.resume()

    # ends

    def refuse(self, refusal: Refusal) -> None:
        """End it before it has reached an engine."""
        self._tell(refusal)
        self._end(REJECTED, refusal.code, refusal.status)

    def time_out(self, why: str, code: str) -> None:
        """End it because a phase lasted too long."""
        if self.phase == QUEUED:
            self.refuse(Refusal(503, why, code, retry_after_s=5.0))
        elif self._paused:
            self._reply.cut_off()  # the connection's `connection_lost` ends the exchange
        else:
            self.attempt_failed(why, 504)

    def give_up(self) -> None:
        """End it because something is wrong with us."""
        if self.phase != ENDED:
            self._fail("the gateway failed", 500, "gateway_failed")

    def shut(self) -> None:
        """End it because the gateway stops."""
        self._fail("the gateway is shutting down", 503, "shutting_down")

    def outcome(self, status: str, reason: str = "", code: int | None = None) -> Outcome:
        """Return how far its answer came, with ``status``."""
        if self._attempt is None:
            return Outcome(status, reason, code)
        meter = self._attempt.answer.meter
        return Outcome(
            status=status,
            reason=reason,
            code=code,
            first_s=meter.first_s,
            last_s=meter.last_s if meter.first_s is not None else None,
            prompt_tokens=meter.usage.prompt_tokens,
            output_tokens=meter.output_tokens,
            cached_tokens=meter.usage.cached_tokens,
        )

    def _fail(self, why: str, status: int, code: str) -> None:
        self._drop()
        answer = self._attempt.answer if self._attempt is not None else None
        streaming = answer is not None and answer.streaming
        begun = self._reply.begun

        if not begun:
            self._tell(Refusal(status, why, code, 1.0 if status == 503 else None))
        elif answer is not None and streaming and not answer.mid_event:
            # The stream must not look complete: an event says so, and no [DONE] follows.
            event = error_event(self.queued.api, why, code)
            self._reply.piece(self._reply.framed(event))
            self._reply.finish()
        else:
            self._reply.cut_off()
        self._end(FAILED, code, 200 if streaming and begun else status)

    def _tell(self, refusal: Refusal) -> None:
        """Send the client an error as the whole answer."""
        lines, body = refusal_parts(refusal)
        self._reply.whole(refusal.status, lines + self.own_headers(), body)

    def _end(self, status: str, reason: str, code: int | None) -> None:
        self.phase = ENDED
        if self._client.exchange is self:
            self._client.exchange = None

        outcome = self.outcome(status, reason, code)
        if self._attempt is not None:
            # A connection that goes on to other requests must be read again.
            if self._paused and self._attempt.connection is not None:
                self._attempt.connection.resume()
            self._attempt.connection = None
            self._attempt.answer.detach()
            self._release(self._attempt, answered=status == DONE)

        entry = self._scheduler.end(self.queued, outcome)
        if self.trace is not None:
            ended_s = monotonic() + self._scheduler.ledger.anchor_s
            self.trace.end(entry, predicted_s=self.queued.predicted_s, ended_s=ended_s)

    def _drop(self) -> None:
        if self._attempt is not None:
            self._attempt.drop()

    def _release(self, attempt: Attempt | None, *, answered: bool = False) -> None:
        if attempt is not None and attempt.place.release(answered=answered):
            self._scheduler.dispatcher.room()


def refusal_parts(refusal: Refusal) -> tuple[bytes, bytes]:
    """Return the header lines and the body that tell a client of ``refusal``."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in refusal.headers)
    return lines.encode() + refusal.lines, refusal.body
