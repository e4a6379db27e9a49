"""``headway load``: ask a server as users do, and measure honestly."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import click

from headway.cli.files import AnswerFiles, answer_files
from headway.cli.options import COUNT, COUNTS, FILE, FRACTION, NUMBER, RATES, TIME, TIME_OR_ZERO
from headway.cli.show import show
from headway.errors import InputError, need
from headway.machine import go_first
from headway.workload.objective import EXAMPLE, parse_slo

if TYPE_CHECKING:  # needs an extra
    from headway.load.progress import Progress

TELL_S = 5.0  # between lines, where no terminal is


@click.command()
@click.argument("url", required=False)
@click.option(
    "--workload",
    metavar="NAME",
    help="A profile that ships (azure-conv, ...) or a trace file; default: requests of one shape.",
)
@click.option(
    "--rate",
    "rate_rps",
    type=RATES,
    help="Open loop: requests/s, sent on time; several (5,20 or 5..40) make a sweep.",
)
@click.option(
    "--burstiness",
    type=NUMBER,
    help="Open loop: variation of gaps; 1 is Poisson. Default: the workload's own.",
)
@click.option(
    "--concurrency",
    type=COUNTS,
    help="Closed loop: requests kept under way; several (1,8,64 or 1..64) make a sweep.",
)
@click.option(
    "--saturate",
    is_flag=True,
    help="Search the concurrency from which throughput grows no more; with --rate, the highest "
    "rate that is kept up with.",
)
@click.option(
    "--duration",
    "duration_s",
    type=TIME,
    help="How long to send. Default: 60s; a closed loop sends 200 requests.",
)
@click.option(
    "--drain",
    "drain_s",
    type=TIME,
    help="How long to wait for the last answers. Default: 5m, but 30s for a backlog.",
)
@click.option("--warmup", "warmup_s", type=TIME_OR_ZERO, default="0s",
              help="Send for so long first, and leave that out.")  # fmt: skip
@click.option("--ramp", "ramp_s", type=TIME_OR_ZERO, default="0s",
              help="Rise to the rate, or the concurrency, over so long.")  # fmt: skip
@click.option("--cancel", type=FRACTION, default="0",
              help="Share of the requests whose clients go away after some tokens.")  # fmt: skip
@click.option(
    "--sessions",
    is_flag=True,
    help="Send a prompt that goes on from another once that was answered (a trace's hashes tell).",
)
@click.option("--num-requests", type=COUNT, help="How many to send (per level of a sweep).")
@click.option("--prompt", "--isl", type=COUNT, default="256",
              help="Tokens of the prompt, without a workload.")  # fmt: skip
@click.option("--output", "--osl", type=COUNT, default="128",
              help="Tokens of the answer, without a workload.")  # fmt: skip
@click.option(
    "--tokenizer",
    metavar="FILE",
    default="",
    show_default=False,
    help="tokenizer.json of the model: prompts have exactly their tokens.",
)
@click.option(
    "--model", default="", show_default=False, help="Default: the first that the server lists."
)
@click.option(
    "--api",
    type=click.Choice(["chat", "completions"]),
    default="chat",
    help="Which of the server's interfaces is asked.",
)
@click.option(
    "--api-key",
    envvar="OPENAI_API_KEY",
    default="",
    show_default=False,
    help="Default: $OPENAI_API_KEY.",
)
@click.option("--slo", metavar="OBJECTIVES", help=f"For the goodput: {EXAMPLE!r}.")
@click.option("--processes", type=COUNT, default="1", help="Open loop: dealt out to these.")
@click.option("--seed", type=int, default=0, help="Of arrivals, lengths and prompts.")
@click.option(
    "--compare",
    metavar="URL",
    help="Ask this server the same, afterwards, and show the differences request by request.",
)
@click.option(
    "--hide-lengths/--tell-lengths",
    default=True,
    help="Tell a workload's lengths to an engine of ours only, or to all on the way too.",
)
@click.option(
    "--first", is_flag=True, help="Run before other programs of this machine (Linux, as root)."
)
@click.option(
    "--check-clock",
    is_flag=True,
    help="Ask a server of our own with known delays, and show the client's error.",
)
@click.option(
    "-o",
    "export",
    type=FILE,
    metavar="FILE",
    help="Write the requests sent to URL: a row each (*.csv), or as vllm bench serve (*.json, the "
    "last level) or guidellm (*.guidellm.json) do.",
)
@answer_files
def load(
    url: str | None,
    first: bool,
    check_clock: bool,
    slo: str | None,
    api_key: str,
    compare: str | None,
    export: Path | None,
    files: AnswerFiles,
    **plan: Any,
) -> None:
    """Ask the server at URL, such as http://localhost:9000/v1, and report what its users would see.

    Latencies count from the moment a request was due, and the generator's own lateness is shown
    beside them. A sweep ends with the first rate that is too much. Ctrl-C ends it at once, and what
    was measured until then is shown and written.
    """
    need("httptools", "the load generator", "load")
    from headway.load import clock
    from headway.load.interruption import Interruption
    from headway.load.load_plan import LoadPlan
    from headway.load.session import load_test

    if first and not go_first():
        raise InputError("--first needs Linux and the right to raise priorities: run it as root")
    plan["concurrency"] = plan["concurrency"] or ()
    if check_clock:
        levels = plan["concurrency"] or clock.LEVELS
        show(clock.check_clock(levels, plan["num_requests"]), files)
        return
    if url is None:
        raise InputError("load needs a server: headway load http://localhost:9000/v1")

    with Interruption() as interruption, _StatusLine() as line:
        report = load_test(
            url,
            LoadPlan(slo=parse_slo(slo), **plan),
            api_key=api_key,
            compare=compare,
            export=export,
            watch=line.update,
            interruption=interruption,
        )
    show(report, files)
    if export is not None:
        click.echo(f"wrote {export}", err=True)
    if interruption.is_asked:
        raise SystemExit(128 + interruption.signal_number)


class _StatusLine:
    """How far a load has come, on stderr: one line that changes, or where nobody sits one each 5 s.

    It is drawn at most four times a second: drawing must not cost latency.
    """

    def __enter__(self) -> _StatusLine:
        """Draw nothing yet."""
        from rich.console import Console
        from rich.status import Status

        console = Console(stderr=True)
        self._status = Status("", console=console, refresh_per_second=4)
        self._is_live = console.is_terminal
        self._level = ""
        self._told_s = 0.0
        if self._is_live:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take it away."""
        self._status.stop()

    def update(self, progress: Progress) -> None:
        """Show how far it has come."""
        if self._is_live:
            self._status.update(progress.text)
            return
        is_new = progress.level != self._level
        if is_new or monotonic() - self._told_s >= TELL_S:
            self._level, self._told_s = progress.level, monotonic()
            click.echo(f"headway: {progress.text}", err=True)
