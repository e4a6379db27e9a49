"""Server-sent events of an OpenAI-compatible answer, timed as they arrive, whatever arrives.

Failures are named, and nothing that was seen before them is lost:

    down          no connection            rate_limited   429, with what it asked to wait
    timeout       no byte for too long     server_error   5xx
    unauthorized  401 or 403               refused        any other status that is no success
    not_found     404                      malformed      a chunk that is no JSON of an answer
    empty         ended without a token    closed_early   ended without saying that it is the end
    too_long      went on far beyond the limit that was set
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from headway.http.events import EventReader, payloads
from headway.http.message import BrokenAnswerError
from headway.http.openai import END_MARK, Usage, read_event
from headway.measure.endpoint.probe import Probe

FATAL = frozenset({"unauthorized", "not_found", "refused"})
MAX_EVENT_BYTES = 1_000_000
_FAILURES = {401: "unauthorized", 403: "unauthorized", 404: "not_found", 429: "rate_limited"}


def failure_of(status: int) -> str | None:
    """Return the name of the failure that an HTTP status tells, ``None`` for success."""
    if 200 <= status < 300:
        return None
    return _FAILURES.get(status, "server_error" if status >= 500 else "refused")


@dataclass(slots=True)
class Answer:
    """An answer as it grows; ``feed`` it bytes with the time they came, then ask its `result`.

    Attributes:
        probe: what was asked.
        failure: the name of what went wrong first; ``None`` for nothing.
        message: about that failure.
        is_over: whether the stream said that it is at its end.
        chunks_s: when each event with content came.
        shown_s: when the first of them came that is no reasoning.

    """

    probe: Probe
    failure: str | None = None
    message: str = ""
    is_over: bool = False
    chunks_s: list[float] = field(default_factory=list)
    shown_s: float | None = None
    finish: str | None = None
    usage: Usage = field(default_factory=Usage)
    _events: EventReader = field(default_factory=EventReader)

    @property
    def is_too_long(self) -> bool:
        """Whether there are far more events than the tokens that were asked for."""
        return len(self.chunks_s) > 4 * self.probe.max_tokens + 16

    def feed(self, content: bytes, at_s: float) -> None:
        """Take ``content`` that arrived ``at_s`` seconds after the request was sent."""
        for payload in payloads(self._events.feed(content)):
            self._take(payload, at_s)
        if self._events.held_bytes > MAX_EVENT_BYTES:
            self.fail("malformed", "an event of more than a megabyte")

    def fail(self, failure: str, message: str) -> None:
        """Note what went wrong, unless something did before."""
        if self.failure is None:
            self.failure, self.message = failure, message

    def result(self, end_s: float | None) -> Probe:
        """Return the probe with all that was seen; ``end_s`` is the end of the stream."""
        # A server may forget the empty line after its last event.
        rest = self._events.rest()
        for payload in payloads(rest + b"\n\n"):
            self._take(payload, self.chunks_s[-1] if self.chunks_s else end_s or 0.0)

        if not self.is_over and self.finish is None:
            self.fail("closed_early", "the stream ended without its end being said")
        if not self.chunks_s and not self.usage.output_tokens:
            self.fail("empty", "the stream ended without a token")
        if self.is_too_long:
            self.fail("too_long", "the answer did not end")

        return replace(
            self.probe,
            failure=self.failure,
            message=self.message[:200],
            ttft_s=self.chunks_s[0] if self.chunks_s else None,
            chunks_s=tuple(self.chunks_s),
            shown_s=self.shown_s,
            e2e_s=end_s if self.failure is None else None,
            usage=self.usage,
            finish=self.finish,
        )

    def _take(self, payload: bytes, at_s: float) -> None:
        if self.is_over or self.failure:
            return
        if payload.strip() == END_MARK:
            self.is_over = True
            return
        try:
            event = read_event(payload)
        except BrokenAnswerError as error:
            self.fail("malformed", str(error))
            return

        if event.error:
            self.fail("server_error", event.error)
        elif not event.is_answer:
            self.fail("malformed", f"an event without choices or usage: {payload[:60]!r}")
        self.usage = event.usage or self.usage
        self.finish = event.finish or self.finish
        if event.has_token:
            self.chunks_s.append(max(at_s, self.chunks_s[-1] if self.chunks_s else 0.0))
        if event.is_shown and self.shown_s is None:
            self.shown_s = self.chunks_s[-1]
