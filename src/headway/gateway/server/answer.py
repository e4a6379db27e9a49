"""One engine's attempt at an answer, on its way from the engine's connection to the client.

The bytes pass as they came, whatever they say. A stream goes on in whole events, so that an error
can be told between two of them, and an event too long to be held goes on as it comes; an answer in
one is held until its end, so that a failed attempt can still be made good by another engine.
"""

from __future__ import annotations

from time import monotonic
from typing import Protocol

from headway.gateway.server.headers import HOP_BY_HOP
from headway.http.bounds import BOUNDS
from headway.http.events import EventReader
from headway.http.meter import TokenMeter, looks_usual
from headway.http.openai import error_body, is_error_body
from headway.http.server import Reply

RETRY_STATUSES = frozenset({401, 403, 408, 429, 500, 502, 503, 504})  # another may take the key


class Client(Protocol):
    """Whoever wants the answer, as an attempt at it sees them."""

    active_s: float

    def answering(self) -> None:
        """The engine has begun to answer."""
        ...

    def take_time(self) -> None:
        """Nobody waits for the first token any more."""
        ...

    def own_headers(self) -> bytes:
        """What the gateway says about the request, as header lines."""
        ...

    def client_full(self) -> None:
        """The client reads more slowly than it is sent to."""
        ...

    def refused(self, status: int, retry_after: bytes) -> None:
        """The engine takes nothing now, or not from us; ``retry_after`` is its header's value."""
        ...

    def is_own_key(self, status: int) -> bool:
        """Whether ``status`` is about the gateway's key, and not the client's."""
        ...

    def retry(self, *, drops: bool = False) -> bool:
        """Try another engine, if there is one, and return whether there is.

        ``drops`` gives up what this one has not ended.
        """
        ...

    def answered(self, status: int, problem: str = "") -> None:
        """The client has all of the answer; ``problem`` is what is wrong with what it says."""
        ...

    def failed(self, why: str, status: int) -> None:
        """Tell the client that there is no answer; the engine has been judged already."""
        ...

    def attempt_failed(self, why: str, status: int, stale: bool = False) -> None:
        """There will be no more of this answer."""
        ...


