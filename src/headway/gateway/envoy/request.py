"""One request that Envoy carries: a call of external processing, and the scheduler's carrier.

    headers -> body -> (waits) -> sent -> closed -> logged

Envoy calls when a request has begun, and waits for an answer as long as the scheduler keeps the
request; it ends the call with the request, which gives the engine's place back at once. What came
of it is in the access log some milliseconds later. Answers cross this process only where they are
looked into, or where a cluster's gateway streams everything both ways.
"""

from __future__ import annotations

from time import monotonic

from headway.errors import InputError
from headway.gateway.config import Tenant
from headway.gateway.envoy import messages
from headway.gateway.envoy.answer_shape import MAX_LOOK_ARRIVALS, AnswerShape
from headway.gateway.envoy.http2 import UNIMPLEMENTED, Stream
from headway.gateway.envoy.messages import FULL_DUPLEX, ID, Changes, Message, Names, Passage
from headway.gateway.envoy.plane import EnvoyPlane
from headway.gateway.intake import read_queued
from headway.gateway.scheduler.engine import EngineState
from headway.gateway.scheduler.queued import Outcome, QueuedRequest, Refusal
from headway.gateway.scheduler.scheduler import SHUTTING_DOWN
from headway.gateway.server.headers import bearer
from headway.gateway.server.origin import is_stranger
from headway.http.events import EventReader
from headway.http.message import HttpRequest
from headway.http.meter import TokenMeter
from headway.http.openai import PATHS, with_model, with_priority
from headway.workload.record import DONE, FAILED, REJECTED

HEADERS, BODY, WAITING, SENT, CLOSED, ENDED = range(6)
NO_KEY = Refusal(401, "this gateway needs an API key: Authorization: Bearer KEY", "invalid_api_key")
TAKES_POST = Refusal(405, "this path takes POST", "method_not_allowed")
STRANGER = Refusal(
    403,
    "this gateway answers to its own names and pages: see [web] of its configuration",
    "foreign_origin",
)
NO_SUBSET = Refusal(503, "none of the endpoints allowed is ready", "no_endpoint", 1.0)
TOO_LONG = Refusal(413, "the request is too long", "request_too_long")
BAD_MODE = "this picker needs request bodies BUFFERED or FULL_DUPLEX_STREAMED"


