"""A length with its doubt: quantiles of the answer's tokens, and what is left of them later.

Between the quantiles, and beyond them, ln(1 + tokens) is linear in logit(level): the tails are
those of a log-logistic distribution, so heavy ones stay heavy (derived here).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from operator import le, lt

import numpy as np
from numpy.typing import NDArray

from headway.errors import InputError

LEVELS: tuple[float, ...] = (
    0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99,
)  # fmt: skip
MAX_TOKENS = 1e7
_EDGE = 1e-9


@dataclass(frozen=True, slots=True)
class LengthPrediction:
    """The distribution of one answer's output tokens.

    Attributes:
        quantiles: (level, tokens), at least two, both non-decreasing, levels in (0, 1).
        max_tokens: no answer is longer; ``None`` for no limit.
        at_least: the answer is known to be at least this long.
    """

    quantiles: tuple[tuple[float, float], ...]
    max_tokens: int | None = None
    at_least: float = 0.0

    def __post_init__(self) -> None:
        if len(self.quantiles) < 2:
            raise InputError(f"a prediction needs at least 2 quantiles, not {len(self.quantiles)}")
        if not self._in_order:
            self._refuse()
        if self.max_tokens is not None and self.max_tokens < 1:
            raise InputError(f"max_tokens must be at least 1, not {self.max_tokens}")
        if not self.at_least >= 0:
            raise InputError(f"at_least must not be negative, not {self.at_least}")

    @property
    def _in_order(self) -> bool:
        """Whether the quantiles are what they must be, without a loop of Python's."""
        levels, tokens = zip(*self.quantiles, strict=True)
        return (
            levels[0] > 0
            and levels[-1] < 1
            and tokens[0] >= 0
            and tokens[-1] <= MAX_TOKENS
            and all(map(lt, levels, levels[1:]))
            and all(map(le, tokens, tokens[1:]))
        )

    def _refuse(self) -> None:
        for level, tokens in self.quantiles:
            if not (0 < level < 1 and 0 <= tokens <= MAX_TOKENS):
                raise InputError(
                    f"a quantile is (level in (0, 1), tokens from 0 to 1e7), not {(level, tokens)}"
                )
        for (level, tokens), (next_level, next_tokens) in pairwise(self.quantiles):
            if not (level < next_level and tokens <= next_tokens):
                raise InputError(
                    f"quantiles must not cross: {(level, tokens)}, then {(next_level, next_tokens)}"
                )

    def at(self, level: float) -> float:
        """Return the tokens that the answer stays below with probability ``level``."""
        if not 0 < level < 1:
            raise InputError(f"a level lies between 0 and 1, not at {level}")

        levels, tokens = zip(*self.quantiles, strict=True)
        value = math.expm1(
            _line(logit(level), [logit(v) for v in levels], [math.log1p(t) for t in tokens])
        )
        return self._bounded(value)

    def probability_below(self, tokens: float) -> float:
        """Return the probability that the answer has at most ``tokens`` tokens."""
        levels, lengths = zip(*self.quantiles, strict=True)
        xs = [math.log1p(t) for t in lengths]

        # Equal quantiles would make the inverse ambiguous; the smallest step keeps their order.
        for i in range(1, len(xs)):
            xs[i] = max(xs[i], xs[i - 1] + 1e-9)

        place = _line(math.log1p(max(tokens, 0.0)), xs, [logit(v) for v in levels])
        return min(max(1 / (1 + math.exp(-max(min(place, 40.0), -40.0))), _EDGE), 1 - _EDGE)

    def given_at_least(self, tokens: float) -> LengthPrediction:
        """Return the distribution of the whole length, once ``tokens`` were written and it goes on.

        Level q of the result is level F + q (1 - F) of this one, with F the probability of an
        answer shorter than ``tokens``; what remains is its quantile less ``tokens``.
        """
        if not (math.isfinite(tokens) and tokens >= 0):
            raise InputError(f"tokens so far must be finite and not negative, not {tokens}")
        floor = max(self.at_least, min(tokens, MAX_TOKENS))
        if self.max_tokens is not None:
            floor = min(floor, self.max_tokens)

        below = self.probability_below(floor) if floor > 0 else 0.0
        tokens = floor
        quantiles: list[tuple[float, float]] = []
        for level, _ in self.quantiles:
            whole_level = min(below + level * (1 - below), 1 - 1e-12)
            tokens = max(tokens, self.at(max(whole_level, _EDGE)))
            quantiles.append((level, min(tokens, MAX_TOKENS)))
        return LengthPrediction(tuple(quantiles), self.max_tokens, floor)

    @property
    def mean_tokens(self) -> float:
        """The mean, as `mean_tokens` has it."""
        levels, tokens = zip(*self.quantiles, strict=True)
        if levels != LEVELS or self.at_least > 0:
            tokens = tuple(self.at(level) for level in LEVELS)
        return float(mean_tokens(np.array([tokens]))[0])

    def _bounded(self, tokens: float) -> float:
        limit = MAX_TOKENS if self.max_tokens is None else float(self.max_tokens)
        return min(max(tokens, self.at_least, 0.0), limit)


def logit(level: float) -> float:
    """Return ln(level / (1 - level))."""
    return math.log(level) - math.log1p(-level)


def _mean_reading() -> NDArray[np.float64]:
    """Return what reads quantiles at `LEVELS` at 99 evenly spread levels, [levels, 99]."""
    logits = [logit(level) for level in LEVELS]
    at = [logit((i + 0.5) / 99) for i in range(99)]
    return np.stack([np.interp(at, logits, unit) for unit in np.eye(len(LEVELS))])


_MEAN_READING = _mean_reading()


def mean_tokens(quantiles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of each row of ``quantiles`` at `LEVELS`, [rows].

    It is that of the quantiles at 99 evenly spread levels, so the upper 0.5% is cut off.
    """
    means: NDArray[np.float64] = np.expm1(np.log1p(quantiles) @ _MEAN_READING).mean(axis=-1)
    return means


def _line(x: float, xs: list[float], ys: list[float]) -> float:
    """Return y at ``x`` on the broken line through the points, its ends prolonged."""
    high = 1
    while high < len(xs) - 1 and xs[high] < x:
        high += 1
    x0, x1, y0, y1 = xs[high - 1], xs[high], ys[high - 1], ys[high]
    return min(y0 + (y1 - y0) * (x - x0) / (x1 - x0), 700.0)
