"""What a fleet must serve, seen by a plan: one seam between loads and fleets.

A stream comes whatever becomes of it (open loop, `headway.plan.stream`). A user sends the next
request only after the answer to the last one, so that a slow fleet is asked for less (closed loop,
`headway.plan.users`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from headway.schedule.route import Placement
from headway.sim.outcome import Outcome
from headway.sim.site import Site
from headway.steptime.work import Array
from headway.units import check_positive
from headway.workload.lengths import FINE_LEVELS, JointLengths
from headway.workload.oracle import Ints, Trace
from headway.workload.profile import Profile, find_profile

NUM_REQUESTS = 3000  # of a run that is drawn, at least: enough for a P99
SHAPE = "azure-conv"  # whose lengths vary as those of a load of which only the means are known


class Requests(Protocol):
    """Requests as arrays."""

    @property
    def prompt_tokens(self) -> Ints:
        """Of each."""
        ...

    @property
    def output_tokens(self) -> Ints:
        """Of each."""
        ...


class Drawn(ABC):
    """A demand whose lengths are those of the requests that it draws."""

    @property
    @abstractmethod
    def typical(self) -> Requests:
        """Requests of the first seed."""

    @property
    def prompt_tokens(self) -> float:
        """Mean prompt, what earlier turns left included."""
        return float(self.typical.prompt_tokens.mean())

    @property
    def output_tokens(self) -> float:
        """Mean answer."""
        return float(self.typical.output_tokens.mean())

    def prompt_quantile(self, level: float) -> float:
        """Return a quantile of the prompts."""
        return float(np.quantile(self.typical.prompt_tokens, level))


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Requests as they came to a fleet, and what became of them."""

    trace: Trace
    outcome: Outcome

    @property
    def requests_per_s(self) -> float:
        """Requests that came per second."""
        return max(self.trace.rate_rps, 1e-9)


class Demand(Protocol):
    """Who asks: the one seam between loads and fleets."""

    @property
    def words(self) -> str:
        """The demand in a few words."""
        ...

    @property
    def prompt_tokens(self) -> float:
        """Of a request, in the mean, what earlier turns left included."""
        ...

    @property
    def output_tokens(self) -> float:
        """Of a request, in the mean."""
        ...

    @property
    def cached_fraction(self) -> float:
        """Of a prompt, what a cache that keeps everything would hold."""
        ...

    def prompt_quantile(self, level: float) -> float:
        """Return the tokens that a share ``level`` of the prompts does not exceed."""
        ...

    @property
    def longest_tokens(self) -> int:
        """Tokens of the longest request that may come, prompt and answer."""
        ...

    @property
    def placement(self) -> Placement:
        """How requests find their replica."""
        ...

    @property
    def think_s(self) -> float | None:
        """Between an answer and the next request; ``None`` where requests come by themselves."""
        ...

    def share(self, concurrency: Array, requests_per_s: Array) -> Array:
        """Return the part of the demand that an engine carries in a steady state."""
        ...

    def requests_per_s(self, e2e_s: Array) -> Array:
        """Return how many requests come while an answer takes ``e2e_s``."""
        ...

    def scaled(self, volume: float) -> Demand:
        """Return ``volume`` times the demand."""
        ...

    def run(self, site: Site, seed: int = 0, volume: float = 1.0) -> Run:
        """Return what becomes of ``volume`` times the demand on ``site``."""
        ...


def scaled_lengths(prompt: float, output: float, shape: str | None = SHAPE) -> JointLengths:
    """Return lengths with these means, which vary as in profile ``shape``; all alike if ``None``.

    Raises:
        InputError: a length below 1.

    """
    check_positive(prompt, "prompt tokens", maximum=1e8)
    check_positive(output, "output tokens", maximum=1e8)
    if shape is None:
        count = len(FINE_LEVELS)
        return JointLengths((float(prompt),) * count, ((float(output),) * count,))

    lengths = find_profile(shape).lengths
    prompts, outputs = lengths.sample(np.random.default_rng(0), 100_000)

    def scale(row: tuple[float, ...], factor: float) -> tuple[float, ...]:
        return tuple(max(tokens * factor, 1.0) for tokens in row)

    by_prompt, by_output = prompt / float(prompts.mean()), output / float(outputs.mean())
    return replace(
        lengths,
        prompt=scale(lengths.prompt, by_prompt),
        output=tuple(scale(row, by_output) for row in lengths.output),
    )


def longest(lengths: JointLengths) -> int:
    """Return the tokens of the longest prompt with the longest answer."""
    return math.ceil(lengths.prompt[-1] + max(row[-1] for row in lengths.output))


def steady_profile(lengths: JointLengths, name: str, rate_rps: float) -> Profile:
    """Return requests of these lengths that come as a Poisson process."""
    return Profile(
        name=name,
        rate_rps=rate_rps,
        gap_cv=1.0,
        rate_cv=0.0,
        tick_s=0.0,
        lengths=lengths,
        sharing=None,
        source="arrivals by a Poisson process",
    )
