"""Ask a server as users do, in one loop or several, and report what its users would see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from headway.errors import InputError
from headway.http.openai import CHAT
from headway.load.answer import Outcome
from headway.load.client import first_model
from headway.load.counters import counter_notes, engine_counters
from headway.load.export import write_export
from headway.load.measure import LoadRow, difference_text, is_overloaded, summarize
from headway.load.plan import (
    Planned,
    evenly_shaped,
    plan_trace,
    ramped,
    shaped_arrivals,
    with_cancellations,
)
from headway.load.run import Server, closed_loop, open_loop, open_loop_on, run
from headway.load.tokens import tokenizer_count
from headway.machine import waited_for_core_s
from headway.report.column import rounded
from headway.report.report import Report
from headway.units import check_positive
from headway.workload.oracle import Trace
from headway.workload.profile import find_profile
from headway.workload.request import Slo
from headway.workload.traces import read_trace

DURATION_S = 60.0
RATE_RPS = 1.0
NUM_CLOSED = 200  # requests of each level of a closed loop
MAX_REQUESTS = 1_000_000
MAX_CONCURRENCY = 100_000
GAIN = 1.05
MAX_DOUBLINGS = 12  # of the rate, or halvings, in search of the one that is kept up with
LATE_S = 1e-3  # a generator that is later than this at P99 says so

Progress = Callable[[int, int, int], None]


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
        duration_s: open loop: how long to send.
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

    """

    workload: str | None = None
    rate_rps: float | tuple[float, ...] | None = None
    burstiness: float | None = None
    concurrency: tuple[int, ...] = ()
    saturate: bool = False
    duration_s: float = DURATION_S
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
        check_positive(self.duration_s, "the duration of a load in seconds", 86_400.0)
        for name, seconds in (("warm-up", self.warmup_s), ("ramp", self.ramp_s)):
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
    def count(self) -> int:
        """Requests of one level; of the fastest, where there are several."""
        if self.num_requests is not None:
            return self.num_requests
        return NUM_CLOSED if self.is_closed else self._count_at(max(self.rates_rps or (RATE_RPS,)))

    def _count_at(self, rate_rps: float) -> int:
        seconds = self.duration_s + self.warmup_s
        return self.num_requests or max(2, round(rate_rps * seconds))

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
            if rate_rps is not None and len(trace) > 1:
                trace = trace.at_rate(rate_rps)
        else:
            trace = find_profile(self.workload).generate(self.seed, count, rate_rps)

        if gap_cv is not None and rate_rps is not None:
            trace = shaped_arrivals(trace, rate_rps, gap_cv, self.seed)
        return trace if self.is_closed else ramped(trace, self.ramp_s)


@dataclass(frozen=True, slots=True)
class _Level:
    """What one server did at one level of load."""

    concurrency: int | None
    rate_rps: float | None
    outcome: Outcome


def load_test(
    url: str,
    plan: LoadPlan | None = None,
    *,
    api_key: str = "",
    compare: str | None = None,
    export: Path | None = None,
    progress: Progress = lambda num_sent, num_ended, num_requests: None,
) -> Report[LoadRow]:
    """Ask the server at ``url`` as ``plan`` says; return what its users would see.

    Args:
        url: of an OpenAI-compatible server, such as ``http://localhost:8000/v1``.
        plan: what is asked; by default one request per second for a minute.
        api_key: sent as a bearer token; never written anywhere.
        compare: another server, which is asked the same afterwards; rows then have differences,
            request by request.
        export: file for the last run on ``url``, as vllm bench serve writes it, or as guidellm
            does (``*.guidellm.json``).
        progress: told after each answer how many requests were sent, ended, and will be.

    Raises:
        InputError: the plan or an address cannot be used.
        MissingServerError: a server is not there.

    """
    plan = plan or LoadPlan()
    if compare is not None and plan.cancel:
        raise InputError("servers are compared request by request: leave cancellations out")
    traces = [plan.trace(rate_rps) for rate_rps in plan.rates_rps or (None,)]
    waited_s = waited_for_core_s()
    notes = [
        "latencies count from when a request was due; late is the generator's own delay",
        "intervals: 95% for means (batch means), 99% for quantiles (order statistics); "
        "none where too few requests were seen",
    ]

    if plan.hide_lengths and plan.workload is not None:
        notes.append(
            "the lengths of answers are told to an engine of ours alone; another ends them itself, "
            "unless lengths are told to all (--tell-lengths)"
        )

    servers = [url] if compare is None else [url, compare]
    levels: dict[str, list[_Level]] = {}
    for server in servers:
        model = plan.model or first_model(server, api_key)
        asker = _Asker(Server(server, plan.api, api_key), model, plan, progress, notes)
        levels[server] = asker.levels(traces)
        if export is not None and server == url:
            write_export(export, levels[server][-1].outcome, model)

    rows = [
        summarize(
            level.outcome,
            plan.slo,
            server=server,
            concurrency=level.concurrency,
            rate_rps=level.rate_rps,
            other=_partner(level, levels[compare]) if compare and server == url else None,
        )
        for server in servers
        for level in levels[server]
    ]
    if compare is not None:
        notes.append(f"{url} against {compare}, request by request, with 95% intervals:")
        notes += [difference_text(row) for row in rows if row.against_pairs is not None]
    notes += _overload(rows)
    notes += _lateness(rows, waited_s)
    return Report(
        kind="load",
        title=f"load on {' and '.join(servers)}",
        question={"url": url, "compare": compare, **_question(plan)},
        rows=tuple(rows),
        notes=tuple(notes),
    )


