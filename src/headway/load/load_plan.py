"""What is asked of a server: an open or a closed loop, of what, how fast, and for how long."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from headway.errors import InputError
from headway.http.openai import CHAT
from headway.load.plan import evenly_shaped, ramped, shaped_arrivals
from headway.units import check_positive
from headway.workload.oracle import Trace
from headway.workload.profile import find_profile
from headway.workload.request import Slo
from headway.workload.traces import read_trace

DURATION_S = 60.0
RATE_RPS = 1.0
NUM_CLOSED = 200  # requests of each level of a closed loop
USER_RPS = 4.0  # requests of a user of a closed loop with a duration: more are not prepared
MAX_REQUESTS = 1_000_000
MAX_CONCURRENCY = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """What is asked; an open loop unless ``concurrency``, or ``saturate`` alone, is given.

    Attributes:
        workload: a profile that ships, or a trace file; ``None`` for requests of one shape.
        rate_rps: open loop: requests per second; several make a sweep.
        burstiness: open loop: variation of the gaps between arrivals, 1 for Poisson; ``None`` for
            the workload's own.
        concurrency: closed loop: requests kept under way; several make a sweep.
        saturate: search the concurrency from which throughput grows no more; with a rate, from
            that on the highest rate that the server keeps up with.
        duration_s: how long to send; ``None`` for a minute, and in a closed loop for as long as
            there are requests.
        num_requests: requests of each level; ``None`` for what the duration needs.
        prompt, output: tokens of requests of one shape.
        model: to ask for; empty for the first that the server lists.
        api: chat or completions.
        slo: objectives of each request, for the goodput.
        processes: open loop: dealt out to so many.
        seed: of arrivals, lengths and prompts.
        hide_lengths: tell answers' lengths to an engine of ours only, where they differ.
        warmup_s: what is due in so many first seconds is sent, and left out of all figures.
        ramp_s: over which the rate, or the requests under way, rise to what is asked.
        cancel: share of the requests whose clients go away after some tokens.
        sessions: a prompt that goes on where an earlier one ended, by the hashes of a trace, is
            sent once that was answered.
        tokenizer: the ``tokenizer.json`` of the model: prompts then have exactly their tokens.
        drain_s: how long to wait for answers after the last request was sent (in a closed loop:
            after the last answer); ``None`` for as long as answers may take, but not for the
            backlog of a server that has fallen behind.

    """

    workload: str | None = None
    rate_rps: float | tuple[float, ...] | None = None
    burstiness: float | None = None
    concurrency: tuple[int, ...] = ()
    saturate: bool = False
    duration_s: float | None = None
    num_requests: int | None = None
    prompt: int = 256
    output: int = 128
    model: str = ""
    api: str = CHAT
    slo: Slo = field(default_factory=Slo)
    processes: int = 1
    seed: int = 0
    hide_lengths: bool = True
    warmup_s: float = 0.0
    ramp_s: float = 0.0
    sessions: bool = False
    cancel: float = 0.0
    tokenizer: str = ""
    drain_s: float | None = None

    def __post_init__(self) -> None:
        if self.rate_rps is not None and self.is_closed:
            raise InputError("choose one: a rate (open loop) or a concurrency (closed)")
        if self.saturate and len(self.rates_rps) > 1:
            raise InputError("saturate searches from one rate on, not from several")
        if not all(1 <= level <= MAX_CONCURRENCY for level in self.concurrency):
            raise InputError(
                f"a concurrency is from 1 to {MAX_CONCURRENCY}, not {self.concurrency}"
            )

        # How long and how much.
        if self.duration_s is not None:
            check_positive(self.duration_s, "the duration of a load in seconds", 86_400.0)
            if self.saturate and self.is_closed:
                raise InputError("a search of the concurrency asks few requests: no duration")
        waits = (("warm-up", self.warmup_s), ("ramp", self.ramp_s), ("drain", self.drain_s or 0.0))
        for name, seconds in waits:
            if not 0 <= seconds <= 86_400:
                raise InputError(f"the {name} of a load is from 0 to 86400 s, not {seconds}")
        if not 0 <= self.cancel < 1:
            raise InputError(
                f"a share of requests to cancel is from 0 to below 1, not {self.cancel}"
            )

        if self.sessions and (self.is_closed or self.workload is None):
            raise InputError(
                "sessions need an open loop and a workload whose prompts go on from each other, "
                "such as --workload mooncake-conv"
            )
        if self.sessions and self.processes > 1:
            raise InputError("sessions are sent by one process: leave --processes out")
        if not 1 <= self.count <= MAX_REQUESTS:
            raise InputError(f"one load sends 1 to {MAX_REQUESTS} requests, not {self.count}")

    @property
    def is_closed(self) -> bool:
        """Whether requests are sent when others end, and not at times of their own."""
        return bool(self.concurrency) or (self.saturate and self.rate_rps is None)

    @property
    def rates_rps(self) -> tuple[float, ...]:
        """The rates of an open loop, one after the other."""
        if self.rate_rps is None:
            return ()
        return self.rate_rps if isinstance(self.rate_rps, tuple) else (self.rate_rps,)

    @property
    def send_s(self) -> float | None:
        """How long requests are sent; ``None`` in a closed loop that ends with their number."""
        if self.is_closed and self.duration_s is None:
            return None
        return (self.duration_s or DURATION_S) + self.warmup_s

    @property
    def count(self) -> int:
        """Requests of one level; of the fastest, where there are several."""
        if self.num_requests is None and self.is_closed:
            users = max(self.concurrency, default=1)
            return NUM_CLOSED if self.send_s is None else math.ceil(USER_RPS * users * self.send_s)
        return self._count_at(max(self.rates_rps or (RATE_RPS,)))

    def _count_at(self, rate_rps: float) -> int:
        return self.num_requests or max(2, round(rate_rps * (self.send_s or DURATION_S)))

    def trace(self, rate_rps: float | None = None) -> Trace:
        """Return the lengths of all requests, and when they are due.

        ``rate_rps`` is that of the level, in an open loop.

        Raises:
            InputError: the workload is no profile and no trace.

        """
        count, gap_cv = self.count, self.burstiness
        if not self.is_closed:
            rate_rps = rate_rps or next(iter(self.rates_rps), RATE_RPS)
            count = self._count_at(rate_rps)
        if self.workload is None:
            trace = evenly_shaped(count, self.prompt, self.output)
            gap_cv = 1.0 if gap_cv is None else gap_cv
        elif Path(self.workload).suffix:
            trace = read_trace(Path(self.workload)).head(count)
            if rate_rps is not None and trace.arrival_s[-1] > trace.arrival_s[0]:
                trace = trace.at_rate(rate_rps)
            elif gap_cv is None:
                gap_cv = 1.0  # all of one instant, by a coarse clock
        else:
            trace = find_profile(self.workload).generate(self.seed, count, rate_rps)

        if gap_cv is not None and rate_rps is not None:
            trace = shaped_arrivals(trace, rate_rps, gap_cv, self.seed)
        return trace if self.is_closed else ramped(trace, self.ramp_s)
