"""Where the requests of a run come from: a profile, drawn for every seed, a trace, or a record."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from headway.errors import InputError
from headway.record.store import is_record
from headway.record.trace import recorded_trace
from headway.workload.oracle import Trace
from headway.workload.profile import find_profile, profile_names
from headway.workload.traces import read_trace

TRAINING_SEED = 1_000_000
NUM_TRAINING_TRACES = 4
TRACE_SUFFIXES = (".csv", ".jsonl", ".json", ".parquet")


@dataclass(frozen=True, slots=True, eq=False)
class Workload:
    """Where requests come from.

    Attributes:
        name: of the profile or the trace.
        trace: the requests; ``None`` where they are drawn from a profile.
        num_requests: of every run.
        shares: of the requests of a profile, by tenant.

    """

    name: str
    trace: Trace | None
    num_requests: int
    shares: tuple[tuple[str, float], ...] = ()

    @classmethod
    def of(cls, source: str | Path | Trace, num_requests: int | None = None) -> Workload:
        """Return the workload that ``source`` means.

        Args:
            source: a trace, its file, a gateway's record, or the name of a profile.
            num_requests: of every run; all of a trace, 10,000 of a profile where not given.

        Raises:
            InputError: the source cannot be read, or is none of these.

        """
        if isinstance(source, str) and source in profile_names():
            return cls(source, None, num_requests or 10_000)
        if not isinstance(source, Trace):
            source = _read(source)

        trace = source if num_requests is None else source.head(num_requests)
        return cls(trace.name, trace, len(trace))

    def with_shares(self, shares: tuple[tuple[str, float], ...]) -> Workload:
        """Return the workload with its requests dealt out to tenants by ``shares``.

        Raises:
            InputError: a trace says itself who asks.

        """
        if self.trace is not None and shares:
            raise InputError(f"trace {self.name} says itself who asks: leave out the shares")
        return replace(self, shares=shares)

    def draw(self, seed: int, rate_rps: float | None = None) -> Trace:
        """Return the requests of ``seed`` at ``rate_rps``, by default the original's rate."""
        if self.trace is not None:
            return self.trace if rate_rps is None else self.trace.at_rate(rate_rps)
        trace = find_profile(self.name).generate(seed, self.num_requests, rate_rps)
        if not self.shares:
            return trace

        # Tenants have a stream of their own: they leave arrivals and lengths alone.
        names, shares = zip(*self.shares, strict=True)
        weights = np.array(shares)
        random = np.random.default_rng([seed, 13])
        tenants = random.choice(len(weights), len(trace), p=weights / weights.sum())
        return replace(trace, tenants=tenants, tenant_names=names)

    def training(self, rate_rps: float | None = None) -> tuple[Trace, ...]:
        """Return requests to tune an order on, before it is measured on `draw`."""
        if self.trace is None:
            seeds = range(TRAINING_SEED, TRAINING_SEED + NUM_TRAINING_TRACES)
            return tuple(self.draw(seed, rate_rps) for seed in seeds)
        return (self.draw(0, rate_rps).head(max(1, self.num_requests // 3)),)

    @property
    def training_source(self) -> str:
        """What `training` is, in words."""
        return "seeds of its own" if self.trace is None else "the first third of the trace"

    @property
    def citation(self) -> str:
        """Whose workload it is."""
        return self.name if self.trace is not None else find_profile(self.name).source


def _read(source: str | Path) -> Trace:
    """Return the trace in a file or in a gateway's record."""
    if is_record(source):
        return recorded_trace(source)
    path = Path(source)
    if path.suffix not in TRACE_SUFFIXES and not path.exists():
        find_profile(str(source))  # raises, with the nearest names
    return read_trace(path)
