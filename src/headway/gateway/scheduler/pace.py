"""How fast an engine runs and how much it can hold, learned from the answers it gave.

Nothing is held back from an engine until it has shown that requests wait inside it: by its own
metrics, or by times to the first token (TTFT) that rise while the gaps between tokens stay. Then
the hold starts at the level that was seen. By Little's law the requests that are served are

    level = num_in_flight * served_s / (served_s + wait_s)   (derived here),

where an answer's wait is what its TTFT exceeds the quickest of such prompts by. An engine fills a
free place at its next step, so whoever ends in one step must find somebody waiting inside:
``running / output_tokens`` end in a step, and twice as many, and one, are let wait there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from headway.schedule.view import ServiceTime

ANSWERS_REMEMBERED = 200.0
MIN_ANSWERS = 30
WAIT_SHARE, WAIT_S = 0.1, 0.01  # of an answer's time, and at least: a wait worth the name
RISE = 1.5  # how far above the quickest a TTFT is still usual
CREEP = 1.0003  # the quickest TTFT is forgotten by so much with every answer
ALMOST_ALL = 0.9  # of the answers wait where there is a queue; prompts that no cache had are fewer
NEAR = 0.9  # of a hold: it holds somebody back
GROWTH = 1.1  # of a hold while nobody waits in the engine
HELP = 0.7  # a hold that leaves more of the wait than this has not helped
USUAL_TOKENS = 100.0  # of an answer, before the first
MAX_DOUBLINGS = 10  # of the evidence that is asked for after holds that did not help


@dataclass(slots=True)
class FadingLine:
    """Least-squares line through points whose weight fades with every new point."""

    num_points: int = 0
    weight: float = 0.0
    sum_x: float = 0.0
    sum_y: float = 0.0
    sum_xx: float = 0.0
    sum_xy: float = 0.0

    def add(self, x: float, y: float) -> None:
        """Add one point at full weight."""
        fade = 1 - 1 / ANSWERS_REMEMBERED

        self.num_points += 1
        self.weight = self.weight * fade + 1
        self.sum_x = self.sum_x * fade + x
        self.sum_y = self.sum_y * fade + y
        self.sum_xx = self.sum_xx * fade + x * x
        self.sum_xy = self.sum_xy * fade + x * y

    @property
    def mean_x(self) -> float:
        """Weighted mean of x; 0 before the first point."""
        return self.sum_x / self.weight if self.weight else 0.0

    @property
    def mean_y(self) -> float:
        """Weighted mean of y; 0 before the first point."""
        return self.sum_y / self.weight if self.weight else 0.0

    @property
    def intercept_and_slope(self) -> tuple[float, float] | None:
        """Intercept and slope, both at least 0, or ``None`` while the points do not tell."""
        if self.num_points < MIN_ANSWERS:
            return None

        mean_x, mean_y = self.mean_x, self.mean_y
        variance_x = self.sum_xx / self.weight - mean_x**2
        if variance_x < 1e-3 * max(mean_x**2, 1e-12):
            return None

        covariance = self.sum_xy / self.weight - mean_x * mean_y
        slope = max(0.0, covariance / variance_x)
        intercept = mean_y - slope * mean_x

        # A line through the origin fits best where the intercept would be negative.
        return (intercept, slope) if intercept > 0 else (0.0, mean_y / mean_x)


@dataclass(slots=True)
class Quickest:
    """The quickest TTFTs and gaps of late, to tell a wait from a long prompt or a busy engine.

    Attributes:
        ttft_s: by the number of binary digits of the prompt's tokens.
        gap_s: between two tokens; infinite before there was one.

    """

    ttft_s: dict[int, float] = field(default_factory=dict)
    gap_s: float = math.inf

    def wait_s(self, prompt_tokens: int, ttft_s: float, gap_s: float) -> float:
        """Return the part of ``ttft_s`` that was waiting, after taking the answer in."""
        size = prompt_tokens.bit_length()
        usual_s = min(ttft_s, CREEP * self.ttft_s.get(size, math.inf))
        self.ttft_s[size] = usual_s
        self.gap_s = min(gap_s, CREEP * self.gap_s)

        # Where gaps grow the engine computes more: its first tokens take as much longer.
        usual_s *= max(1.0, gap_s / self.gap_s)
        return ttft_s - usual_s if ttft_s > RISE * usual_s + WAIT_S else 0.0


@dataclass(slots=True)
class _Block:
    """Answers in a row, enough for each place of the engine to have had two.

    Attributes:
        num_answers: of them.
        num_waited: of those, who waited for a share worth the name.
        sum_in_flight: of the requests in flight when each was sent.
        sum_share: of the shares of their time that they waited.

    """

    num_answers: int = 0
    num_waited: int = 0
    sum_in_flight: float = 0.0
    sum_share: float = 0.0

    def add(self, num_in_flight: float, share: float) -> None:
        """One more has waited for ``share`` of its time."""
        self.num_answers += 1
        self.num_waited += share >= WAIT_SHARE
        self.sum_in_flight += num_in_flight
        self.sum_share += share

    @property
    def is_full(self) -> bool:
        """Whether it tells enough."""
        mean_in_flight = self.sum_in_flight / self.num_answers
        return self.num_answers >= max(MIN_ANSWERS, 2 * mean_in_flight)

    @property
    def share(self) -> float:
        """Mean share of an answer's time that was waiting."""
        return self.sum_share / self.num_answers

    @property
    def level(self) -> float:
        """Requests that were served at once."""
        return self.sum_in_flight / self.num_answers * (1 - self.share)


