"""When requests come: renewal processes of a stated burstiness, their rate modulated over minutes.

Every function takes the random stream it draws from: one stream per subsystem keeps arrivals the
same while anything else changes.
"""

from __future__ import annotations

import math

import numpy as np

from headway.errors import InputError
from headway.units import check_positive
from headway.workload.oracle import Floats

WINDOW_S = 60.0
MOST_REQUESTS, LONGEST_S = 50_000_000, 1e9


def gamma_gaps(random: np.random.Generator, count: int, cv: float) -> Floats:
    """``count`` gaps of mean 1 and coefficient of variation ``cv``; 1 is a Poisson process."""
    if cv < 0 or not math.isfinite(cv):
        raise InputError(f"the variation of gaps must be 0 or more, not {cv}")
    if cv == 0:
        return np.ones(count)
    return np.asarray(random.gamma(1 / cv**2, cv**2, count))


def arrivals(
    random: np.random.Generator,
    count: int,
    rate_rps: float,
    gap_cv: float = 1.0,
    rate_cv: float = 0.0,
    tick_s: float = 0.0,
) -> Floats:
    """Times of ``count`` arrivals from 0 on, at ``rate_rps`` on average.

    Args:
        random: the stream.
        count: how many.
        rate_rps: per second.
        gap_cv: variation of the gaps within a minute.
        rate_cv: variation of the rate from minute to minute (gamma distributed).
        tick_s: clock of the recorder: times are rounded down to its multiples.

    """
    check_positive(rate_rps, "arrival rate in requests/s", maximum=1e9)
    if not 1 <= count <= MOST_REQUESTS:
        raise InputError(f"a workload has from 1 to {MOST_REQUESTS:,} requests, not {count}")
    if count / rate_rps > LONGEST_S:
        raise InputError(
            f"{count} requests at {rate_rps:g}/s take {count / rate_rps:.2g} s; a workload lasts "
            f"{LONGEST_S:g} s at most, so give a higher rate or fewer requests"
        )
    operational = np.cumsum(gamma_gaps(random, count, gap_cv)) / rate_rps
    if rate_cv > 0:
        # Arrivals of the even process fall where the modulated rate has accumulated as much.
        windows = math.ceil(operational[-1] / WINDOW_S) * 4 + 8
        factors = np.maximum(random.gamma(1 / rate_cv**2, rate_cv**2, windows), 1e-3)
        passed = np.concatenate([[0.0], np.cumsum(factors) * WINDOW_S])
        clock = np.arange(windows + 1) * WINDOW_S
        operational = np.interp(operational, passed, clock)
    times = operational - operational[0]
    if count > 1 and times[-1] > 0:
        times *= (count - 1) / rate_rps / times[-1]
    return np.asarray(np.floor(times / tick_s) * tick_s if tick_s > 0 else times)


def burstiness(times: Floats) -> tuple[float, float]:
    """Fit ``gap_cv`` and ``rate_cv``: the variation of gaps, and what it leaves of minute counts.

    A renewal process has counts of variance cv^2 x mean over long windows (Cox 1962, section 4.2);
    what the counts vary beyond that is put down to the rate.
    """
    gaps = np.diff(times)
    gaps = gaps[gaps >= 0]
    gap_cv = float(gaps.std() / gaps.mean())
    whole = int(times[-1] // WINDOW_S)
    if whole < 5:
        return gap_cv, 0.0
    counts = np.histogram(times, bins=whole, range=(0, whole * WINDOW_S))[0]
    mean, variance = float(counts.mean()), float(counts.var(ddof=1))
    # Bursts that end within a minute make gaps vary more than counts do.
    gap_cv = min(gap_cv, math.sqrt(variance / mean))
    return gap_cv, math.sqrt(max(variance - gap_cv**2 * mean, 0.0)) / mean
