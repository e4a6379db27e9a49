"""Search how much load a server takes, with few questions."""

from __future__ import annotations

from collections.abc import Callable

GAIN = 1.05
MAX_DOUBLINGS = 12  # of the rate, or halvings, in search of the one that is kept up with


def saturation(throughput: Callable[[int], float], max_level: int) -> int:
    """Return the smallest concurrency within 5% of the best throughput, by doubling, then halving.

    Args:
        throughput: measures one concurrency; each is asked once.
        max_level: the highest concurrency to try.

    """
    results: dict[int, float] = {}

    def at(level: int) -> float:
        if level not in results:
            results[level] = throughput(level)
        return results[level]

    # Double while it pays.
    level = 1
    while level < max_level and at(min(2 * level, max_level)) > GAIN * at(level):
        level = min(2 * level, max_level)

    # Then halve the distance between the last that did not suffice and the first that does.
    best = max(results.values(), default=at(level))
    low, high = level // 2, level
    while high - low > max(1, high // 8):
        middle = (low + high) // 2
        if at(middle) * GAIN >= best:
            high = middle
        else:
            low = middle
    return high


def kept_up(keeps_up: Callable[[float], bool], start_rps: float) -> float:
    """Return the highest rate that a server keeps up with, to an eighth; 0 if there was none.

    Args:
        keeps_up: asks at one rate, each once, whether the server keeps up.
        start_rps: the first rate; from there it is doubled, or halved, and then bisected.

    """
    low = high = start_rps
    if keeps_up(start_rps):
        for _ in range(MAX_DOUBLINGS):
            low, high = high, 2 * high
            if not keeps_up(high):
                break
        else:
            return high
    else:
        for _ in range(MAX_DOUBLINGS):
            low, high = low / 2, low
            if keeps_up(low):
                break
        else:
            return 0.0

    while high > 1.125 * low:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if keeps_up(middle) else (low, middle)
    return low
