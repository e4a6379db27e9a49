"""Tokens and their times, read off an answer as it passes.

While a stream runs its events are counted, not decoded. Only the first ones are read, until a token
is there, and the last ones, which hold the engine's own count: they were counted as tokens, too,
and what is none of them is taken back.
"""

from __future__ import annotations

from headway.http.events import num_events, payloads
from headway.http.message import BrokenAnswerError
from headway.http.openai import END_MARK, RESPONSES, AnswerEvent, Usage, read_event

MAX_CLOSING = 8  # events after the last token: its finish, the usage, [DONE]

# The bytes of one arrival, and how many tokens it was counted for.
_Arrival = tuple[bytes, int]
_NOTHING: _Arrival = (b"", 0)
_NO_USAGE = Usage()


class TokenMeter:
    """Counts the tokens of one answer.

    Attributes:
        first_s, last_s: when the first and the last token came, on the clock of who feeds it.
        num_tokens: events with content so far; engines usually send one for each token.
        times: of each token, where they are kept; else ``None``.
        usage: as the engine counts (known at the end).
        finished: whether the answer said that it is complete (known at the end).
        error: the engine's error (known at the end); empty for none.

    """

    __slots__ = (
        "_mark", "_tail", "error", "finished", "first_s", "last_s", "num_tokens", "times", "usage",
    )  # fmt: skip

    def __init__(self, api: str, *, keeps_times: bool = False) -> None:
        """Nothing has come yet; ``keeps_times`` of every token."""
        # Other events lie between the tokens of the Responses API.
        self._mark = b'.delta"' if api == RESPONSES else None
        self._tail: tuple[_Arrival, _Arrival, _Arrival] = (_NOTHING, _NOTHING, _NOTHING)
        self.first_s: float | None = None
        self.last_s = 0.0
        self.num_tokens = 0
        self.times: list[float] | None = [] if keeps_times else None
        self.usage = _NO_USAGE
        self.finished = False
        self.error = ""

    @property
    def output_tokens(self) -> int:
        """The engine's count of tokens if it gave one, else the events with content."""
        return self.usage.output_tokens or self.num_tokens

    def see(self, events: bytes, now_s: float) -> None:
        """Count whole events that came at ``now_s``.

        Raises:
            BrokenAnswerError: one of the first is no JSON object.

        """
        count = num_events(events)
        if not count:
            return  # a comment keeps a connection alive, and says nothing

        if self.first_s is None:
            count = self._tokens_from_first(events)
            self.first_s = now_s if count else None
        elif self._mark is not None:
            count = events.count(self._mark)

        tail = self._tail
        self._tail = (tail[1], tail[2], (events, count))
        if count:
            self.last_s = now_s
            self.num_tokens += count
            if self.times is not None:
                self.times += (now_s,) * count

    def end_stream(self) -> None:
        """The stream is over: read its last events, once, from the end to the last token."""
        arrivals = [(payloads(events), count) for events, count in self._tail]
        self._tail = (_NOTHING, _NOTHING, _NOTHING)
        counts_events = self._mark is None

        num_counted = sum(count for _, count in arrivals)
        closing = [payload for data, _ in arrivals for payload in data][-MAX_CLOSING:]
        num_empty = 0
        for payload in reversed(closing):
            if self._read_closing(payload):
                break
            num_empty += 1
        if counts_events:
            self._take_back(min(num_empty, num_counted))

    def read_whole(self, body: bytes, now_s: float) -> bool:
        """Read an answer that came in one piece; return whether it is a JSON object."""
        try:
            event = read_event(body)
        except BrokenAnswerError:
            return False
        self.first_s = self.last_s = now_s
        self._note(event)
        self.finished = True
        self.num_tokens = 1
        if self.times is not None:
            self.times.append(now_s)
        return True

    def _tokens_from_first(self, events: bytes) -> int:
        """Return how many tokens there are from the first event with content on."""
        data = payloads(events)
        for place, payload in enumerate(data):
            if payload != END_MARK and read_event(payload).has_token:
                rest = data[place + 1 :]
                if self._mark is not None:
                    rest = [other for other in rest if self._mark in other]
                return 1 + len(rest)
        return 0

    def _take_back(self, count: int) -> None:
        """Count the last ``count`` no more: they were no tokens."""
        self.num_tokens -= count
        if self.times is not None:
            del self.times[len(self.times) - count :]

    def _read_closing(self, payload: bytes) -> bool:
        """Read one of the last events; return whether it is a token."""
        if payload == END_MARK:
            self.finished = True
            return False
        try:
            event = read_event(payload)
        except BrokenAnswerError:
            return False
        self._note(event)
        return event.has_token

    def _note(self, event: AnswerEvent) -> None:
        self.usage = event.usage or self.usage
        self.error = self.error or event.error
        self.finished |= event.finish is not None or bool(event.error)
