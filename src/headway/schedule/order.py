"""Who goes next: a policy gives every waiting request a key, the smallest goes first.

A key may change with time, but only along a line, ``key + slope * now``. That lets a simulation
keep its queue sorted without asking again, and a gateway sort what waits whenever it likes: both
call the same `keys`. Where a policy gives due dates as well, those who can start in time go first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from headway.errors import InputError
from headway.schedule.due import Dues
from headway.schedule.view import Floats, Ints, View
from headway.units import check_positive


@dataclass(frozen=True, slots=True, eq=False)
class Keys:
    """Keys of waiting requests at time 0 of the clock, and their change per second.

    With ``dues``, those who can start in time go before all others, in the order of due work.
    """

    key: Floats
    slope: Floats | None = None
    dues: Dues | None = None

    def __post_init__(self) -> None:
        for column in (self.key, self.slope):
            if column is not None and not np.all(np.isfinite(column)):
                raise InputError("a policy gave a key that is not finite")

    def at(self, now_s: float) -> Floats:
        """Return the keys at ``now_s``."""
        return self.key if self.slope is None else np.asarray(self.key + self.slope * now_s)


class OrderPolicy(Protocol):
    """The seam: one method, `keys`; the rest says what it is called and how it is used.

    A policy of your own is a frozen dataclass that extends `Policy` and has a ``name``. A
    line in `headway.schedule.policies` lets the command line find it by that name.
    """

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    @property
    def preempts(self) -> bool:
        """Whether a waiting request may take the place of a running one with a larger key."""
        ...

    @property
    def progress(self) -> float:
        """By how much the key of a running request falls with every token it produces."""
        ...

    @property
    def quantum_tokens(self) -> int:
        """How many tokens a running request produces before it makes way, and between looks."""
        ...

    @property
    def uses_predictions(self) -> bool:
        """Whether keys depend on predicted lengths; if so, a control is fed shuffled ones."""
        ...

    def keys(self, view: View) -> Keys:
        """Return a finite key for every request, from nothing but that request's row."""
        ...


def order(policy: OrderPolicy, view: View, now_s: float) -> Ints:
    """Return the rows of ``view`` from first to last; ties go to the earlier arrival, then row."""
    rows, _ = rank(policy.keys(view), view.arrival_s, now_s)
    return rows


def rank(keys: Keys, arrival_s: Floats, now_s: float) -> tuple[Ints, int]:
    """Return the rows from first to last, and how many of them can start in time."""
    values, in_time = keys.at(now_s), np.zeros(len(arrival_s), dtype=np.bool_)
    if keys.dues is not None:
        in_time = keys.dues.in_time(now_s)
        values = np.where(in_time, keys.dues.end_s, values)
    rows = np.lexsort((np.arange(len(arrival_s)), arrival_s, values, ~in_time))
    return rows, int(in_time.sum())


class Policy:
    """What a policy is unless it says otherwise; see `OrderPolicy`."""

    __slots__ = ()
    preempts: bool = False
    progress: float = 0.0
    quantum_tokens: int = 1
    uses_predictions: bool = True


@dataclass(frozen=True, slots=True)
class Fcfs(Policy):
    """First come, first served."""

    name: str = "fcfs"

    uses_predictions = False

    def keys(self, view: View) -> Keys:
        """Return the arrivals."""
        return Keys(view.arrival_s)


@dataclass(frozen=True, slots=True)
class ShortestJob(Policy):
    """Shortest predicted service first, at a quantile of the predicted length."""

    level: float = 0.5
    name: str = "sjf"

    def keys(self, view: View) -> Keys:
        """Return the seconds of service at ``level``."""
        return Keys(view.service.of(view.prompt_tokens, view.at(self.level)))


@dataclass(frozen=True, slots=True)
class ShortestRemaining(Policy):
    """Shortest predicted remaining output first, preempting (Schrage 1968, with predictions).

    What is left of an answer is the predicted mean less what is out; an answer that outlives its
    prediction keeps its place, as SPRPT does (Mitzenmacher 2019).
    """

    name: str = "srpt"

    preempts = True
    progress = 1.0

    def keys(self, view: View) -> Keys:
        """Return the predicted tokens that remain."""
        return Keys(view.mean_tokens - view.produced_tokens)


@dataclass(frozen=True, slots=True)
class HighestResponseRatio(Policy):
    """HRRN: the largest (waited + service) / service first (Brinch Hansen 1971)."""

    name: str = "hrrn"

    def keys(self, view: View) -> Keys:
        """Return the ratio, negated: it grows along a line."""
        service_s = np.maximum(view.service_s, 1e-9)
        return Keys(view.arrival_s / service_s, -1 / service_s)


@dataclass(frozen=True, slots=True)
class Aging(Policy):
    """Shortest predicted service first, but every second of waiting makes up for some of it.

    Attributes:
        rate: seconds of service that a second of waiting outweighs.

    """

    rate: float = 0.1
    name: str = "aging"

    def __post_init__(self) -> None:
        check_positive(self.rate, "aging rate")

    def keys(self, view: View) -> Keys:
        """Return service plus ``rate`` times arrival: service less waiting, up to a constant."""
        return Keys(view.service_s + self.rate * view.arrival_s)