@dataclass(slots=True)
class EnginePace:
    """What one engine does with the requests that it is given.

    Attributes:
        max_in_flight: requests in flight that the operator allows.
        expected: what a request costs before anything was learned.
        hold: requests in flight beyond which more would wait in the engine; infinite until it has
            shown that they do.
        tpot_line: seconds per output token over requests in flight.
        ttft_line: seconds from sending to the first token over tokens of the prompt.
        publishes_queue: whether the engine tells its own queue.

    """

    max_in_flight: int
    expected: ServiceTime = field(default_factory=ServiceTime)
    hold: float = math.inf
    tpot_line: FadingLine = field(default_factory=FadingLine)
    ttft_line: FadingLine = field(default_factory=FadingLine)
    publishes_queue: bool = False
    _running_when_full: float = 0.0  # at the last look, if requests waited in the engine then
    _output_tokens: float = USUAL_TOKENS  # mean of late answers
    _quickest: Quickest = field(default_factory=Quickest)
    _block: _Block = field(default_factory=_Block)
    _num_queued: int = 0  # blocks in a row that have waited
    _share_before: float = 1.0  # of waiting, before anything was held back
    _num_useless: int = 0  # holds in a row that did not help

    @property
    def target_in_flight(self) -> float:
        """Requests in flight that keep the engine busy without a queue inside it."""
        return min(self.max_in_flight, self.hold)

    @property
    def has_queued(self) -> bool:
        """Whether the engine has shown that requests wait inside it."""
        return self.hold < math.inf

    def record_answer(
        self, num_in_flight: float, prompt_tokens: int, *, ttft_s: float, gaps_s: float, tokens: int
    ) -> None:
        """Learn from one complete answer.

        Args:
            num_in_flight: requests that the engine had when this one was sent, with it.
            prompt_tokens: that had to be computed.
            ttft_s: from sending to the first token.
            gaps_s: from the first token to the last.
            tokens: of the answer.

        """
        self.ttft_line.add(prompt_tokens, ttft_s)
        if tokens < 2 or gaps_s <= 0:
            return
        gap_s = gaps_s / (tokens - 1)
        self.tpot_line.add(num_in_flight, gap_s)
        fade = 1 / min(self.tpot_line.num_points, ANSWERS_REMEMBERED)
        self._output_tokens += fade * (tokens - self._output_tokens)

        wait_s = self._quickest.wait_s(prompt_tokens, ttft_s, gap_s)
        if not self.publishes_queue:
            self._record_wait(num_in_flight, wait_s / (ttft_s + gaps_s))

    def _record_wait(self, num_in_flight: float, share: float) -> None:
        """Hold back, or not, by whole blocks of answers, of which this one waited for ``share``."""
        # What was sent before there was a hold says nothing about the hold.
        if num_in_flight > self.hold + 1:
            return
        self._block.add(num_in_flight, share)
        if not self._block.is_full:
            return
        block, self._block = self._block, _Block()

        if not self.has_queued:
            self._num_queued = (
                self._num_queued + 1 if block.num_waited >= ALMOST_ALL * block.num_answers else 0
            )
            if self._num_queued >= 2 ** min(self._num_useless, MAX_DOUBLINGS):
                self._share_before = block.share
                self.hold = self._with_margin(block.level)
        elif block.share > HELP * self._share_before:
            # Held back, and they wait as long: it was no queue.
            self.hold, self._num_useless, self._num_queued = math.inf, self._num_useless + 1, 0
        elif block.share >= WAIT_SHARE:
            self.hold = self._with_margin(block.level)
        elif block.sum_in_flight >= NEAR * self.hold * block.num_answers:
            self.hold = GROWTH * self.hold + 1

    def record_queue(self, num_running: float, num_waiting: float, num_in_flight: int) -> None:
        """Learn from the engine's own metrics how many requests it runs and how many wait in it."""
        self.publishes_queue = True

        # Who has arrived since the last step waits, too: only more than those are a queue, and one
        # look alone is not believed.
        if num_waiting > self._with_margin(num_running) - num_running:
            if self._running_when_full:
                num_served = max(num_running, self._running_when_full)
                ours = min(1.0, num_in_flight / (num_running + num_waiting))
                self.hold = self._with_margin(max(1.0, ours * num_served))
            self._running_when_full = max(num_running, 1.0)
            return

        self._running_when_full = 0.0
        if num_in_flight >= self.hold - 1:
            self.hold = GROWTH * max(self.hold, num_running) + 1

    def _with_margin(self, level: float) -> float:
        """Return ``level`` and those who must wait inside for no place to stay empty."""
        return level + 1 + 2 * level / self._output_tokens

    @property
    def service(self) -> ServiceTime:
        """What a request costs, as far as it was learned."""
        first = self.ttft_line.intercept_and_slope
        fixed_s, prompt_token_s = first or (self.expected.fixed_s, self.expected.prompt_token_s)

        line = self.tpot_line.intercept_and_slope
        if line is not None:
            output_token_s = max(line[0] + line[1] * self.tpot_line.mean_x, 1e-9)
        else:
            output_token_s = self.tpot_line.mean_y or self.expected.output_token_s
        return ServiceTime(fixed_s, prompt_token_s, output_token_s)
