"""How fast an engine is and how much it can hold, learned from what it does.

A token's gap grows along a line with the requests in flight, ``gap = base + each * n``; n requests
then make ``n / (base + each * n)`` tokens a second, at most ``1 / each``. The engine reaches the
share s of that with ``n = base / each * s / (1 - s)`` requests (derived here): more than that only
moves the queue from the gateway, where it is in order, to the engine, where it is not.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from headway.schedule.view import ServiceTime

MEMORY = 200.0  # answers that an estimate rests on
FEWEST = 30
BUSY_SHARE = 0.9
FIRST_LIMIT = 32
FAILURES = 3  # in a row, until an engine is left alone
FIRST_PAUSE_S, MOST_PAUSE_S = 1.0, 30.0


@dataclass(slots=True)
class Line:
    """A straight line through points, the older the lighter."""

    weight: float = 0.0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0
    seen: int = 0

    def see(self, x: float, y: float) -> None:
        """One more point."""
        keep = 1 - 1 / MEMORY
        self.weight = self.weight * keep + 1
        self.x = self.x * keep + x
        self.y = self.y * keep + y
        self.xx = self.xx * keep + x * x
        self.xy = self.xy * keep + x * y
        self.seen += 1

    def fit(self) -> tuple[float, float] | None:
        """(height at 0, slope), both at least 0; ``None`` where the points do not tell."""
        if self.seen < FEWEST:
            return None
        mean_x, mean_y = self.x / self.weight, self.y / self.weight
        spread = self.xx / self.weight - mean_x**2
        if spread < 1e-3 * max(mean_x**2, 1e-12):
            return None
        slope = max(0.0, (self.xy / self.weight - mean_x * mean_y) / spread)
        height = mean_y - slope * mean_x
        return (height, slope) if height > 0 else (0.0, mean_y / mean_x)


@dataclass(slots=True)
class Speed:
    """What one engine was seen to do.

    Attributes:
        most: requests in flight that its owner allows.
        limit: requests in flight that keep it busy.
        usual: what a request costs before anything was seen.
    """

    most: int
    limit: float = FIRST_LIMIT
    gaps: Line = field(default_factory=Line)
    firsts: Line = field(default_factory=Line)
    usual: ServiceTime = field(default_factory=ServiceTime)
    told: bool = False  # whether the engine publishes its own queue
    full_with: float = 0.0  # what it ran at the last look, if others waited in it then
    line: tuple[float, float] | None = None  # the last that the gaps showed

    def __post_init__(self) -> None:
        self.limit = float(min(self.most, self.limit))

    def answered(
        self,
        inflight: float,
        prompt_tokens: int,
        first_s: float,
        gap_s: float | None,
    ) -> None:
        """An answer is complete: ``first_s`` from sending to first token, ``gap_s`` its TPOT."""
        self.firsts.see(prompt_tokens, first_s)
        if gap_s is None or gap_s <= 0:
            return
        self.gaps.see(inflight, gap_s)
        if self.told:
            return
        # An engine at its limit always runs as many: the line is the one seen on the way there.
        self.line = fit = self.gaps.fit() or self.line
        if fit is None:
            if inflight >= 0.8 * self.limit:
                self.limit = min(self.most, self.limit + 0.25)
            return
        height, slope = fit
        busy = height / slope * BUSY_SHARE / (1 - BUSY_SHARE) if slope > 0 else 2 * inflight + 1
        # What was never tried is not believed at once: at most half as much again as was seen.
        target = min(max(busy, 1.0), 1.5 * self.gaps.x / self.gaps.weight + 8)
        self.limit = min(self.most, max(1.0, self.limit + 0.05 * (target - self.limit)))

    def published(self, running: float, waiting: float, inflight: int) -> None:
        """The engine's own ``/metrics`` said how many it runs and how many wait in it."""
        self.told = True
        if waiting > 0:
            # Who has just arrived waits too, until the next step: one look alone is not believed.
            if self.full_with:
                self.limit = min(self.most, max(running, self.full_with))
            self.full_with = max(running, 1.0)
            return
        self.full_with = 0.0
        if inflight >= self.limit - 1:
            self.limit = min(self.most, self.limit * 1.1 + 1)

    @property
    def service(self) -> ServiceTime:
        """What a request costs, as far as it is known."""
        fit = self.gaps.fit()
        gap_s = None
        if self.gaps.seen:
            gap_s = self.gaps.y / self.gaps.weight
        first = self.firsts.fit()
        usual = self.usual
        return ServiceTime(
            fixed_s=first[0] if first else usual.fixed_s,
            prompt_token_s=first[1] if first else usual.prompt_token_s,
            output_token_s=(gap_s if gap_s else usual.output_token_s)
            if fit is None
            else max(fit[0] + fit[1] * self.gaps.x / self.gaps.weight, 1e-9),
        )


@dataclass(slots=True)
class Breaker:
    """Keeps requests away from an engine that fails.

    Attributes:
        failures: in a row.
        closed_from_s: when the engine may be tried again.
    """

    failures: int = 0
    closed_from_s: float = 0.0
    trial: bool = False

    def allows(self, now_s: float) -> bool:
        """Whether a request may go there: yes, no, or one on trial."""
        if self.failures < FAILURES:
            return True
        return now_s >= self.closed_from_s and not self.trial

    def sent(self) -> None:
        """A request goes there."""
        if self.failures >= FAILURES:
            self.trial = True

    def worked(self) -> None:
        """It answered."""
        self.failures = 0
        self.trial = False

    def failed(self, now_s: float) -> None:
        """It did not."""
        self.failures += 1
        self.trial = False
        if self.failures >= FAILURES:
            # Thousands may fail at once: the exponent is bounded before the power is taken.
            doublings = min(self.failures - FAILURES, 16)
            pause = min(MOST_PAUSE_S, FIRST_PAUSE_S * 2.0**doublings)
            self.closed_from_s = now_s + pause

    def undecided(self) -> None:
        """The request that was sent ended without saying anything about the engine."""
        self.trial = False
