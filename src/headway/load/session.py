"""Ask a server as users do, in one loop or several, and report what its users would see."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from time import monotonic

from headway.errors import InputError
from headway.load.answer import Outcome
from headway.load.answers import STALL_S, Count, Tick
from headway.load.client import first_model
from headway.load.counters import counter_notes, engine_counters
from headway.load.export import Level, write_export
from headway.load.interruption import Interruption
from headway.load.load_plan import LoadPlan
from headway.load.measure import SWEEP_CHARTS, LoadRow, difference_text, summarize
from headway.load.overload import is_overloaded
from headway.load.plan import Planned, plan_trace, with_cancellations
from headway.load.progress import Progress, Watch
from headway.load.run import Server, closed_loop, open_loop, open_loop_on, run
from headway.load.saturation import kept_up, saturation
from headway.load.tokens import tokenizer_count
from headway.machine import waited_for_core_s
from headway.report.column import rounded
from headway.report.report import Report
from headway.workload.oracle import Trace

SEEDS_OF_LEVELS = 1_000_003
LATE_S = 1e-3  # a generator that is later than this at P99 says so


def load_test(
    url: str,
    plan: LoadPlan | None = None,
    *,
    api_key: str = "",
    compare: str | None = None,
    export: Path | None = None,
    watch: Watch | None = None,
    interruption: Interruption | None = None,
) -> Report[LoadRow]:
    """Ask the server at ``url`` as ``plan`` says; return what its users would see.

    Args:
        url: of an OpenAI-compatible server, such as ``http://localhost:8000/v1``.
        plan: what is asked; by default one request per second for a minute.
        api_key: sent as a bearer token; never written anywhere.
        compare: another server, which is asked the same afterwards; rows then have differences,
            request by request.
        export: file for the requests sent to ``url``, `headway.load.export`.
        watch: told several times a second how far a level has come.
        interruption: once it is asked, the answers until then are all that there is.

    Raises:
        InputError: the plan or an address cannot be used.
        MissingServerError: a server is not there.
        KeyboardInterrupt: the load was interrupted before there was an answer.

    """
    plan, interruption = plan or LoadPlan(), interruption or Interruption()
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

    levels: dict[str, list[Level]] = {}
    for server in (url,) if compare is None else (url, compare):
        if interruption.is_asked:
            break
        model = plan.model or first_model(server, api_key)
        asker = _Asker(
            Server(server, plan.api, api_key),
            model=model,
            plan=plan,
            watch=watch,
            interruption=interruption,
            notes=notes,
        )
        levels[server] = asker.levels(traces)
        if export is not None and server == url and levels[server]:
            write_export(export, levels[server], model)
    if interruption.is_asked and not any(levels.values()):
        raise KeyboardInterrupt

    rows = [
        summarize(
            level.outcome,
            plan.slo,
            server=server,
            concurrency=level.concurrency,
            rate_rps=level.rate_rps,
            is_overloaded=level.is_overloaded,
            other=_partner(level, levels.get(compare, [])) if compare and server == url else None,
        )
        for server in levels
        for level in levels[server]
    ]
    if compare is not None:
        notes.append(f"{url} against {compare}, request by request, with 95% intervals:")
        notes += [difference_text(row) for row in rows if row.against_pairs is not None]
    notes += _overload(rows)
    notes += _lateness(rows, waited_s)
    return Report(
        kind="load",
        title=f"load on {' and '.join(levels)}",
        question={"url": url, "compare": compare, **_question(plan)},
        rows=tuple(rows),
        notes=tuple(notes),
        charts=SWEEP_CHARTS if len(rows) > len(levels) else (),
    )


class _InterruptedError(Exception):
    """Somebody wants no further level."""


class _Asker:
    """Asks one server at every level of a plan."""

    def __init__(
        self,
        server: Server,
        *,
        model: str,
        plan: LoadPlan,
        watch: Watch | None,
        interruption: Interruption,
        notes: list[str],
    ) -> None:
        """Add to ``notes`` what a reader must know."""
        self._server = server
        self._model = model
        self._plan = plan
        self._watch = watch
        self._interruption = interruption
        self._notes = notes
        self._count = tokenizer_count(Path(plan.tokenizer)) if plan.tokenizer else None
        self._levels: list[Level] = []
        self._name = ""  # of the level that is asked now
        self._begin_s = 0.0

    def levels(self, traces: list[Trace]) -> list[Level]:
        """Ask, and return what the server did at each level; a closed loop has one trace."""
        before = engine_counters(self._server)
        try:
            if self._plan.is_closed:
                self._closed_levels(traces[0])
            else:
                self._open_levels(traces)
        except _InterruptedError:
            pass
        self._notes += counter_notes(self._server.url, before, engine_counters(self._server))
        return self._levels

    def _open_levels(self, traces: list[Trace]) -> None:
        def keeps_up(rate_rps: float, trace: Trace, place: str = "") -> bool:
            self._begin(f"{rounded(rate_rps)} requests/s{place}", len(trace))
            outcome = self._open_loop(self._planned(trace))
            self._add(outcome, rate_rps=rate_rps)
            return not self._levels[-1].is_overloaded

        if self._plan.saturate:
            highest_rps = kept_up(
                lambda rate_rps: keeps_up(rate_rps, self._plan.trace(rate_rps)),
                self._plan.rates_rps[0],
            )
            self._notes.append(
                f"{self._server.url} keeps up with {rounded(highest_rps)} requests/s, "
                "to an eighth; the next rate that was asked overloads it"
                if highest_rps
                else f"{self._server.url} keeps up with none of the rates that were asked"
            )
            return

        # A sweep ends with the first rate that is too much.
        rates_rps = self._plan.rates_rps or (traces[0].rate_rps,)
        for number, (rate_rps, trace) in enumerate(zip(rates_rps, traces, strict=True), 1):
            place = f" ({number} of {len(rates_rps)})" if len(rates_rps) > 1 else ""
            if not keeps_up(rate_rps, trace, place) and number < len(rates_rps):
                self._notes.append(
                    f"{self._server.url} was asked for no more than {rounded(rate_rps)} "
                    "requests/s, which it does not keep up with (--saturate searches what it does)"
                )
                return

    def _closed_levels(self, trace: Trace) -> None:
        def throughput(concurrency: int, num_requests: int) -> float:
            self._begin(f"concurrency {concurrency}", num_requests)
            part = self._planned(trace)[:num_requests]
            outcome = self._closed_loop(concurrency, part)
            if self._plan.send_s is not None and not outcome.num_not_sent:
                self._notes.append(
                    f"all {len(part)} requests were sent before {self._plan.send_s:g} s were over "
                    f"at {self._name}: --num-requests for more"
                )
            self._add(outcome, concurrency=concurrency)
            return summarize(self._levels[-1].outcome).output_tok_per_s

        for concurrency in self._plan.concurrency:
            throughput(concurrency, len(trace))
        if self._plan.saturate:
            knee = saturation(
                lambda level: throughput(level, min(len(trace), max(4 * level, 32))),
                max_level=max(1, len(trace) // 4),
            )
            self._notes.append(
                f"throughput of {self._server.url} grows little beyond concurrency {knee}"
            )

    def _planned(self, trace: Trace) -> list[Planned]:
        """Return the requests of the next level: its prompts are in no cache yet."""
        plan = self._plan
        planned = plan_trace(
            trace,
            self._model,
            plan.api,
            seed=plan.seed + SEEDS_OF_LEVELS * len(self._levels),
            hide_lengths=plan.hide_lengths,
            sessions=plan.sessions,
            count=self._count,
        )
        return with_cancellations(planned, plan.cancel, plan.seed)

    def _open_loop(self, planned: list[Planned]) -> Outcome:
        drain_s, interruption = self._plan.drain_s, self._interruption
        tick = self._tick(len(planned), send_s=planned[-1].due_s)
        if self._plan.processes > 1:
            return open_loop_on(
                self._server,
                planned,
                self._plan.processes,
                drain_s=drain_s,
                tick=tick,
                interruption=interruption,
            )
        return run(
            lambda: open_loop(
                self._server, planned, drain_s=drain_s, tick=tick, interruption=interruption
            )
        )

    def _closed_loop(self, concurrency: int, planned: list[Planned]) -> Outcome:
        return run(
            lambda: closed_loop(
                self._server,
                planned,
                concurrency,
                drain_s=self._plan.drain_s,
                tick=self._tick(len(planned), send_s=self._plan.send_s),
                ramp_s=self._plan.ramp_s,
                send_s=self._plan.send_s,
                interruption=self._interruption,
            )
        )

    def _begin(self, level: str, num_requests: int) -> None:
        """Say what comes next: to write a minute of long prompts takes seconds."""
        self._name = level
        self._begin_s = monotonic()
        if self._watch is not None:
            self._watch(Progress(level=level, count=Count(), num_requests=num_requests))

    def _tick(self, num_requests: int, send_s: float | None = None) -> Tick | None:
        """Return what tells the watch how far the level has come."""
        watch, level, begin_s = self._watch, self._name, monotonic()
        if watch is None:
            return None
        drain_s = STALL_S if self._plan.drain_s is None else self._plan.drain_s
        return lambda count: watch(
            Progress(
                level=level,
                count=count,
                num_requests=num_requests,
                elapsed_s=monotonic() - begin_s,
                send_s=send_s,
                max_s=None if send_s is None else send_s + drain_s,
            )
        )

    def _add(
        self, outcome: Outcome, *, concurrency: int | None = None, rate_rps: float | None = None
    ) -> None:
        """Keep what a level came to; raise if nobody wants another."""
        # What grows is seen from the beginning on: in the rest alone it has grown for long.
        overloaded = None if rate_rps is None else is_overloaded(outcome)
        outcome = outcome.after(self._plan.warmup_s)
        for problem, count in list(outcome.problems.items())[:3]:
            self._notes.append(
                f"{count} of {len(outcome.answers)} failed at {self._name}: {problem}"
            )
        if outcome.num_not_sent and rate_rps is not None and not self._interruption.is_asked:
            self._notes.append(
                f"{outcome.num_not_sent} were not sent at {self._name}: their turn never came"
            )

        if outcome.answers or not self._interruption.is_asked:
            self._levels.append(Level(concurrency, rate_rps, outcome, overloaded))
        if not self._interruption.is_asked:
            return
        self._notes.append(
            f"interrupted at {self._name} after {monotonic() - self._begin_s:.0f} s: "
            f"{outcome.num_cut} requests under way are left out (the slow ones: what is shown "
            f"flatters the server), {outcome.num_not_sent} were not sent"
        )
        raise _InterruptedError


def _partner(level: Level, others: list[Level]) -> Outcome | None:
    """Return the other server's run at the same level, if it was asked as many requests."""
    for other in others:
        same_count = len(other.outcome.answers) == len(level.outcome.answers)
        same_level = (other.concurrency, other.rate_rps) == (level.concurrency, level.rate_rps)
        if same_level and same_count:
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
