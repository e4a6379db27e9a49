"""Tokens and their times, read off an answer as it passes.

While a stream runs its events are counted, not decoded. Only the first ones are read, until a token
is there, and the last ones, which hold the engine's own count: they were counted as tokens, too,
and what is none of them is taken back. Of an event too long to be kept its two ends are read.
What the meter does not understand it says (`odd`); whoever passes the bytes on passes them anyway.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator

from headway.http.events import payloads, split_events
from headway.http.message import BrokenAnswerError
from headway.http.openai import END_MARK, RESPONSES, AnswerEvent, Usage, read_event, read_excerpt

MAX_CLOSING = 8  # events after the last token: its finish, the usage, [DONE]
MAX_TAIL = 32  # arrivals that are kept for them
LONG_EVENT_BYTES = 16_384
EXCERPT_BYTES = 16_384  # of the end of a long event, where its usage is
HEAD_BYTES = 1_024

# Events without a token that must be read at the end all the same.
_SAYS_MORE = re.compile(rb'\[DONE\]|"usage"|"error"|response\.(?:completed|incomplete|failed)')
# A text that is not empty, where a choice has one: within a text its quotes would be escaped.
_SHOWS_TEXT = re.compile(rb'"(?:content|text)"\s*:\s*"[^"]')
_NO_USAGE = Usage()


def looks_usual(events: bytes) -> bool:
    """Return whether each of whole ``events`` looks like one of chat or completions, unread."""
    num_events = events.count(b"data: {")
    return (
        num_events > 0
        and num_events == events.count(b'"choices"') == events.count(b"}\n\n")
        and b'"error"' not in events
    )


class _Excerpt:
    """The beginning and the end of an event of any length.

    Attributes:
        head, tail: its two ends.
        has_mark: whether what marks a token is anywhere in it.

    """

    __slots__ = ("has_mark", "head", "tail")

    def __init__(self) -> None:
        self.head = self.tail = b""
        self.has_mark = False

    def add(self, piece: bytes, mark: bytes) -> None:
        """The event goes on with ``piece``."""
        if len(self.head) < HEAD_BYTES:
            self.head += piece[: HEAD_BYTES - len(self.head)]
        # The mark may have begun in the piece before.
        self.has_mark = self.has_mark or mark in self.tail[1 - len(mark) :] + piece
        self.tail = (self.tail + piece[-EXCERPT_BYTES:])[-EXCERPT_BYTES:]

    def read(self) -> AnswerEvent:
        return read_excerpt(self.head, self.tail, has_mark=self.has_mark)


# Whole events, how many marks there are in them, and how many tokens they were counted for.
_Arrival = tuple[bytes | _Excerpt, int, int]


class TokenMeter:
    """Counts the tokens of one answer.

    Attributes:
        first_s, last_s: when the first and the last token came, on the clock of who feeds it.
        num_tokens: events with content so far; engines usually send one for each token.
        times: of each token, where they are kept; else ``None``.
        usage: as the engine counts (known at the end).
        finished: whether the answer said that it is complete (known at the end).
        error: the engine's error (known at the end); empty for none.
        odd: whether there was something that is no JSON object.

    """

    __slots__ = (
        "_long", "_mark", "_num_kept", "_tail", "error", "finished", "first_s", "last_s",
        "num_tokens", "odd", "times", "usage",
    )  # fmt: skip

    def __init__(self, api: str, *, keeps_times: bool = False) -> None:
        """Nothing has come yet; ``keeps_times`` of every token."""
        # Every event with content has it once: within a text its quotes would be escaped.
        self._mark = b'.delta"' if api == RESPONSES else b'"choices"'
        self._long: _Excerpt | None = None  # the event that is passing in parts
        self._tail: deque[_Arrival] = (
            deque()
        )  # the last `MAX_CLOSING` marks, and what came between them
        self._num_kept = 0  # marks in it
        self.first_s: float | None = None
        self.last_s = 0.0
        self.num_tokens = 0
        self.times: list[float] | None = [] if keeps_times else None
        self.usage = _NO_USAGE
        self.finished = False
        self.error = ""
        self.odd = False

    @property
    def output_tokens(self) -> int:
        """The engine's count of tokens if it gave one, else the events with content."""
        return self.usage.output_tokens or self.num_tokens

    def see(self, events: bytes, now_s: float) -> None:
        """Count whole events that came at ``now_s``."""
        if self._long is not None or len(events) > LONG_EVENT_BYTES:
            self._see_long(events, now_s)
            return

        count = num_marks = events.count(self._mark)
        if self.first_s is None:
            count = self._tokens_from_first(payloads(events))
        if num_marks or _SAYS_MORE.search(events):
            self._keep(events, num_marks, count, now_s)

    def see_part(self, data: bytes) -> None:
        """Take a part of an event, or of an answer in one, that is too long to be kept."""
        if self._long is None:
            self._long = _Excerpt()
        self._long.add(data, self._mark)

    def end_stream(self) -> None:
        """The stream is over: read its last events, once, from the end to the last token."""
        tail, self._tail = self._tail, deque()
        num_counted = sum(count for _, _, count in tail)
        num_empty = num_marked = 0

        for event, has_mark in self._closing(tail):
            num_marked += has_mark
            if event.has_token or num_marked > MAX_CLOSING:
                break
            num_empty += has_mark
        self._take_back(min(num_empty, num_counted))

    def read_whole(self, body: bytes, now_s: float) -> bool:
        """Read an answer that came in one piece; return whether it is a JSON object."""
        try:
            event = read_event(body)
        except BrokenAnswerError:
            self.odd = True
            return False
        self._read_whole(event, now_s)
        return True

    def read_whole_parts(self, now_s: float) -> None:
        """Read what is kept of an answer in one that came by `see_part`."""
        if self._long is not None:
            self._read_whole(self._long.read(), now_s)

    @property
    def says_end(self) -> bool:
        """Whether what came last says that nothing follows it."""
        last = self._tail[-1][0] if self._tail else b""
        data = payloads(last) if isinstance(last, bytes) else []
        return bool(data) and (data[-1] == END_MARK or b'"response.completed"' in data[-1])

    # events

    def _keep(self, arrival: bytes | _Excerpt, num_marks: int, count: int, now_s: float) -> None:
        """Keep what may be among the last, and count its tokens."""
        tail = self._tail
        tail.append((arrival, num_marks, count))
        self._num_kept += num_marks
        while self._num_kept - tail[0][1] >= MAX_CLOSING or len(tail) > MAX_TAIL:
            self._num_kept -= tail.popleft()[1]

        if count:
            if self.first_s is None:
                self.first_s = now_s
            self.last_s = now_s
            self.num_tokens += count
            if self.times is not None:
                self.times += (now_s,) * count

    def _see_long(self, events: bytes, now_s: float) -> None:
        """Count events one of which may be long; the first may be the end of one."""
        short: list[bytes] = []
        for event in split_events(events):
            if self._long is None and len(event) <= LONG_EVENT_BYTES:
                short.append(event)
                continue

            # Those before it come first; joined they may be long, which none of them is.
            for earlier in short:
                self.see(earlier, now_s)
            short = []
            self.see_part(event)
            excerpt, self._long = self._long, None
            if excerpt is not None:
                self._see_excerpt(excerpt, now_s)
        for event in short:
            self.see(event, now_s)

    def _see_excerpt(self, excerpt: _Excerpt, now_s: float) -> None:
        count = int(excerpt.has_mark)
        if self.first_s is None:
            count = int(excerpt.read().has_token)
        self._keep(excerpt, int(excerpt.has_mark), count, now_s)

    def _tokens_from_first(self, data: list[bytes]) -> int:
        """Return how many tokens there are from the first event with content on."""
        for place, payload in enumerate(data):
            if self._mark in payload and self._read(payload).has_token:
                return 1 + sum(self._mark in other for other in data[place + 1 :])
            if self._mark not in payload and payload != END_MARK:
                self._read(payload)  # whether it can be understood
        return 0

    def _closing(self, tail: deque[_Arrival]) -> Iterator[tuple[AnswerEvent, bool]]:
        """Yield the last events, from the end on, and whether each has the mark; note them all."""
        for arrival, _, _ in reversed(tail):
            if isinstance(arrival, _Excerpt):
                event = arrival.read()
                self._note(event)
                yield event, arrival.has_mark
                continue
            for payload in reversed(payloads(arrival)):
                has_mark = self._mark in payload
                # Once count and end are known, only the last token is looked for.
                if has_mark and self._knows_end and _SHOWS_TEXT.search(payload):
                    yield _TOKEN, True
                    continue
                event = self._read(payload)
                self._note(event)
                yield event, has_mark

    @property
    def _knows_end(self) -> bool:
        """Whether nothing that is earlier can add to count and end."""
        return self.finished and self.usage is not _NO_USAGE

    def _read(self, payload: bytes) -> AnswerEvent:
        """Return what ``payload`` says: nothing, if it is no JSON object."""
        if payload == END_MARK:
            return _END
        try:
            return read_event(payload)
        except BrokenAnswerError:
            self.odd = True
            return _NOTHING

    def _read_whole(self, event: AnswerEvent, now_s: float) -> None:
        self.first_s = self.last_s = now_s
        self._note(event)
        self.finished = True
        self.num_tokens = 1
        if self.times is not None:
            self.times.append(now_s)

    def _take_back(self, count: int) -> None:
        """Count the last ``count`` no more: they were no tokens."""
        self.num_tokens -= count
        if self.times is not None:
            del self.times[len(self.times) - count :]

    def _note(self, event: AnswerEvent) -> None:
        # From the end on: what came last holds.
        if self.usage is _NO_USAGE and event.usage is not None:
            self.usage = event.usage
        self.error = self.error or event.error
        self.finished |= event.finish is not None or bool(event.error)


_NOTHING = AnswerEvent(is_answer=False)
_TOKEN = AnswerEvent(has_token=True)
_END = AnswerEvent(finish="end")
