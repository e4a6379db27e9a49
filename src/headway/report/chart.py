"""What of a report is drawn: declared by the room beside its row type, in names of its columns."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from headway.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Points on two axes, joined to one line for each series.

    Attributes:
        x, y: the columns along the axes.
        series: the column whose values name the lines.
        front: the column (true or false) of the points that no other beats.
        legend: what the eye cannot guess.
        x_label, y_label: words in place of the columns' headings; the unit follows.
        details: the columns that are said beside a marked point.
        parts: columns that add up, drawn as a bar beside the chosen point.
        intervals: whether every point shows its interval, or only the preferred one.
        log: whether the axes are logarithmic at first.

    """

    x: str
    y: str
    series: str
    front: str = ""
    legend: str = ""
    x_label: str = ""
    y_label: str = ""
    details: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    intervals: bool = False
    log: bool = True

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the chart needs."""
        names = (self.x, self.y, self.series, self.front, *self.details, *self.parts)
        return tuple(name for name in names if name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """A bar for each row, from zero, or parts of a whole that begin where the one before ends.

    Attributes:
        names: the columns that together name a row.
        value: the column with the lengths; a row without one is not drawn.
        total: the column (true or false) of the rows that are no part of the whole but drawn from
            zero; without it all are, and the row of the first mark stands out.
        details: the columns that are said beside a bar.
        legend: what the eye cannot guess.

    """

    names: tuple[str, ...]
    value: str
    total: str = ""
    details: tuple[str, ...] = ()
    legend: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the chart needs."""
        return tuple(name for name in (*self.names, self.value, self.total, *self.details) if name)


def chart_to_json(chart: Chart | Bars) -> dict[str, Any]:
    """Return ``chart`` as a JSON object."""
    return {"type": "bars" if isinstance(chart, Bars) else "lines", **asdict(chart)}


def chart_from_json(tree: dict[str, Any]) -> Chart | Bars:
    """Return the chart in a JSON object; raise `InputError` for one that is none."""
    kinds: dict[object, type[Chart | Bars]] = {"lines": Chart, "bars": Bars}
    kind = kinds.get(tree.get("type"))
    if kind is None:
        raise InputError(f"a chart's type is lines or bars, not {tree.get('type')!r}")

    names = {field.name for field in fields(kind)}
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in tree.items()
        if name in names
    }
    return kind(**values)