class Answer:
    """What came of one attempt so far.

    Attributes:
        meter: its tokens.
        streaming: whether it is a stream of events.
        mid_event: whether the client has a part of an event that was too long to hold.
    """

    __slots__ = (
        "_buffered", "_client", "_events", "_headers", "_length", "_max_bytes", "_reply",
        "_status", "_takes_time", "_unsent", "meter", "mid_event", "streaming",
    )  # fmt: skip

    def __init__(self, client: Client, reply: Reply, api: str, max_bytes: int) -> None:
        """Pass on to ``reply``; an answer of more than ``max_bytes`` is not held."""
        self._client = client
        self._reply = reply
        self._max_bytes = max_bytes
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._buffered: list[bytes] = []
        self._length = 0
        self._events = EventReader()
        self._takes_time = False  # the rest of it may wait for other answers
        self._unsent = b""  # the last piece of a stream, until its end
        self.mid_event = False
        self.meter = TokenMeter(api)
        self.streaming = False

    def detach(self) -> None:
        """Nobody wants it any more: the two would keep each other until garbage is collected."""
        del self._client

    # from the engine's connection

    def answer_begins(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Take the head of the engine's answer."""
        self._client.answering()
        self._status = status
        self._headers = [pair for pair in headers if pair[0].lower() not in HOP_BY_HOP]
        self.streaming = status == 200 and any(
            name.lower() == b"content-type" and value.lower().startswith(b"text/event-stream")
            for name, value in headers
        )

    def answer_body(self, data: bytes, now_s: float, is_last: bool) -> None:
        """Take bytes of the body: whole events go on, and an answer in one is held."""
        self._client.active_s = now_s
        if not self.streaming:
            self._buffered.append(data)
            self._length += len(data)
            if self._length > self._max_bytes:
                self._pass_through()
            return

        events = self._events.feed(data)
        if events:
            self.mid_event = False
            self._pass_on(events, now_s, is_last)
        if events is not data and self._events.held_bytes > BOUNDS.held_event_bytes:
            # Too long to hold: it goes on as it comes, and no error can be told until its end.
            self.mid_event = True
            part = self._events.rest()
            self.meter.see_part(part)
            self._send_on(self._reply.framed(part))

    def answer_ends(self) -> None:
        """The engine's answer is complete."""
        if self.streaming:
            self._end_stream()
        elif self._reply.begun:
            self._pass_through()
            self.meter.read_whole_parts(monotonic())
            self._reply.finish()
            self._client.answered(self._status, self._problem())
        else:
            self._end_whole(b"".join(self._buffered))

    def answer_fails(self, why: str, stale: bool) -> None:
        """The engine's answer will never be complete."""
        self._flush()
        if self.streaming and self._reply.begun:
            self.meter.end_stream()
            if self.meter.finished:  # all was said before the connection went
                self._finish_stream(self._events.rest())
                return
        self._client.attempt_failed(why, 502, stale)

    def end_here(self) -> None:
        """Take the answer for complete: the engine has said all."""
        self._end_stream()

    @property
    def says_end(self) -> bool:
        """Whether the engine has said all, though it has not ended the answer."""
        is_between = self.streaming and not self._events.held_bytes and not self.mid_event
        return is_between and self._reply.begun and self.meter.says_end

    # to the client

    def _pass_on(self, events: bytes, now_s: float, is_last: bool) -> None:
        reply = self._reply
        if reply.begun:
            if is_last:
                # It goes with the end that follows: one call of the kernel's less.
                self._unsent = reply.framed(events)
            else:
                reply.piece(reply.framed(events))
            self.meter.see(events, now_s)
            self._take_time()
        elif looks_usual(events):
            self._send_on(reply.framed(events))  # the first token waits for no reading
            self.meter.see(events, now_s)
            self._take_time()
        else:
            # Another engine may do better than one that is not understood; if there is none, who
            # are we to judge?
            self.meter.see(events, now_s)
            if not (self.meter.odd and self._client.retry(drops=True)):
                self._send_on(reply.framed(events))

    def _take_time(self) -> None:
        """Once the first token is on its way, the others may wait for those of other answers."""
        if not self._takes_time and self.meter.first_s is not None:
            self._takes_time = True
            self._client.take_time()

    def _pass_through(self) -> None:
        """An answer too long to hold: pass it on as it comes."""
        data = b"".join(self._buffered)
        self._buffered = []
        if self._status == 200:
            self.meter.see_part(data)
        self._send_on(self._reply.framed(data))

    def _flush(self) -> None:
        framed, self._unsent = self._unsent, b""
        self._reply.piece(framed)

    def _send_on(self, framed: bytes) -> None:
        if self._reply.begun:
            self._reply.piece(framed)
        elif self._reply.begin(self._status, self._header_lines(), framed):
            self._client.client_full()

    def _end_stream(self) -> None:
        rest = self._events.rest()
        meter = self.meter
        if rest.strip():  # an engine that forgets the last empty line
            meter.see(rest + b"\n\n", monotonic())
        meter.end_stream()

        # What we understand must have an end; what we do not is the client's to judge.
        if not meter.finished and not (meter.odd and not meter.num_tokens):
            self._flush()
            self._client.attempt_failed("the backend ended its answer early", 502)
            return
        if not self._reply.begun and not rest:
            self._client.attempt_failed("the backend sent an empty stream", 502)
            return
        self._finish_stream(rest)

    def _finish_stream(self, rest: bytes) -> None:
        framed, self._unsent = self._unsent + self._reply.framed(rest), b""
        if not self._reply.begun:
            self._send_on(framed)
            framed = b""
        self._reply.finish(framed)
        self._client.answered(200, self._problem())

    def _problem(self) -> str:
        """Return what is wrong with what an answer says that came whole; empty for nothing."""
        if self.meter.error:
            return "engine_error"
        return "not_understood" if self.meter.odd and not self.meter.usage.output_tokens else ""

    def _end_whole(self, body: bytes) -> None:
        status = self._status
        is_own_key = self._client.is_own_key(status)
        if status in RETRY_STATUSES:
            retry_after = next((v for n, v in self._headers if n.lower() == b"retry-after"), b"")
            self._client.refused(status, retry_after)
            if self._client.retry():
                return
        if is_own_key:
            why = f"the backend does not take the gateway's key ({status})"
            self._client.failed(why, 502)
            return
        if 300 <= status < 400:
            self._client.failed(f"the backend answered with a redirection ({status})", 502)
            return

        problem = ""
        if status == 200:
            if not self.meter.read_whole(body, monotonic()) and self._client.retry():
                return
            problem = self._problem()

        # An engine's own words become an error in OpenAI's shape, without what it may echo.
        if status >= 400 and not is_error_body(body):
            kind = "server_error" if status >= 500 else "invalid_request_error"
            body = error_body(f"the backend answered with status {status}", kind, "backend_error")
            self._headers = [h for h in self._headers if h[0].lower() == b"retry-after"]
            self._headers.append((b"Content-Type", b"application/json"))

        self._reply.whole(status, self._header_lines(), body)
        self._client.answered(status, problem)

    def _header_lines(self) -> bytes:
        lines = [b"%b: %b\r\n" % pair for pair in self._headers]
        return b"".join(lines) + self._client.own_headers()
