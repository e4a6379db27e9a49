"""Parts of a whole as bars with their intervals: where the time of an endpoint goes.

One SVG without script or style of its own, so that it stands in a page under the strictest policy,
and the same bars for a picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

from headway.report.chart import Bars
from headway.report.estimate import Estimate
from headway.report.report import Report
from headway.report.words import seconds

WIDTH, ROW, LEFT, RIGHT = 860.0, 34.0, 190.0, 190.0


@dataclass(frozen=True, slots=True)
class Bar:
    """A part in seconds, from ``start_s`` on, with its interval; a ``whole`` is not in the sum."""

    name: str
    start_s: float
    value_s: float
    lower_s: float
    upper_s: float
    whole: bool

    @property
    def said(self) -> str:
        """The value with its interval, in words."""
        ends = f"{seconds(self.lower_s)} to {seconds(self.upper_s)}"
        return seconds(self.value_s) + ("" if self.lower_s == self.upper_s else f" ({ends})")


def bars_of(report: Report[Any]) -> tuple[Bar, ...]:
    """The parts of an endpoint's time, each begun where the one before it ends; else none."""
    declared = [chart for chart in report.charts if isinstance(chart, Bars)]
    if declared and report.rows:
        return _declared(report, declared[0])
    if report.kind != "endpoint":
        return ()
    found, at = [], 0.0
    for row in report.rows:
        value = row.get("value")
        if row.get("unit") != "s" or not isinstance(value, int | float):
            continue
        ends = [row.get(end) for end in ("lower", "upper")]
        lower, upper = (float(e) if isinstance(e, int | float) else float(value) for e in ends)
        whole = str(row["part"]) in ("raw", "idealized")
        start = 0.0 if whole else at
        found.append(Bar(str(row["part"]), start, float(value), lower, upper, whole))
        at += 0.0 if whole else float(value)
    return tuple(found)


def _declared(report: Report[Any], chart: Bars) -> tuple[Bar, ...]:
    bars, at = [], 0.0
    for row in report.values:
        value, is_total = row[chart.value], row[chart.total] is True
        if isinstance(value, int | float):
            value = Estimate(value, value, value)
        if not isinstance(value, Estimate):
            continue
        start = 0.0 if is_total else at
        bars.append(
            Bar(str(row[chart.name]), start, value.expected, value.lower, value.upper, is_total)
        )
        at += 0.0 if is_total else value.expected
    return tuple(bars)


def svg(bars: tuple[Bar, ...]) -> str:
    """The bars as one SVG element whose colours follow the page's."""
    most = max(bar.start_s + max(bar.value_s, bar.upper_s, 0.0) for bar in bars) or 1.0
    scale = (WIDTH - LEFT - RIGHT) / most

    def x(value_s: float) -> float:
        return LEFT + scale * max(value_s, 0.0)

    parts = []
    for i, bar in enumerate(bars):
        top, colour = i * ROW + 6, "var(--front)" if bar.whole else "var(--c0)"
        left, right = sorted((x(bar.start_s), x(bar.start_s + bar.value_s)))
        low, high = x(bar.start_s + bar.lower_s), x(bar.start_s + bar.upper_s)
        middle = top + (ROW - 12) / 2
        parts.append(
            f'<text x="{LEFT - 10:g}" y="{middle + 5:g}" text-anchor="end" fill="var(--ink)">'
            f"{escape(bar.name)}</text>"
            f'<rect x="{left:.1f}" y="{top:g}" width="{max(right - left, 1):.1f}" '
            f'height="{ROW - 12:g}" fill="{colour}"/>'
            f'<path d="M{low:.1f} {middle:g}H{high:.1f}" stroke="var(--ink)" stroke-width="1.5"/>'
            f'<text x="{max(right, high) + 8:.1f}" y="{middle + 5:g}" fill="var(--quiet)" '
            f'font-size="12">{escape(bar.said)}</text>'
        )
    height = len(bars) * ROW
    return (
        f'<svg viewBox="0 0 {WIDTH:g} {height:g}" width="100%" role="img" font-size="14" '
        f'aria-label="Parts of the mean time of a request">{"".join(parts)}</svg>'
    )
