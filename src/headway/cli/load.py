"""``headway load``: ask a server as users do, and measure honestly."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headway.cli.options import number_option, report_options
from headway.cli.show import deliver, number
from headway.errors import InputError, need
from headway.machine import go_first, waited_for_core_s
from headway.report.report import Report, Value
from headway.workload.request import Slo

if TYPE_CHECKING:  # needs the extra
    from headway.load.answer import Outcome

    Level = tuple[dict[str, Value], Outcome]  # a row of figures, and what they were made of

LATE_S = 1e-3  # a generator that is later than this at P99 says so


@click.command()
@click.argument("url", required=False)
@click.option(
    "--workload",
    metavar="NAME",
    help="A profile that ships (azure-conv, ...) or a trace file; default: requests of one shape.",
)
@number_option(
    "--rate",
    "rate in requests/s",
    "Open loop: requests/s, sent on time whatever became of those before.",
)
@number_option(
    "--burstiness",
    "variation of gaps",
    "Open loop: variation of the gaps between arrivals; 1 is Poisson. Default: the workload's own.",
    zero=True,
)
@click.option(
    "--concurrency",
    metavar="N[,N...]",
    help="Closed loop: requests kept under way; several make a sweep.",
)
@click.option(
    "--saturate", is_flag=True, help="Search the concurrency from which throughput grows no more."
)
@click.option("--duration", metavar="TIME", help="Open loop: how long to send, such as 60s or 5m.")
@number_option(
    "--requests", "number of requests", "How many to send (per level of a sweep).", whole=True
)
@number_option(
    "--prompt",
    "prompt tokens",
    "Requests of one shape: tokens of the prompt.",
    whole=True,
    default="256",
)
@number_option(
    "--output",
    "output tokens",
    "Requests of one shape: tokens of the answer.",
    whole=True,
    default="128",
)
@click.option("--model", default="", help="Default: the first that the server lists.")
@click.option(
    "--api", type=click.Choice(["chat", "completions"]), default="chat", show_default=True
)
@click.option("--api-key", envvar="OPENAI_API_KEY", default="", help="Default: $OPENAI_API_KEY.")
@number_option("--slo-ttft", "TTFT objective in s", "Objective in seconds, for the goodput.")
@number_option("--slo-tpot", "TPOT objective in s", "Objective in seconds, for the goodput.")
@number_option("--slo-e2e", "e2e objective in s", "Objective in seconds, for the goodput.")
@number_option(
    "--processes",
    "number of processes",
    "Open loop: dealt out to this many.",
    whole=True,
    default="1",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Of arrivals, lengths and prompts."
)
@click.option(
    "--compare",
    metavar="URL",
    help="Ask this server the same, afterwards, and print the differences request by request.",
)
@click.option(
    "--hide-lengths",
    is_flag=True,
    help="Tell answers' lengths to an engine of ours only, not to what schedules on the way.",
)
@click.option(
    "--first", is_flag=True, help="Run before other programs of this machine (Linux, as root)."
)
@click.option(
    "--check-clock",
    is_flag=True,
    help="Ask a server of our own with known delays, and print the client's error.",
)
@click.option(
    "--export",
    "export_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the last run on URL as vllm bench serve does, or guidellm (*.guidellm.json).",
)
@report_options
def load(url: str | None, **options: Any) -> None:
    """Ask the server at URL, such as http://localhost:9000/v1, and report what its users would see.

    Latencies count from the moment a request was due, and the generator's own lateness is shown
    beside them.
    """
    need("httptools", "the load generator", "load")
    from headway.cli.load_table import CLOCK_COLUMNS, columns

    paths = (options["json_path"], options["html_path"], options["png_path"])
    if options["first"] and not go_first():
        raise InputError("--first needs Linux and the right to raise priorities: run it as root")
    if options["check_clock"]:
        deliver(_check_clock(options), CLOCK_COLUMNS, *paths)
        return
    if url is None:
        raise InputError("load needs a server: headway load http://localhost:9000/v1")
    asked = [url] + ([options["compare"]] if options["compare"] else [])
    notes: list[str] = [
        "latencies count from when a request was due; late is the generator's own delay",
        "intervals: 95% for means (batch means), 99% for quantiles (order statistics); "
        "none where too few requests were seen",
    ]
    waited_s = waited_for_core_s()
    found = [_measured(server, options, notes) for server in asked]
    rows = [row for some in found for row, _ in some]
    if len(found) > 1:
        notes.append(f"{asked[0]} against {asked[1]}, request by request, with 95% intervals:")
        notes += _compare(found[0], found[1])
    late_s = max(float(row["late_p99_s"] or 0.0) for row in rows)
    if late_s > LATE_S and waited_s is not None:
        held_s = (waited_for_core_s() or waited_s) - waited_s
        notes.append(
            f"requests were sent up to {number(1e3 * late_s)} ms late (P99), and this process was "
            f"kept waiting for a core for {number(held_s)} s: other programs run on this machine "
            "(--first goes before them)"
        )
    question = {
        key: value
        for key, value in options.items()
        if isinstance(value, str | int | float | bool) and key not in ("api_key", "json_path")
    }
    report = Report(
        "load", f"load on {' and '.join(asked)}", question, tuple(rows), notes=tuple(notes)
    )
    deliver(report, columns(rows), *paths)


def _measured(url: str, options: dict[str, Any], notes: list[str]) -> list[Level]:
    """What one server does at each level of load."""
    from headway.cli.load_table import Bar
    from headway.load.export import write_export
    from headway.load.measure import measured, problems
    from headway.load.models import first_model
    from headway.load.plan import plan_trace
    from headway.load.run import Server, closed_loop, open_loop, open_loop_on, run
    from headway.load.saturate import saturation

    if options["rate"] is not None and (options["concurrency"] or options["saturate"]):
        raise InputError(
            "choose one: --rate (open loop), --concurrency or --saturate (closed loop)"
        )
    server = Server(url, options["api"], options["api_key"])
    slo = Slo(options["slo_ttft"], options["slo_tpot"], options["slo_e2e"])
    wanted = levels(options["concurrency"]) if options["concurrency"] else []
    trace = _trace(options)
    model = options["model"] or first_model(url, options["api_key"])
    hide = bool(options["hide_lengths"])
    planned = plan_trace(trace, model, options["api"], options["seed"], hide)
    found: list[Level] = []

    def add(outcome: Outcome, **setting: float | int | None) -> dict[str, Value]:
        row: dict[str, Value] = {
            "server": url,
            **setting,
            **measured(outcome, slo if slo != Slo() else None),
        }
        found.append((row, outcome))
        for problem, count in list(problems(outcome).items())[:3]:
            notes.append(f"{count} of {len(outcome.answers)} failed: {problem}")
        if options["export_path"] is not None and url != options["compare"]:
            write_export(options["export_path"], outcome, model)
        return row

    if not (options["concurrency"] or options["saturate"]):
        if options["processes"] > 1:
            outcome = open_loop_on(server, planned, options["processes"])
        else:
            with Bar(len(planned)) as tick:
                outcome = run(lambda: open_loop(server, planned, tick=tick))
        add(outcome, concurrency=None, rate_rps=trace.rate_rps)
        return found
    for level in wanted:
        with Bar(len(planned)) as tick:
            outcome = run(lambda n=level, t=tick: closed_loop(server, planned, n, tick=t))  # type: ignore[misc]  # defaults of a lambda have no types
        add(outcome, concurrency=level, rate_rps=None)
    if options["saturate"]:

        def throughput(level: int) -> float:
            part = planned[: max(4 * level, 32)]
            outcome = run(lambda: closed_loop(server, part, level))
            row = add(outcome, concurrency=level, rate_rps=None)
            return float(row["output_tok_per_s"] or 0.0)

        knee = saturation(throughput, most=max(1, len(planned) // 4))
        notes.append(f"throughput of {url} grows little beyond concurrency {knee}")
    return found


def _compare(ours: list[Level], theirs: list[Level]) -> list[str]:
    """Write the differences into the rows of ``ours``, level by level; say them in words."""
    from headway.cli.load_table import difference
    from headway.load.compare import paired_row

    said: list[str] = []
    others = {row["concurrency"]: outcome for row, outcome in theirs}
    for row, outcome in ours:
        other = others.get(row["concurrency"])
        if other is not None and len(other.answers) == len(outcome.answers):
            row |= {f"against_{key}": value for key, value in paired_row(outcome, other).items()}
            said.append(difference(row))
    return said


def _trace(options: dict[str, Any]) -> Any:
    from headway.load.plan import evenly_shaped, shaped_arrivals
    from headway.workload.profile import find_profile
    from headway.workload.traces import read_trace

    rate, seed = options["rate"], options["seed"]
    closed = bool(options["concurrency"] or options["saturate"])
    if rate is None and not closed:
        rate = 1.0
    count = options["requests"]
    if count is None:
        duration_s = _seconds(options["duration"] or "60s")
        count = 200 if closed else max(2, round((rate or 1.0) * duration_s))
    if count > 1_000_000:
        raise InputError(f"{count} requests are more than one load sends; at most 1e6")
    name = options["workload"]
    if name is None:
        trace = evenly_shaped(count, options["prompt"], options["output"])
        gap_cv = 1.0
    elif Path(name).suffix:
        trace = read_trace(Path(name)).head(count)
        gap_cv = None
        if rate is not None and len(trace) > 1:
            trace = trace.at_rate(rate)
    else:
        trace = find_profile(name).generate(seed, count, rate)
        gap_cv = None
    if options["burstiness"] is not None:
        gap_cv = options["burstiness"]
    if not closed and gap_cv is not None:
        trace = shaped_arrivals(trace, rate, gap_cv, seed)
    return trace


def _seconds(text: str) -> float:
    from headway.units import parse_number

    units = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
    for unit in ("ms", "s", "m", "h"):
        if text.endswith(unit):
            value = parse_number(text[: -len(unit)], "duration") * units[unit]
            break
    else:
        value = parse_number(text, "duration in seconds")
    if not 0 < value <= 86_400:
        raise InputError(f"a duration is above 0 and at most a day, not {text}")
    return value


def levels(text: str) -> list[int]:
    """Concurrencies, such as ``1,8,64``."""
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--concurrency takes numbers such as 1,8,64, not {text!r}") from None
    if not all(1 <= level <= 100_000 for level in found):
        raise InputError(f"a concurrency is from 1 to 100000, not {text}")
    return found


def _check_clock(options: dict[str, Any]) -> Report:
    from headway.load.clock import clock_error

    asked = levels(options["concurrency"] or "1,64,256")
    rows = tuple(clock_error(level, options["requests"]) for level in asked)
    return Report(
        "load-clock", "the client's own error against a server with known delays",
        {"concurrency": ",".join(map(str, asked))}, rows,
        notes=("the truth is what the server itself stamped on the same clock; the error includes "
               "the kernel's part, which no client can avoid",),
    )  # fmt: skip
