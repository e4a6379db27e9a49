"""What crosses this process of an answer that Envoy carries: all of it, its beginning, or nothing.

Where Envoy shows an answer, its tokens are counted as they pass, and the shape of the engine's
answers is learned: bytes per token, and how long after its head a first token comes. Of an answer
that was not shown, the access log's bytes and times then tell the tokens.
"""

from __future__ import annotations

from headway.gateway.envoy.answer_shape import AnswerShape
from headway.gateway.envoy.messages import Passage
from headway.gateway.scheduler.queued import Outcome
from headway.http.events import EventReader
from headway.http.meter import TokenMeter


class Glimpse:
    """What was seen of one answer.

    Attributes:
        code: the status of its head; 0 before.
        num_arrivals: of pieces of its body.

    """

    __slots__ = ("_body", "_events", "_head_s", "_meter", "_num_bytes", "code", "num_arrivals")

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self.code = self.num_arrivals = 0
        self._meter: TokenMeter | None = None
        self._events: EventReader | None = None
        self._body: list[bytes] = []
        self._head_s = 0.0
        self._num_bytes = 0

    @property
    def is_counted(self) -> bool:
        """Whether its tokens are counted: it answers a request for text, and is still looked at."""
        return self._meter is not None

    @property
    def is_stream(self) -> bool:
        """Whether it is a stream of events."""
        return self._events is not None

    @property
    def is_finished(self) -> bool:
        """Whether it said that it is complete."""
        return self._meter is not None and self._meter.finished

    def begin(self, headers: dict[bytes, bytes], api: str, now_s: float) -> None:
        """Its head came; ``api`` is empty where it is no text."""
        self.code = int(headers.get(b":status", b"0"))
        self._head_s = now_s
        if api:
            self._meter = TokenMeter(api)
            is_stream = headers.get(b"content-type", b"").startswith(b"text/event-stream")
            self._events = EventReader() if is_stream else None

    def add(self, data: bytes, now_s: float, max_bytes: int) -> None:
        """A piece of its body came; of an answer in one ``max_bytes`` are kept."""
        if self._meter is None:
            return
        self.num_arrivals += 1
        self._num_bytes += len(data)
        if self._events is not None:
            events = self._events.feed(data)
            if events:
                self._meter.see(events, now_s)
        elif self._num_bytes <= max_bytes:
            self._body.append(data)

    def end(self, now_s: float, shape: AnswerShape | None) -> None:
        """It is complete: ``shape`` learns from the whole of it."""
        if self._meter is None:
            return
        if self._events is not None:
            self._meter.end_stream()
            self.teach_start(shape)
        elif self.code == 200:
            self._meter.read_whole(b"".join(self._body), now_s)
        self._body.clear()
        if self.code == 200 and shape is not None:
            shape.see_whole(self._meter.output_tokens, self._num_bytes)

    def teach(self, shape: AnswerShape | None) -> None:
        """It has come some way: ``shape`` learns after 1, 2, 4, 8, ... arrivals."""
        if self._meter is not None and shape is not None and self.num_arrivals.bit_count() == 1:
            shape.see(self._meter.output_tokens, self._num_bytes)

    def teach_start(self, shape: AnswerShape | None) -> None:
        """``shape`` learns how long after its head its first token came."""
        first_s = None if self._meter is None else self._meter.first_s
        if shape is not None and first_s is not None:
            shape.see_start(first_s - self._head_s)

    def look_away(self) -> None:
        """The rest of it goes its way unseen."""
        self._meter = None

    def outcome(self, status: str, reason: str = "", code: int | None = None) -> Outcome:
        """Return how far it came, with ``status``."""
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


def passed_outcome(
    passage: Passage, shape: AnswerShape, *, begin_s: float, is_stream: bool, outcome: Outcome
) -> Outcome:
    """Return ``outcome`` with what the access log's bytes and times tell of an unseen answer.

    Args:
        passage: the access log's line, with a first byte.
        shape: of this engine's answers.
        begin_s: when the request began, on the loop's clock.
        is_stream: whether its first token can be told from its last.
        outcome: what is known beside it.

    """
    first_byte_s = passage.first_byte_s or 0.0
    last_s = begin_s + (passage.last_byte_s or first_byte_s)
    first_s = min(last_s, begin_s + first_byte_s + shape.head_start_s) if is_stream else last_s
    return Outcome(
        status=outcome.status,
        reason=outcome.reason,
        code=outcome.code,
        first_s=first_s,
        last_s=last_s,
        output_tokens=shape.tokens(passage.body_bytes),
    )
