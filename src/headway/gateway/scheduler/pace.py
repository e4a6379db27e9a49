"""How fast an engine runs and how much it can hold, learned from the answers it gave.

An engine's time per output token (TPOT) grows along a line with the requests in flight,

    tpot = base + per_request * num_in_flight,

so its throughput, num_in_flight / tpot, approaches 1 / per_request and reaches the share s of that
at num_in_flight = base / per_request * s / (1 - s)   (derived here).
More requests than that only move the queue from the gateway, which orders it, into the engine,
which does not.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from headway.schedule.view import ServiceTime

ANSWERS_REMEMBERED = 200.0
MIN_ANSWERS = 30
TARGET_SHARE = 0.9  # of the engine's best throughput
FIRST_LIMIT = 32
ADJUSTMENT = 0.05  # of the way to the target, with every answer
MAX_STRETCH, STRETCH_REQUESTS = 1.5, 8  # how far beyond what was tried a target is believed


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
class EnginePace:
    """What one engine does with the requests that it is given.

    Attributes:
        max_in_flight: requests in flight that the operator allows.
        expected: what a request costs before anything was learned.
        target_in_flight: requests in flight that keep the engine busy without a queue inside it.
        tpot_line: seconds per output token over requests in flight.
        ttft_line: seconds from sending to the first token over tokens of the prompt.
        publishes_queue: whether the engine tells its own queue.

    """

    max_in_flight: int
    expected: ServiceTime = field(default_factory=ServiceTime)
    target_in_flight: float = FIRST_LIMIT
    tpot_line: FadingLine = field(default_factory=FadingLine)
    ttft_line: FadingLine = field(default_factory=FadingLine)
    publishes_queue: bool = False
    _running_when_full: float = 0.0  # at the last look, if requests waited in the engine then
    _last_line: tuple[float, float] | None = None  # the last that the TPOTs told

    def __post_init__(self) -> None:
        self.target_in_flight = float(min(self.max_in_flight, self.target_in_flight))

    def record_answer(
        self, num_in_flight: float, prompt_tokens: int, ttft_s: float, tpot_s: float | None
    ) -> None:
        """Learn from one complete answer that ran beside ``num_in_flight`` requests."""
        self.ttft_line.add(prompt_tokens, ttft_s)
        if tpot_s is None or tpot_s <= 0:
            return
        self.tpot_line.add(num_in_flight, tpot_s)
        if self.publishes_queue:
            return

        # An engine at its limit always runs as many: the line is the one from the way there.
        line = self._last_line = self.tpot_line.intercept_and_slope or self._last_line
        if line is None:
            if num_in_flight >= 0.8 * self.target_in_flight:
                self._set_target(self.target_in_flight + 0.25)
            return

        base_s, per_request_s = line
        target = 2 * num_in_flight + 1
        if per_request_s > 0:
            target = base_s / per_request_s * TARGET_SHARE / (1 - TARGET_SHARE)

        # What was never tried is not believed at once.
        target = min(max(target, 1.0), MAX_STRETCH * self.tpot_line.mean_x + STRETCH_REQUESTS)
        way = target - self.target_in_flight
        self._set_target(max(1.0, self.target_in_flight + ADJUSTMENT * way))

    def record_queue(self, num_running: float, num_waiting: float, num_in_flight: int) -> None:
        """Learn from the engine's own metrics how many requests it runs and how many wait in it."""
        self.publishes_queue = True
        if num_waiting > 0:
            # Who has just arrived waits too, until the next step: one look alone is not believed.
            if self._running_when_full:
                self._set_target(max(num_running, self._running_when_full))
            self._running_when_full = max(num_running, 1.0)
            return

        self._running_when_full = 0.0
        if num_in_flight >= self.target_in_flight - 1:
            self._set_target(self.target_in_flight * 1.1 + 1)

    def _set_target(self, num_in_flight: float) -> None:
        self.target_in_flight = min(self.max_in_flight, num_in_flight)

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
