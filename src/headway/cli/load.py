"""``headway load``: ask a server as users do, and measure honestly."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import Any

import click

from headway.cli.files import AnswerFiles, answer_files
from headway.cli.options import COUNT, COUNTS, FILE, FRACTION, NUMBER, RATES, TIME, TIME_OR_ZERO
from headway.cli.show import show
from headway.errors import InputError, need
from headway.machine import go_first
from headway.workload.objective import EXAMPLE, parse_slo


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
@click.option("--duration", "duration_s", type=TIME, default="60s",
              help="Open loop: how long to send.")  # fmt: skip
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
    help="Write the last run on URL: a row a request (*.csv), or as vllm bench serve (*.json) or "
    "guidellm (*.guidellm.json) do.",
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
    beside them.
    """
    need("httptools", "the load generator", "load")
    from headway.load import clock
    from headway.load.session import LoadPlan, load_test

    if first and not go_first():
        raise InputError("--first needs Linux and the right to raise priorities: run it as root")
    plan["concurrency"] = plan["concurrency"] or ()
    if check_clock:
        levels = plan["concurrency"] or clock.LEVELS
        show(clock.check_clock(levels, plan["num_requests"]), files)
        return
    if url is None:
        raise InputError("load needs a server: headway load http://localhost:9000/v1")

    with _Bar() as bar:
        report = load_test(
            url,
            LoadPlan(slo=parse_slo(slo), **plan),
            api_key=api_key,
            compare=compare,
            export=export,
            progress=bar.update,
        )
    show(report, files)


class _Bar:
    """A bar on stderr, drawn at most ten times a second: drawing must not cost latency."""

    def __enter__(self) -> _Bar:
        """Draw nothing where nobody looks."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._progress = Progress(
            TextColumn("{task.fields[state]}"), BarColumn(),
            console=Console(stderr=True), transient=True, auto_refresh=False,
        )  # fmt: skip
        self._task = self._progress.add_task("asking", state="")
        self._drawn_s = 0.0
        self._is_visible = self._progress.console.is_terminal
        if self._is_visible:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take it away."""
        self._progress.stop()

    def update(self, num_sent: int, num_ended: int, num_requests: int) -> None:
        """Show how many were sent, and how many ended."""
        now_s = monotonic()
        if not self._is_visible or now_s - self._drawn_s < 0.1:
            return
        self._drawn_s = now_s
        state = f"{num_ended} answered, {num_sent - num_ended} under way"
        self._progress.update(
            self._task, completed=num_ended, total=num_requests, state=state, refresh=True
        )
