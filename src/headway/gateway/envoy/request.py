"""One request that Envoy carries: a call of external processing, and the scheduler's carrier.

    headers -> body -> (waits) -> sent -> closed -> logged

Envoy calls when a request has begun, and waits for an answer as long as the scheduler keeps the
request; it ends the call with the request, which gives the engine's place back at once. What came
of it is in the access log some milliseconds later. Answers cross this process only where they are
looked into, or where a cluster's gateway streams everything both ways.
"""

from __future__ import annotations

from dataclasses import replace
from time import monotonic

from headway.errors import InputError
from headway.gateway.config import Tenant
from headway.gateway.envoy import messages
from headway.gateway.envoy.answer_shape import MAX_LOOK_ARRIVALS, AnswerShape
from headway.gateway.envoy.glimpse import Glimpse, passed_outcome
from headway.gateway.envoy.http2 import UNIMPLEMENTED, Stream
from headway.gateway.envoy.messages import FULL_DUPLEX, Changes, Message, Passage
from headway.gateway.envoy.plane import EnvoyPlane
from headway.gateway.envoy.words import engine_body, engine_changes, own_words
from headway.gateway.intake import read_queued
from headway.gateway.scheduler.admission import NO_KEY, STRANGER, TAKES_POST
from headway.gateway.scheduler.engine import EngineState
from headway.gateway.scheduler.place import Place
from headway.gateway.scheduler.queued import Outcome, QueuedRequest, Refusal
from headway.gateway.scheduler.scheduler import SHUTTING_DOWN
from headway.gateway.server.headers import bearer
from headway.gateway.server.origin import is_stranger
from headway.http.message import HttpRequest
from headway.http.openai import PATHS
from headway.workload.record import DONE, FAILED, REJECTED

HEADERS, BODY, WAITING, SENT, CLOSED, ENDED = range(6)
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
        "_began_s", "_body", "_duplex", "_glimpse", "_headers", "_look", "_path", "_place",
        "_plane", "_stream", "_subset", "_trailers", "closed_s", "phase", "queued",
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

        # Its place in an engine, the last one if it is given back, and what is seen of the answer.
        self._place: Place | None = None
        self._look = False
        self._glimpse = Glimpse()

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
        self._take_place(engine, queued)
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
        plane, metadata, body = self._plane, messages.destination(addresses), b"".join(self._body)
        changes = engine_changes(
            self._headers,
            engine.endpoint,
            addresses=addresses if plane.names_engine_in_header else "",
            has_keys=plane.has_keys,
        )
        if self.queued is not None:
            metadata += messages.own_words(own_words(self.queued))
            changes = replace(changes, body=engine_body(self.queued, body))

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

    def refuse(self, refusal: Refusal) -> None:
        """End it before it has reached an engine."""
        if self.phase != WAITING or self.queued is None:
            return
        self._stream.send(messages.refusal_message(refusal, own_words(self.queued)))
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

    # the answer, where it crosses this process

    def _response_headers(self, message: Message) -> None:
        queued = self.queued
        headers = messages.header_map(message.response_headers)
        self._glimpse.begin(headers, "" if queued is None else queued.api, monotonic())
        served = messages.served_address(message)
        if served:
            self._served_by(served)

        if self._duplex and queued is not None:
            self._stream.send(Changes(own_words(queued)).to_response_headers())
        else:
            self._stream.send(messages.RESPONSE_HEADERS_GO_ON)

    def _response_body(self, body: Message) -> None:
        # The answer goes on before it is looked into.
        if self._duplex:
            for piece in messages.pieces("response_body", body.body, ends=body.end_of_stream):
                self._stream.send(piece)
        else:
            self._stream.send(messages.RESPONSE_BODY_GOES_ON)

        glimpse = self._glimpse
        if not glimpse.is_counted:
            return
        glimpse.add(body.body, monotonic(), self._plane.max_answer_bytes)
        if body.end_of_stream:
            glimpse.end(monotonic(), self._shape)
        elif self._look:
            glimpse.teach(self._shape)
            if glimpse.num_arrivals >= MAX_LOOK_ARRIVALS and glimpse.is_stream:
                # Enough was seen: the rest goes its way without us.
                glimpse.teach_start(self._shape)
                glimpse.look_away()
                self.phase = CLOSED
                self._stream.finish()

    @property
    def _shape(self) -> AnswerShape | None:
        queued, engine = self.queued, self._engine
        if queued is None or engine is None:
            return None
        return self._plane.shape(engine.url, queued.api, stream=queued.stream)

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

    @property
    def _engine(self) -> EngineState | None:
        """The engine that it was sent to last."""
        return None if self._place is None else self._place.engine

    def _take_place(self, engine: EngineState, queued: QueuedRequest) -> None:
        queued.note_attempt(engine, monotonic())
        self._place = Place(
            engine, tokens=queued.expected_tokens, prompt_tokens=queued.prefill_tokens
        )

    def _give_place_back(self) -> None:
        if self._place is not None and self._place.release():
            self._plane.scheduler.dispatcher.room()

    def _served_by(self, address: str) -> None:
        """Another engine than the first choice answered: Envoy went on to it by itself."""
        engine, queued, before = self._plane.engine_at(address), self.queued, self._place
        if engine is None or queued is None or before is None or engine is before.engine:
            return
        before.engine.fail(monotonic(), self._began_s)
        was_open = before.release()
        self._take_place(engine, queued)
        if not was_open:
            self._give_place_back()

    def outcome(self, status: str, reason: str = "", code: int | None = None) -> Outcome:
        """Return how far its answer came, with ``status``."""
        return self._glimpse.outcome(status, reason, code)

    def logged(self, passage: Passage) -> None:
        """The access log tells what came of it."""
        if self.phase == ENDED or self.queued is None:
            return
        if passage.address:
            self._served_by(passage.address)
        self._give_place_back()

        engine = self._engine
        code = passage.code or self._glimpse.code
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
        is_stream = self.queued is not None and self.queued.stream
        return passed_outcome(passage, shape, begin_s=begin_s, is_stream=is_stream, outcome=seen)

    def _end_without_log(self) -> None:
        """Nobody logs here: what crossed this process is all that is known."""
        code, glimpse = self._glimpse.code, self._glimpse
        if not code:
            self._end(Outcome(FAILED, "client_disconnected", None))
        elif code >= 400:
            self._end(Outcome(FAILED, f"backend_{code}", code))
        elif glimpse.is_counted and self._duplex and not glimpse.is_finished:
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