class EnvoyRequest:
    """One request between Envoy's call and its line in the access log.

    Attributes:
        queued: the request as the scheduler knows it; ``None`` until it is whole.
        phase: where it is.
        closed_s: when the call ended.

    """

    __slots__ = (
        "_answer_bytes", "_arrivals", "_began_s", "_body", "_code", "_duplex", "_engine",
        "_events", "_has_place", "_head_s", "_headers", "_look", "_meter", "_path", "_plane",
        "_prompt_tokens", "_sent_tokens", "_stream", "_subset", "_trailers", "closed_s", "phase",
        "queued",
    )  # fmt: skip

    def __init__(self, plane: EnvoyPlane, stream: Stream) -> None:
        """Begin with what ``stream`` brings."""
        self._plane = plane
        self._stream = stream
        self.queued: QueuedRequest | None = None
        self.phase = HEADERS
        self.closed_s = 0.0
        self._began_s = monotonic()

        # The request.
        self._headers: dict[bytes, bytes] = {}
        self._path = b""
        self._body: list[bytes] = []
        self._subset: frozenset[str] | None = None
        self._duplex = self._trailers = False

        # Its engine, and as much of the answer as crosses this process.
        self._engine: EngineState | None = None
        self._sent_tokens = self._prompt_tokens = 0.0
        self._has_place = False
        self._look = False
        self._code = 0
        self._head_s: float | None = None
        self._meter: TokenMeter | None = None
        self._events: EventReader | None = None
        self._arrivals = self._answer_bytes = 0

    # what Envoy says

    def message(self, data: bytes) -> None:
        """Envoy has come to the next part of the request, or of its answer."""
        message = messages.read_processing(data)
        kind = message.WhichOneof("request")
        if kind == "request_headers":
            self._request_headers(message)
        elif kind == "request_body":
            self._request_body(message.request_body)
        elif kind == "response_headers":
            self._response_headers(message)
        elif kind == "response_body":
            self._response_body(message.response_body)
        elif kind == "request_trailers":
            self._trailers = True
            if self.phase == BODY:
                self._received()
            elif not self._duplex:
                self._stream.send(messages.REQUEST_TRAILERS_GO_ON)
        elif kind == "response_trailers":
            self._stream.send(messages.RESPONSE_TRAILERS_GO_ON)

    def _request_headers(self, message: Message) -> None:
        headers = self._headers = messages.header_map(message.request_headers)
        headers.setdefault(b"host", headers.get(b":authority", b""))
        self._path = headers.get(b":path", b"").partition(b"?")[0]
        self._subset = messages.subset_of(message)
        mode = message.protocol_config.request_body_mode
        self._duplex = mode == FULL_DUPLEX
        if mode not in (messages.BUFFERED, FULL_DUPLEX):
            self._stream.finish(UNIMPLEMENTED, BAD_MODE)
            return

        # Whoever has no key is answered before anything else of the request is read.
        if is_stranger(HttpRequest(self._method, headers=headers), self._plane.scheduler.config):
            self._refuse_early(STRANGER, STRANGER.code)
        elif self._tenant is None:
            self._refuse_early(NO_KEY, "unauthorized")
        elif self._api and self._method != "POST":
            self._refuse_early(TAKES_POST, "http_405")
        elif not self._api and not self._duplex:
            self._pass_on()
        elif message.request_headers.end_of_stream:
            self._received()
        else:
            self.phase = BODY
            if not self._duplex:
                self._look = bool(self._api) and self._plane.looks.next()
                look = messages.LOOK_INTO_ANSWER
                self._stream.send(look if self._look else messages.REQUEST_HEADERS_GO_ON)

    def _request_body(self, body: Message) -> None:
        if self.phase != BODY:
            return
        self._body.append(body.body)
        if sum(map(len, self._body)) > self._plane.max_body_bytes:
            self._refuse_early(TOO_LONG, "http_413")
        elif body.end_of_stream:
            self._received()

    @property
    def _method(self) -> str:
        return self._headers.get(b":method", b"").decode("latin-1")

    @property
    def _api(self) -> str:
        return PATHS.get(self._path.decode("latin-1"), "")

    @property
    def _tenant(self) -> Tenant | None:
        key = bearer(self._headers)
        return self._plane.scheduler.admission.tenant(key)

    def _received(self) -> None:
        """The request is whole: let it wait for its turn."""
        scheduler = self._plane.scheduler
        tenant = self._tenant
        if tenant is None:  # its key was taken away while its body came in
            self._refuse_early(NO_KEY, "unauthorized")
            return
        if not self._api:
            self._pass_on()
            return

        # Whoever may not come in now is told so before its body is looked at.
        refusal = scheduler.refusal(tenant)
        if refusal is not None:
            self._refuse_early(refusal, refusal.code)
            return
        try:
            queued, _ = read_queued(
                scheduler,
                path=self._path.decode("latin-1"),
                headers=self._headers,
                body=b"".join(self._body),
                tenant=tenant,
            )
        except InputError as error:
            self._refuse_early(Refusal(400, str(error), "bad_request"), "bad_request")
            return

        self.queued = queued
        self.phase = WAITING
        queued.carrier = self
        self._plane.open[queued.request.id] = self
        scheduler.enter(queued, self._headers.get(b"x-headway-pool", b"").decode("latin-1"))
        if not self._plane.is_any_ready(self._subset):
            self.refuse(NO_SUBSET)
        else:
            scheduler.arrive(queued)

    # what the scheduler says

    def start(self, engine: EngineState) -> None:
        """Send it to ``engine``, now."""
        queued = self.queued
        if queued is None or self.phase != WAITING:
            return
        engine = self._plane.allowed(engine, self._subset)
        self.phase = SENT
        self._engine = engine
        self._sent_tokens = queued.expected_tokens
        queued.note_attempt(engine, monotonic())
        self._take_place(engine)
        self._send(self._plane.addresses_for(engine, queued.request.model, self._subset), engine)

    def _pass_on(self) -> None:
        """Send what is no request for text to any engine: nothing of it is predicted."""
        engine = self._plane.any_engine(self._subset)
        self.phase = ENDED
        if engine is None:
            self._stream.send(messages.refusal_message(NO_SUBSET, ()))
            return
        self._send(self._plane.addresses_for(engine, "", self._subset), engine)

    def _send(self, addresses: str, engine: EngineState) -> None:
        changes = self._changes(addresses, engine)
        metadata = messages.destination(addresses)
        if self.queued is not None:
            metadata += messages.own_words(self._own_words())

        body = b"".join(self._body)
        if not self._duplex:
            answer = changes.to_request_body() if self._body else changes.to_request_headers()
            self._stream.send(answer + metadata)
        else:
            if changes.body is not None:
                body = changes.body
                changes = Changes(changes.set_headers, (*changes.remove_headers, "content-length"))
            self._stream.send(changes.to_request_headers() + metadata)
            if self._body:
                for piece in messages.pieces("request_body", body, ends=not self._trailers):
                    self._stream.send(piece)
            if self._trailers:
                self._stream.send(messages.REQUEST_TRAILERS_GO_ON)
        self._body.clear()

    def _changes(self, addresses: str, engine: EngineState) -> Changes:
        """Return what the engine must not see, and what it must."""
        plane, endpoint = self._plane, engine.endpoint
        set_headers: list[tuple[str, str]] = []
        remove = [name.decode() for name in self._headers if name.startswith(b"x-headway-")]
        if plane.names_engine_in_header:
            set_headers.append((messages.ENDPOINT, addresses))

        # Keys are those of the gateway, or of the engine.
        if endpoint.api_key:
            set_headers.append(("authorization", f"Bearer {endpoint.api_key}"))
        elif plane.has_keys and b"authorization" in self._headers:
            remove.append("authorization")
        if endpoint.prefix != "/v1":
            path = self._headers[b":path"].decode("latin-1")
            set_headers.append((":path", endpoint.prefix + path.removeprefix("/v1")))

        return Changes(tuple(set_headers), tuple(remove), self._other_body())

    def _other_body(self) -> bytes | None:
        """Return the body that the engine is sent in place of the client's; ``None`` for that."""
        queued = self.queued
        if queued is None or not (queued.is_renamed or queued.priority is not None):
            return None
        body = b"".join(self._body)
        if queued.is_renamed:
            body = with_model(body, queued.request.model)
        return body if queued.priority is None else with_priority(body, queued.priority)

    def refuse(self, refusal: Refusal) -> None:
        """End it before it has reached an engine."""
        if self.phase != WAITING:
            return
        self._stream.send(messages.refusal_message(refusal, self._own_words()))
        self._end(Outcome(REJECTED, refusal.code, refusal.status))

    def _refuse_early(self, refusal: Refusal, reason: str) -> None:
        """Refuse what never became a request of the scheduler's."""
        self.phase = ENDED
        self._body.clear()
        self._stream.send(messages.refusal_message(refusal, ()))
        tenant, ledger = self._tenant, self._plane.scheduler.ledger
        if tenant is None:
            ledger.refuse(reason)
        else:
            code = refusal.status
            ledger.turn_away(
                status=REJECTED, reason=reason, code=code, api=self._api, tenant=tenant.name
            )

    def _own_words(self) -> Names:
        """Return what the gateway says about the request, as headers."""
        queued = self.queued
        assert queued is not None
        until_s = monotonic() if queued.sent_s is None else queued.sent_s
        words = [
            (ID, queued.request.id),
            ("x-headway-queue-ms", f"{1e3 * (until_s - queued.arrival_s):.3f}"),
            ("x-headway-pool", queued.pool or "-"),
        ]
        if queued.pool != queued.home:
            words.append(("x-headway-offloaded-from", queued.home))
        if queued.p50_tokens is not None and queued.p90_tokens is not None:
            predicted = f"p50={queued.p50_tokens:.0f}, p90={queued.p90_tokens:.0f}"
            words.append(("x-headway-predicted-tokens", predicted))
        for line in queued.limit_lines.decode().splitlines():
            name, _, value = line.partition(": ")
            words.append((name, value))
        return tuple(words)

    # the answer, where it crosses this process

    def _response_headers(self, message: Message) -> None:
        headers = messages.header_map(message.response_headers)
        self._head_s = monotonic()
        self._code = int(headers.get(b":status", b"0"))
        served = messages.served_address(message)
        if served:
            self._served_by(served)

        if self.queued is not None:
            is_stream = headers.get(b"content-type", b"").startswith(b"text/event-stream")
            self._meter = TokenMeter(self.queued.api)
            self._events = EventReader() if is_stream else None
        if self._duplex and self.queued is not None:
            changes = Changes(self._own_words())
            self._stream.send(changes.to_response_headers())
        else:
            self._stream.send(messages.RESPONSE_HEADERS_GO_ON)

    def _response_body(self, body: Message) -> None:
        # The answer goes on before it is looked into.
        if self._duplex:
            for piece in messages.pieces("response_body", body.body, ends=body.end_of_stream):
                self._stream.send(piece)
        else:
            self._stream.send(messages.RESPONSE_BODY_GOES_ON)
        if self._meter is None:
            return

        now_s = monotonic()
        self._arrivals += 1
        self._answer_bytes += len(body.body)
        if self._events is not None:
            events = self._events.feed(body.body)
            if events:
                self._meter.see(events, now_s)
        elif self._answer_bytes <= self._plane.max_answer_bytes:
            self._body.append(body.body)

        if body.end_of_stream:
            self._answer_complete(now_s)
        elif self._look:
            self._learn_shape(ends=False)
            if self._arrivals >= MAX_LOOK_ARRIVALS and self._events is not None:
                # Enough was seen: the rest goes its way without us.
                self._learn_start()
                self._meter = None
                self.phase = CLOSED
                self._stream.finish()

    def _answer_complete(self, now_s: float) -> None:
        meter = self._meter
        assert meter is not None
        if self._events is not None:
            meter.end_stream()
            self._learn_start()
        elif self._code == 200:
            meter.read_whole(b"".join(self._body), now_s)
        self._body.clear()
        if self._code == 200:
            self._learn_shape(ends=True)

    @property
    def _shape(self) -> AnswerShape | None:
        if self.queued is None or self._engine is None:
            return None
        return self._plane.shape(self._engine.url, self.queued.api, stream=self.queued.stream)

    def _learn_shape(self, *, ends: bool) -> None:
        """Learn from an answer that has ended, or has come some way."""
        shape, meter = self._shape, self._meter
        if shape is None or meter is None:
            return
        if ends:
            shape.see_whole(meter.output_tokens, self._answer_bytes)
        elif self._arrivals.bit_count() == 1:  # after 1, 2, 4, 8, ... arrivals
            shape.see(meter.output_tokens, self._answer_bytes)

    def _learn_start(self) -> None:
        shape, meter = self._shape, self._meter
        if shape is None or meter is None or meter.first_s is None or self._head_s is None:
            return
        shape.see_start(meter.first_s - self._head_s)

    # ends

    def closed(self) -> None:
        """Envoy has ended the call: the request is over, or its client has gone."""
        if self.phase == WAITING:
            self._end(Outcome(FAILED, "client_disconnected", None))
        elif self.phase == SENT:
            self.phase = CLOSED
            self._give_place_back()
            self.closed_s = monotonic()
            if not self._plane.has_log:
                self._end_without_log()

    def _take_place(self, engine: EngineState) -> None:
        self._has_place = True
        self._prompt_tokens = self.queued.prefill_tokens if self.queued is not None else 0.0
        engine.begin(self._sent_tokens, self._prompt_tokens)

    def _give_place_back(self) -> None:
        if self._engine is not None and self._has_place:
            self._has_place = False
            self._engine.prefill(self._prompt_tokens)
            self._engine.finish(self._sent_tokens, answered=False)
            self._plane.scheduler.dispatcher.room()

    def _served_by(self, address: str) -> None:
        """Another engine than the first choice answered: Envoy went on to it by itself."""
        engine, queued = self._plane.engine_at(address), self.queued
        if engine is None or queued is None or self._engine is None or engine is self._engine:
            return
        self._engine.fail(monotonic(), self._began_s)
        if self._has_place:
            self._give_place_back()
            self._take_place(engine)
        self._engine = engine
        queued.note_attempt(engine, monotonic())

    def outcome(self, status: str, reason: str = "", code: int | None = None) -> Outcome:
        """Return how far its answer came, with ``status``."""
        meter = self._meter
        if meter is None or meter.first_s is None:
            return Outcome(status, reason, code)
        return Outcome(
            status=status,
            reason=reason,
            code=code,
            first_s=meter.first_s,
            last_s=meter.last_s,
            prompt_tokens=meter.usage.prompt_tokens,
            output_tokens=meter.output_tokens,
            cached_tokens=meter.usage.cached_tokens,
        )

    def logged(self, passage: Passage) -> None:
        """The access log tells what came of it."""
        if self.phase == ENDED or self.queued is None:
            return
        if passage.address:
            self._served_by(passage.address)
        self._give_place_back()

        engine = self._engine
        code = passage.code or self._code
        if passage.client_left:
            self._end(self._logged_outcome(passage, FAILED, "client_disconnected", None))
        elif passage.engine_failed or not code:
            if engine is not None:
                engine.fail(monotonic(), self._began_s)
            self._end(self._logged_outcome(passage, FAILED, "backend_failed", code or None))
        elif code >= 400:
            if engine is not None and code >= 500:
                engine.fail(monotonic(), self._began_s)
            self._end(Outcome(FAILED, f"backend_{code}", code))
        else:
            if engine is not None:
                engine.breaker.succeed()
            self._end(self._logged_outcome(passage, DONE, "", code))

    def _logged_outcome(
        self, passage: Passage, status: str, reason: str, code: int | None
    ) -> Outcome:
        """Return the outcome with what was seen of the answer, else with what its bytes tell."""
        seen = self.outcome(status, reason, code)
        shape = self._shape
        if seen.first_s is not None or passage.first_byte_s is None or shape is None:
            return seen

        # Envoy's clock is the wall's, and on this machine; where it is another's, the call's.
        begin_s = passage.begin_unix_s - self._plane.scheduler.ledger.anchor_s
        if abs(begin_s - self._began_s) > 1.0:
            begin_s = self._began_s
        last_s = begin_s + (passage.last_byte_s or passage.first_byte_s)
        first_s = min(last_s, begin_s + passage.first_byte_s + shape.head_start_s)
        queued = self.queued
        assert queued is not None
        if not queued.stream:
            first_s = last_s
        return Outcome(
            status=status,
            reason=reason,
            code=code,
            first_s=first_s,
            last_s=last_s,
            output_tokens=shape.tokens(passage.body_bytes),
        )

    def _end_without_log(self) -> None:
        """Nobody logs here: what crossed this process is all that is known."""
        code, meter = self._code, self._meter
        if not code:
            self._end(Outcome(FAILED, "client_disconnected", None))
        elif code >= 400:
            self._end(Outcome(FAILED, f"backend_{code}", code))
        elif meter is not None and self._duplex and not meter.finished:
            self._end(self.outcome(FAILED, "client_disconnected", None))
        else:
            self._end(self.outcome(DONE, "", code))
        if self._engine is not None and code:
            if code < 500:
                self._engine.breaker.succeed()
            else:
                self._engine.fail(monotonic(), self._began_s)

    def shut(self) -> None:
        """The gateway stops: nothing waits any longer."""
        self.refuse(SHUTTING_DOWN)

    def lose(self) -> None:
        """Its line in the access log never came."""
        if self.phase == CLOSED:
            self._end(self.outcome(FAILED, "not_logged", None))

    def _end(self, outcome: Outcome) -> None:
        queued = self.queued
        assert queued is not None
        self._give_place_back()
        self.phase = ENDED
        self._body.clear()
        self._plane.open.pop(queued.request.id, None)
        self._plane.scheduler.end(queued, outcome)


def serve_requests(plane: EnvoyPlane) -> None:
    """Let ``plane`` take what Envoy asks about."""
    plane.serve({messages.PROCESS: lambda stream: EnvoyRequest(plane, stream)})
