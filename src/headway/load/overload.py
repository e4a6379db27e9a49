"""Whether a server keeps up with an open loop: what is under way must not grow to the end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headway.load.answer import Outcome
from headway.workload.record import Floats

MIN_REQUESTS = 30
MIN_GROWTH = 1.5  # of the last third over the one before
MIN_SLOWDOWN = 1.2
MAX_GIVEN_UP = 0.05  # share of the requests


def is_overloaded(outcome: Outcome) -> bool:
    """Return whether a server fell behind an open loop.

    It did if it left more than a few unanswered at the run's bound. Or the requests under way grew
    to the end of the run, and requests took longer towards its end: answers that are longer than
    the run would make the former alone true.
    """
    answers = [a for a in outcome.answers if a.token_s or a.is_given_up]
    num_given_up = sum(a.is_given_up for a in answers)
    if len(answers) >= MIN_REQUESTS and num_given_up > MAX_GIVEN_UP * len(answers):
        return True

    due_s = np.array([a.due_s for a in answers])
    ends_s = np.array([np.inf if a.is_given_up else a.token_s[-1] for a in answers])
    if not grows(due_s, ends_s):
        return False

    order = np.argsort(due_s)
    _, middle, last = np.array_split((ends_s - due_s)[order], 3)
    return bool(np.median(last) > MIN_SLOWDOWN * np.median(middle))


def grows(due_s: Floats | Sequence[float], until_s: Floats | Sequence[float]) -> bool:
    """Return whether the number of requests between ``due_s`` and ``until_s`` grew to the end.

    It did if at the arrivals of the last third it is half as high again as at those before, and by
    more than noise, four times the root of their number (derived here), can explain.
    """
    if len(due_s) < MIN_REQUESTS:
        return False
    under_way = np.arange(len(due_s)) - np.searchsorted(np.sort(until_s), np.sort(due_s))

    _, middle, last = np.array_split(under_way, 3)
    before, after = float(middle.mean()), float(last.mean())
    return after > MIN_GROWTH * before and after - before > 4 * np.sqrt(before + 1)
