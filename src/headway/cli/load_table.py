"""What ``headway load`` shows: a bar while it asks, tables afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from headway.cli.show import Column, number
from headway.report.report import Row


class Bar:
    """A bar on stderr, drawn at most ten times a second: drawing must not cost latency."""

    def __init__(self, total: int) -> None:
        """Draw nothing yet, and nothing at all where nobody looks."""
        self._bar = Progress(
            TextColumn("{task.fields[said]}"), BarColumn(), TaskProgressColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True), transient=True, auto_refresh=False,
        )  # fmt: skip
        self._task = self._bar.add_task("asking", total=total, said="")
        self._shown_s = 0.0

    def __enter__(self) -> Callable[[int, int], None]:
        """Begin; returns what is told how many were sent and how many ended."""
        if self._bar.console.is_terminal:
            self._bar.start()
        return self._tick

    def __exit__(self, *_: object) -> None:
        """Take it away."""
        self._bar.stop()

    def _tick(self, sent: int, ended: int) -> None:
        if self._bar.console.is_terminal and (now_s := monotonic()) - self._shown_s > 0.1:
            self._shown_s = now_s
            said = f"{ended} answered, {sent - ended} under way"
            self._bar.update(self._task, completed=ended, said=said, refresh=True)


def _ms(name: str, digits: int = 3) -> Callable[[Row], str]:
    def text(row: Row) -> str:
        value = row.get(name)
        return "-" if value is None else number(1e3 * float(value), digits)

    return text


def difference(row: Row) -> str:
    """How a server differs from another, in words."""
    said = []
    for name in ("ttft", "tpot", "e2e"):
        value = row[f"against_{name}_relative"]
        low, high = (row[f"against_{name}_relative_{end}"] for end in ("lower", "upper"))
        if value is not None:
            around = "" if low is None or high is None else f" [{low:+.1%}, {high:+.1%}]"
            said.append(f"{name if name == 'e2e' else name.upper()} {value:+.1%}{around}")
    level = "" if row["concurrency"] is None else f" at concurrency {row['concurrency']}"
    return f"{', '.join(said)}{level}, over {row['against_pairs']} pairs"


def columns(rows: Sequence[Row]) -> list[Column]:
    """The columns for ``rows`` of a load."""

    def within(row: Row) -> str:
        low, high = row["ttft_mean_lower_s"], row["ttft_mean_upper_s"]
        if low is None or high is None:
            return "-"
        return f"{number(1e3 * float(low), 2)}..{number(1e3 * float(high), 2)}"

    found: list[Column] = []
    if len({row["server"] for row in rows}) > 1:
        found.append(("<", "server", lambda row: str(row["server"])))
    found += [
        (">", "concurrency", lambda row: number(row["concurrency"])),
        (">", "sent/s", lambda row: number(row["rate_rps"])),
        (">", "requests", lambda row: number(row["requests"])),
        (">", "failed", lambda row: number(row["failed"])),
        (">", "done/s", lambda row: number(row["requests_per_s"])),
        (">", "tok/s", lambda row: number(row["output_tok_per_s"])),
        (">", "TTFT ms", _ms("ttft_mean_s")),
        (">", "95%", within),
        (">", "p99", _ms("ttft_p99_s")),
        (">", "TPOT ms", _ms("tpot_mean_s")),
        (">", "ITL p99", _ms("itl_p99_s")),
        (">", "e2e ms", _ms("e2e_mean_s")),
        (">", "p99", _ms("e2e_p99_s")),
        (">", "late p99 ms", _ms("late_p99_s", 2)),
    ]
    if any("goodput_requests_per_s" in row for row in rows):
        found.append((">", "goodput/s", lambda row: number(row.get("goodput_requests_per_s"))))
    return found


CLOCK_COLUMNS: list[Column] = [
    (">", "concurrency", lambda row: number(row["concurrency"])),
    (">", "true TTFT ms", _ms("true_ttft_mean_s")),
    (">", "error ms", _ms("error_mean_s")),
    (">", "error of p99 ms", _ms("error_p99_s")),
    (">", "TPOT error", lambda row: f"{100 * float(row['tpot_error'] or 0):.2f}%"),
    (">", "CPU ms/request", _ms("cpu_per_request_s")),
]
