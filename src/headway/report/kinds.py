"""What of a report is drawn: the one place that knows the kinds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from headway.report.chart import Chart as LineChart
from headway.report.report import Report, Row
from headway.report.words import digits


@dataclass(frozen=True, slots=True)
class Axis:
    """A column along an axis, and its words.

    Attributes:
        key: the column.
        label: beside the axis, with the unit.
        before: stands before a value, also at the ticks.
        after: follows a value in a sentence.

    """

    key: str
    label: str
    before: str
    after: str

    def of(self, row: Row, end: str = "") -> float | None:
        """The value of ``row``; ``None`` where it is unknown or has no place on a log axis."""
        value = row.get(self.key + end)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return float(value) if 1e-30 < value < 1e30 else None

    def interval(self, row: Row) -> tuple[float, float] | None:
        """What ``row`` says the value lies between, if it does."""
        lower, upper = self.of(row, "_lower"), self.of(row, "_upper")
        return None if lower is None or upper is None else (lower, upper)

    def say(self, row: Row) -> str:
        """The value of ``row`` in a sentence."""
        value = self.of(row)
        return "unknown" if value is None else f"{self.before}{digits(value)}{self.after}"


@dataclass(frozen=True, slots=True)
class Chart:
    """How reports of one kind are drawn.

    Attributes:
        x: the horizontal axis.
        y: the vertical axis.
        series: the column whose values are the lines.
        front: the column that is true on the front over all lines.
        legend: what the eye cannot guess.
        doubts: whether every point shows what it lies between, or only the preferred one.

    """

    x: Axis
    y: Axis
    series: str
    front: str
    legend: str
    doubts: bool = False

    def points(self, report: Report) -> dict[int, tuple[float, float]]:
        """The drawable rows by number."""
        at = ((n, self.x.of(row), self.y.of(row)) for n, row in enumerate(report.rows))
        return {n: (x, y) for n, x, y in at if x is not None and y is not None}

    def legend_of(self, report: Report) -> str:
        """What the eye cannot guess about the chart of ``report``."""
        more = any(mark.startswith("preferred:") for mark in report.marks)
        return self.legend + f"  ·  small ★: of one {self.series}" * more

    def curves(self, report: Report) -> dict[str, list[int]]:
        """The numbers of the drawable rows by series, each along the horizontal axis."""
        order = {self.name(row): list[int]() for row in report.rows}
        for number in self._along(report):
            order[self.name(report.rows[number])].append(number)
        return {name: numbers for name, numbers in order.items() if numbers}

    def front_of(self, report: Report) -> list[int]:
        """The numbers of the drawable rows on the front, along the horizontal axis."""
        return [n for n in self._along(report) if report.rows[n].get(self.front) is True]

    def name(self, row: Row) -> str:
        """The series that ``row`` belongs to."""
        value = row.get(self.series)
        return "unnamed" if value is None else str(value)

    def say(self, row: Row) -> str:
        """The point of ``row`` in a sentence."""
        return f"{self.x.say(row)} · {self.y.say(row)}"

    def _along(self, report: Report) -> list[int]:
        at = self.points(report)
        return sorted(at, key=lambda number: at[number])


CHARTS = {
    "frontier": Chart(
        Axis("tok_per_s_per_user", "speed, tokens/s per user", "", " tok/s per user"),
        Axis("usd_per_mtok", "price, $ per million tokens", "$", "/Mtok"),
        "accelerator",
        "on_front",
        "thick line: front over the accelerators shown  ·  "
        "★ preferred: largest speed³ / price, with its interval",
    ),
    "simulate": Chart(
        Axis("e2e_mean_s", "mean time from arrival to last token, s", "", " s in the mean"),
        Axis("e2e_p99_s", "time to the last token at the 99th percentile, s", "", " s at P99"),
        "policy",
        "on_front",
        "a line joins a policy with its predictions and with the same ones shuffled",
    ),
    "ideal": Chart(
        Axis("runtime_s", "idealized runtime of a request, s", "", " s"),
        Axis("energy_j", "energy of a request, J", "", " J"),
        "model",
        "on_front",
        "low and to the left is better  ·  a line joins the accelerators of one model  ·  bars: "
        "what the values lie between",
        doubts=True,
    ),
    "probes": Chart(
        Axis("asked_prompt_tokens", "prompt, tokens", "", " prompt tokens"),
        Axis("ttft_s", "undisturbed time to first token, s", "", " s"),
        "model",
        "on_front",
        "lower envelope over the trials  ·  bars: what it lies between (90%)",
        doubts=True,
    ),
    "profile": Chart(
        Axis("prompt_tokens", "prompt or cached tokens", "", " tokens"),
        Axis("duration_s", "seconds", "", " s"),
        "what",
        "on_front",
        "the least of the trials  ·  bars: the undisturbed time (90%)",
        doubts=True,
    ),
}
USERS = Axis("concurrency", "requests at once", "", " at once")
LOADS = (
    Chart(
        USERS,
        Axis("tpot_s", "time per output token, s", "", " s per token"),
        "accelerator",
        "on_front",
        "bars: from the 10% to the 90% quantile",
        doubts=True,
    ),
    Chart(
        USERS,
        Axis(
            "output_tok_per_s_per_accelerator",
            "output tokens/s per accelerator",
            "",
            " tok/s per accelerator",
        ),
        "accelerator",
        "on_front",
        "",
        doubts=True,
    ),
)
COMPONENTS = ("arithmetic_s", "memory_s", "network_s", "latency_s")


def plain(report: Report[Any]) -> Report:
    """The report with mappings as rows, for the views that still read those."""
    return replace(report, rows=tuple(report.flat_rows))


def _declared(report: Report) -> list[Chart]:
    """The charts that the report brings, in the words of this module."""
    columns = report.columns
    if not columns:
        return []
    return [
        Chart(
            Axis(own.x, own.x_label or columns[own.x].title, "", f" {columns[own.x].unit}"),
            Axis(own.y, own.y_label or columns[own.y].title, "", f" {columns[own.y].unit}"),
            own.series,
            own.front,
            own.legend,
            own.intervals,
        )
        for own in report.charts
        if isinstance(own, LineChart)
    ]


def chart_of(report: Report) -> Chart | None:
    """How ``report`` is drawn; ``None`` where its kind or its rows offer nothing to draw."""
    panels = panels_of(report)
    return panels[0] if panels else None


def panels_of(report: Report) -> tuple[Chart, ...]:
    """What a picture of ``report`` shows, one above another; empty where nothing can be drawn."""
    charts = _declared(report)
    if not report.columns:
        charts += LOADS if report.kind == "serving" else ()
        charts += [_tradeoff(report)] if report.kind == "tradeoff" else ()
        charts += [CHARTS[report.kind]] if report.kind in CHARTS else ()
    return tuple(charts) if charts and charts[0].curves(plain(report)) else ()


def _tradeoff(report: Report) -> Chart:
    """Two columns that the question names: what is to be low, and what is to be high."""
    low, high = (str(report.question.get(key)) for key in ("metric", "score"))
    return Chart(
        Axis(low, low.replace("_", " "), "", f" {low.replace('_', ' ')}"),
        Axis(high, high.replace("_", " "), "", f" {high.replace('_', ' ')}"),
        "model",
        "on_front",
        "thick line: models that no other beats in both",
    )


def layout(row: Row) -> str:
    """What ``row`` has one buy and run: ``8× h200 · TP 4 · batch 64 · 3 drafted tokens``."""
    parts = []
    if row.get("num_accelerators") and row.get("accelerator"):
        parts.append(f"{row['num_accelerators']}× {row['accelerator']}")
    parts += [
        f"{k.upper()} {row[k]}" for k in ("tp", "pp", "dp", "ep") if row.get(k) not in (None, 1)
    ]
    if (batch := row.get("batch")) is not None:
        parts.append(f"batch {batch}")
    if draft_tokens := row.get("draft_tokens"):
        parts.append(f"{draft_tokens} drafted tokens")
    return " · ".join(parts)


def marks_by_row(report: Report) -> dict[int, list[str]]:
    """The names of the marks on each marked row, in the order of the report."""
    marks: dict[int, list[str]] = {}
    for mark, number in report.marks.items():
        marks.setdefault(number, []).append(mark)
    return marks


def callouts(report: Report, chart: Chart) -> list[tuple[int, list[str]]]:
    """What to write beside the marked points: the row, and what is said of it in short parts.

    Marks of one series alone ("preferred:h200") are drawn but not written.
    """
    points = chart.points(report)
    said = []
    for number, marks in marks_by_row(report).items():
        names = [
            "★ preferred" if mark == "preferred" else mark for mark in marks if ":" not in mark
        ]
        if names and number in points:
            row = report.rows[number]
            parts = f"{chart.say(row)} · {layout(row)}".split(" · ")
            said.append((number, [" and ".join(names), *filter(None, parts)]))
    return said
