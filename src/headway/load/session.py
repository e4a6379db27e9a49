"""Ask a server as users do, in one loop or several, and report what its users would see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from headway.errors import InputError
from headway.http.openai import CHAT
from headway.load.answer import Outcome
from headway.load.client import first_model
from headway.load.export import write_export
from headway.load.measure import LoadRow, difference_text, summarize
from headway.load.plan import Planned, evenly_shaped, plan_trace, shaped_arrivals
from headway.load.run import Server, closed_loop, open_loop, open_loop_on, run
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
LATE_S = 1e-3  # a generator that is later than this at P99 says so

Progress = Callable[[int, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """What is asked; an open loop unless ``concurrency`` or ``saturate`` is given.

    Attributes:
        workload: a profile that ships, or a trace file; ``None`` for requests of one shape.
        rate_rps: open loop: requests per second.
        burstiness: open loop: variation of the gaps between arrivals, 1 for Poisson; ``None`` for
            the workload's own.
        concurrency: closed loop: requests kept under way; several make a sweep.
        saturate: search the concurrency from which throughput grows no more.
        duration_s: open loop: how long to send.
        num_requests: requests of each level; ``None`` for what the duration needs.
        prompt, output: tokens of requests of one shape.
        model: to ask for; empty for the first that the server lists.
        api: chat or completions.
        slo: objectives of each request, for the goodput.
        processes: open loop: dealt out to so many.
        seed: of arrivals, lengths and prompts.
        hide_lengths: tell answers' lengths to an engine of ours only.

    """

    workload: str | None = None
    rate_rps: float | None = None
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
    hide_lengths: bool = False

    def __post_init__(self) -> None:
        if self.rate_rps is not None and self.is_closed:
            raise InputError("choose one: a rate (open loop), a concurrency or saturate (closed)")
        if not all(1 <= level <= MAX_CONCURRENCY for level in self.concurrency):
            raise InputError(
                f"a concurrency is from 1 to {MAX_CONCURRENCY}, not {self.concurrency}"
            )
        check_positive(self.duration_s, "the duration of a load in seconds", 86_400.0)
        if not 1 <= self.count <= MAX_REQUESTS:
            raise InputError(f"one load sends 1 to {MAX_REQUESTS} requests, not {self.count}")

    @property
    def is_closed(self) -> bool:
        """Whether requests are sent when others end, and not at times of their own."""
        return bool(self.concurrency) or self.saturate

    @property
    def count(self) -> int:
        """Requests of one level."""
        if self.num_requests is not None:
            return self.num_requests
        rate_rps = self.rate_rps or RATE_RPS
        return NUM_CLOSED if self.is_closed else max(2, round(rate_rps * self.duration_s))

    def trace(self) -> Trace:
        """Return the lengths of all requests, and when they are due.

        Raises:
            InputError: the workload is no profile and no trace.

        """
        rate_rps = self.rate_rps if self.is_closed else self.rate_rps or RATE_RPS
        gap_cv = self.burstiness
        if self.workload is None:
            trace = evenly_shaped(self.count, self.prompt, self.output)
            gap_cv = 1.0 if gap_cv is None else gap_cv
        elif Path(self.workload).suffix:
            trace = read_trace(Path(self.workload)).head(self.count)
            if rate_rps is not None and len(trace) > 1:
                trace = trace.at_rate(rate_rps)
        else:
            trace = find_profile(self.workload).generate(self.seed, self.count, rate_rps)

        if gap_cv is None or rate_rps is None:
            return trace
        return shaped_arrivals(trace, rate_rps, gap_cv, self.seed)


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
    trace = plan.trace()
    waited_s = waited_for_core_s()
    notes = [
        "latencies count from when a request was due; late is the generator's own delay",
        "intervals: 95% for means (batch means), 99% for quantiles (order statistics); "
        "none where too few requests were seen",
    ]

    servers = [url] if compare is None else [url, compare]
    levels: dict[str, list[_Level]] = {}
    for server in servers:
        model = plan.model or first_model(server, api_key)
        planned = plan_trace(trace, model, plan.api, seed=plan.seed, hide_lengths=plan.hide_lengths)
        asker = _Asker(Server(server, plan.api, api_key), planned, plan, progress, notes)
        levels[server] = asker.levels(trace.rate_rps)
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
        planned: list[Planned],
        plan: LoadPlan,
        progress: Progress,
        notes: list[str],
    ) -> None:
        """Add to ``notes`` what a reader must know."""
        self._server = server
        self._planned = planned
        self._plan = plan
        self._progress = progress
        self._notes = notes

    def levels(self, rate_rps: float) -> list[_Level]:
        """Ask, and return what the server did at each level."""
        if not self._plan.is_closed:
            return [_Level(None, rate_rps, self._noted(self._open_loop()))]
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
        return run(lambda: closed_loop(self._server, planned, concurrency, tick=self._tick))

    def _tick(self, num_sent: int, num_ended: int) -> None:
        self._progress(num_sent, num_ended, len(self._planned))

    def _noted(self, outcome: Outcome) -> Outcome:
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


def _partner(level: _Level, others: list[_Level]) -> Outcome | None:
    """Return the other server's run at the same level, if it was asked as many requests."""
    for other in others:
        same_count = len(other.outcome.answers) == len(level.outcome.answers)
        if other.concurrency == level.concurrency and same_count:
            return other.outcome
    return None


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
    return {**fields, **{f"slo_{name}": value for name, value in slo.items() if value is not None}}
