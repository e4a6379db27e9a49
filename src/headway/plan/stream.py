"""Requests that come whatever becomes of them: from a profile or a trace, at a rate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from headway.plan.demand import NUM_REQUESTS, Demand, Drawn, Run, longest
from headway.schedule.route import LEAST_LOADED, Placement
from headway.sim.outcome import simulate_trace
from headway.sim.site import Site
from headway.steptime.work import Array
from headway.units import check_positive
from headway.workload.oracle import Trace
from headway.workload.profile import Profile

MAX_REQUESTS = 20_000


@dataclass(frozen=True, eq=False)
class Stream(Drawn):
    """Requests that come at a rate, from a profile or a trace."""

    source: Profile | Trace
    rate_rps: float
    placement: Placement = LEAST_LOADED
    max_context_tokens: int | None = None

    def __post_init__(self) -> None:
        check_positive(self.rate_rps, "rate in requests/s", maximum=1e6)

    @property
    def words(self) -> str:
        """The rate and its source."""
        return f"{self.rate_rps:g} requests/s ({self.source.name})"

    @property
    def think_s(self) -> float | None:
        """Nobody waits."""
        return None

    @property
    def num_requests(self) -> int:
        """Of a run: ten minutes of a profile within limits, all of a trace."""
        if isinstance(self.source, Trace):
            return len(self.source)
        return int(np.clip(self.rate_rps * 600, NUM_REQUESTS, MAX_REQUESTS))

    @cached_property
    def typical(self) -> Trace:
        """Requests of the first seed."""
        return self.trace(0)

    @cached_property
    def cached_fraction(self) -> float:
        """Of all prompt tokens, those in blocks that an earlier prompt of the run had."""
        trace = self.typical
        if trace.prefixes is None:
            return 0.0
        hashes = trace.prefixes.hashes
        num_repeated = len(hashes) - len(np.unique(hashes))
        return min(num_repeated * trace.prefixes.tokens / int(trace.prompt_tokens.sum()), 0.95)

    @property
    def longest_tokens(self) -> int:
        """Of a trace, its longest; of a profile, the longest prompt with the longest answer."""
        if isinstance(self.source, Trace):
            return int((self.source.prompt_tokens + self.source.output_tokens).max())
        return longest(self.source.lengths)

    def trace(self, seed: int, volume: float = 1.0) -> Trace:
        """Return the requests of ``seed``; the same lengths at every volume."""
        rate_rps = self.rate_rps * volume
        if isinstance(self.source, Trace):
            return _within(self.source.at_rate(rate_rps), self.max_context_tokens)
        trace = self.source.generate(seed, self.num_requests, rate_rps)
        return _within(trace, self.max_context_tokens)

    def share(self, concurrency: Array, requests_per_s: Array) -> Array:
        """Return the part of the rate."""
        return requests_per_s / self.rate_rps

    def requests_per_s(self, e2e_s: Array) -> Array:
        """Return the rate, whatever the answers take."""
        return np.full_like(np.asarray(e2e_s, dtype=np.float64), self.rate_rps)

    def scaled(self, volume: float) -> Demand:
        """Return the same requests at ``volume`` times the rate."""
        return replace(self, rate_rps=self.rate_rps * volume)

    def run(self, site: Site, seed: int = 0, volume: float = 1.0) -> Run:
        """Serve the requests of ``seed``, at ``volume`` times their rate."""
        trace = self.trace(seed, volume)
        return Run(trace, simulate_trace(trace, site))


def _within(trace: Trace, max_context_tokens: int | None) -> Trace:
    """Return the trace with prompts cut to what the model's context leaves beside the answer."""
    if max_context_tokens is None:
        return trace
    output = np.minimum(trace.output_tokens, max_context_tokens - 1)
    prompt = np.minimum(trace.prompt_tokens, max_context_tokens - output)
    return replace(trace, prompt_tokens=prompt, output_tokens=output)
