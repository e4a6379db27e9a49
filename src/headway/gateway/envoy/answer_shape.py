"""How many tokens an answer has, from its bytes alone: learnt from the few that are looked into.

Envoy counts the bytes of every answer, and the bytes of an engine's answers grow along a line with
their tokens: an opening and an end, and for each token an event, or a word.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from headway.gateway.scheduler.pace import FadingLine

FIRST_LOOKS, LOOK_EVERY = 24, 256  # the first answers are looked into, then one of so many
MAX_LOOK_ARRIVALS = 64  # of one answer
MEMORY = 0.9


@dataclass(slots=True)
class AnswerShape:
    """Answers of one engine to one API, streamed or whole.

    Attributes:
        opening_bytes, token_bytes: what is expected before anything was seen.
        line: bytes of an answer over its tokens, before its end.
        end_bytes: mean bytes of an answer beyond those of its last token.
        head_start_s: mean time from an answer's first byte to its first token.

    """

    opening_bytes: float
    token_bytes: float
    line: FadingLine = field(default_factory=FadingLine)
    end_bytes: float = 0.0
    head_start_s: float = 0.0
    _num_ends: int = 0
    _num_starts: int = 0

    @classmethod
    def expected(cls, *, stream: bool) -> AnswerShape:
        """Return the usual shape: an event has some 200 bytes, a word of a whole answer four."""
        return cls(300.0, 200.0) if stream else cls(350.0, 4.2)

    def see(self, tokens: int, num_bytes: int) -> None:
        """The first part of an answer has ``tokens`` in ``num_bytes``."""
        if tokens > 0:
            self.line.add(tokens, num_bytes)

    def see_whole(self, tokens: int, num_bytes: int) -> None:
        """A whole answer does."""
        line = self.line.intercept_and_slope
        if line is None:
            self.see(tokens, num_bytes)
            return
        self._num_ends += 1
        beyond_bytes = max(0.0, num_bytes - line[0] - line[1] * tokens)
        self.end_bytes = _mean(self.end_bytes, beyond_bytes, self._num_ends)

    def see_start(self, head_start_s: float) -> None:
        """Its first token came so long after its first byte."""
        self._num_starts += 1
        self.head_start_s = _mean(self.head_start_s, head_start_s, self._num_starts)

    def tokens(self, num_bytes: int) -> int:
        """Return the tokens of a whole answer of ``num_bytes``, at least 1."""
        opening_bytes, token_bytes = self.opening_bytes, self.token_bytes
        line = self.line.intercept_and_slope
        if line is not None and line[1] > 0:
            opening_bytes, token_bytes = line
        elif self.line.mean_x:
            token_bytes = max(1.0, (self.line.mean_y - opening_bytes) / self.line.mean_x)
        return max(1, round((num_bytes - opening_bytes - self.end_bytes) / token_bytes))


def _mean(mean: float, value: float, number: int) -> float:
    """Return the mean with the ``number``-th value, of which old ones fade."""
    memory = min(MEMORY, 1 - 1 / number)
    return memory * mean + (1 - memory) * value


class Looks:
    """Says which answers are looked into."""

    def __init__(self) -> None:
        """Begin with the first ones."""
        self._num_requests = 0

    def next(self) -> bool:
        """Return whether the answer to the next request is."""
        self._num_requests += 1
        number = self._num_requests
        return number <= FIRST_LOOKS or number % LOOK_EVERY == 0