class _Asker:
    """Asks one server at every level of a plan."""

    def __init__(
        self,
        server: Server,
        model: str,
        plan: LoadPlan,
        progress: Progress,
        notes: list[str],
    ) -> None:
        """Add to ``notes`` what a reader must know."""
        self._server = server
        self._model = model
        self._planned: list[Planned] = []  # of the level that is asked now
        self._plan = plan
        self._progress = progress
        self._notes = notes
        self._count = tokenizer_count(Path(plan.tokenizer)) if plan.tokenizer else None

    def levels(self, traces: list[Trace]) -> list[_Level]:
        """Ask, and return what the server did at each level; a closed loop has one trace."""
        before = engine_counters(self._server)
        if self._plan.is_closed:
            levels = self._closed_levels(traces[0])
        else:
            levels = self._open_levels(traces)
        self._notes += counter_notes(self._server.url, before, engine_counters(self._server))
        return levels

    def _open_levels(self, traces: list[Trace]) -> list[_Level]:
        levels: list[_Level] = []

        def ask(rate_rps: float, trace: Trace) -> bool:
            self._planned = self._planned_of(trace)
            outcome = self._noted(self._open_loop())
            levels.append(_Level(None, rate_rps, outcome))
            return not is_overloaded(outcome)

        if not self._plan.saturate:
            for rate_rps, trace in zip(self._plan.rates_rps or (None,), traces, strict=True):
                ask(rate_rps or trace.rate_rps, trace)
            return levels

        highest_rps = kept_up(
            lambda rate_rps: ask(rate_rps, self._plan.trace(rate_rps)), self._plan.rates_rps[0]
        )
        self._notes.append(
            f"{self._server.url} keeps up with {rounded(highest_rps)} requests/s, "
            "to an eighth; the next rate that was asked overloads it"
            if highest_rps
            else f"{self._server.url} keeps up with none of the rates that were asked"
        )
        return levels

    def _planned_of(self, trace: Trace) -> list[Planned]:
        plan = self._plan
        planned = plan_trace(
            trace,
            self._model,
            plan.api,
            seed=plan.seed,
            hide_lengths=plan.hide_lengths,
            sessions=plan.sessions,
            count=self._count,
        )
        return with_cancellations(planned, plan.cancel, plan.seed)

    def _closed_levels(self, trace: Trace) -> list[_Level]:
        self._planned = self._planned_of(trace)
        levels = [
            _Level(concurrency, None, self._noted(self._closed_loop(concurrency, self._planned)))
            for concurrency in self._plan.concurrency
        ]
        if not self._plan.saturate:
            return levels

        def throughput(concurrency: int) -> float:
            part = self._planned[: max(4 * concurrency, 32)]
            outcome = self._noted(self._closed_loop(concurrency, part))
            levels.append(_Level(concurrency, None, outcome))
            return summarize(outcome).output_tok_per_s

        knee = saturation(throughput, max_level=max(1, len(self._planned) // 4))
        self._notes.append(
            f"throughput of {self._server.url} grows little beyond concurrency {knee}"
        )
        return levels

    def _open_loop(self) -> Outcome:
        if self._plan.processes > 1:
            return open_loop_on(self._server, self._planned, self._plan.processes)
        return run(lambda: open_loop(self._server, self._planned, tick=self._tick))

    def _closed_loop(self, concurrency: int, planned: list[Planned]) -> Outcome:
        ramp_s = self._plan.ramp_s
        return run(
            lambda: closed_loop(self._server, planned, concurrency, tick=self._tick, ramp_s=ramp_s)
        )

    def _tick(self, num_sent: int, num_ended: int) -> None:
        self._progress(num_sent, num_ended, len(self._planned))

    def _noted(self, outcome: Outcome) -> Outcome:
        outcome = outcome.after(self._plan.warmup_s)
        for problem, count in list(outcome.problems.items())[:3]:
            self._notes.append(f"{count} of {len(outcome.answers)} failed: {problem}")
        return outcome


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


def _partner(level: _Level, others: list[_Level]) -> Outcome | None:
    """Return the other server's run at the same level, if it was asked as many requests."""
    for other in others:
        same_count = len(other.outcome.answers) == len(level.outcome.answers)
        if other.concurrency == level.concurrency and same_count:
            return other.outcome
    return None


def _overload(rows: list[LoadRow]) -> list[str]:
    """Return what to say of servers that did not keep up."""
    return [
        f"{row.server} is overloaded at {rounded(row.rate_rps)} requests/s: what was under way "
        "grew to the end, so that latencies tell how long the run was, not how fast the server is"
        for row in rows
        if row.overloaded == "yes" and row.rate_rps is not None
    ]


def _lateness(rows: list[LoadRow], waited_s: float | None) -> list[str]:
    late_s = max((row.late_p99_s or 0.0 for row in rows), default=0.0)
    if late_s <= LATE_S or waited_s is None:
        return []
    more_s = (waited_for_core_s() or waited_s) - waited_s
    return [
        f"requests were sent up to {rounded(1e3 * late_s)} ms late (P99), and this process was "
        f"kept waiting for a core for {rounded(more_s)} s: other programs run on this machine "
        "(--first goes before them)"
    ]


def _question(plan: LoadPlan) -> dict[str, str | int | float | bool | None]:
    fields = asdict(plan)
    slo = fields.pop("slo")
    fields["concurrency"] = ",".join(map(str, plan.concurrency)) or None
    fields["rate_rps"] = ",".join(f"{rate:g}" for rate in plan.rates_rps) or None
    return {**fields, **{f"slo_{name}": value for name, value in slo.items() if value is not None}}
