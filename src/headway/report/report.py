"""One answer, from which every view derives: table, JSON, CSV, page, picture, data frame.

The JSON form is versioned and strict, and every report that is written can be read back. A value
that is not known is ``None``, never 0 and never NaN.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, make_dataclass
from functools import lru_cache
from keyword import iskeyword
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

from headway.errors import InputError
from headway.report.chart import Bars, Chart, chart_from_json, chart_to_json
from headway.report.column import Cell, Column, Value
from headway.report.estimate import Estimate
from headway.report.files import write_atomically
from headway.report.grid import Grid

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from typing_extensions import TypeVar  # its defaults are not in the oldest Python we run on

    from headway.report.picture import Picture

    RowType = TypeVar("RowType", bound=DataclassInstance, default=Any)
else:
    from typing import TypeVar

    RowType = TypeVar("RowType")

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Report(Generic[RowType]):
    """An answer with the question it answers.

    Attributes:
        kind: which command made it ("frontier", "estimate", ...).
        title: one line for people.
        question: what was asked, defaults included, so that it can be asked again.
        rows: the answer, best first or in the order of the axis: frozen dataclasses of one type,
            whose fields are declared with `headway.report.column.column`.
        marks: row numbers by what they are ("preferred", "cheapest", "preferred:h200").
        notes: what a reader must know to use the numbers: assumptions, what was left out and why.
        sources: where the inputs come from, by input.
        charts: what is drawn, one above another, if anything.
        more: reports that belong to the answer, with rows of other types.

    """

    kind: str
    title: str
    question: Mapping[str, Value]
    rows: tuple[RowType, ...]
    marks: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    charts: tuple[Chart | Bars, ...] = ()
    more: tuple[Report[Any], ...] = ()

    def __post_init__(self) -> None:
        for row in (self.question, *self.grid.rows):
            for name, value in row.items():
                _check_value(value, f"{name} of a {self.kind} report")

        for mark, number in self.marks.items():
            if not 0 <= number < len(self.rows):
                raise InputError(f"mark {mark!r} points at row {number} of {len(self.rows)}")

        columns = self.columns
        for chart in self.charts if columns else ():
            for name in chart.columns:
                if name not in columns:
                    raise InputError(f"a chart of a {self.kind} report names no column: {name!r}")

    @property
    def columns(self) -> dict[str, Column]:
        """The columns by field name, in the order of the row type; none without rows."""
        row_fields = fields(self.rows[0]) if self.rows else ()
        return {f.name: f.metadata["column"] for f in row_fields}

    @property
    def grid(self) -> Grid:
        """The cells with their columns: what every view reads."""
        columns = self.columns
        rows = tuple({name: getattr(row, name) for name in columns} for row in self.rows)
        return Grid(columns=columns, rows=rows, marks=self.marks)

    @property
    def flat_rows(self) -> list[dict[str, Value]]:
        """The rows of JSON, CSV and data frames: ``x`` with its ``x_lower`` and ``x_upper``.

        A column of estimates becomes three, and one more each for a level, a basis and a source
        where any row has one.
        """
        grid = self.grid
        parts = {name: _parts(row[name] for row in grid.rows) for name in grid.columns}
        flat = []
        for row in grid.rows:
            cells: dict[str, Value] = {}
            for name, cell in row.items():
                is_estimate = isinstance(cell, Estimate)
                cells[name] = cell.expected if isinstance(cell, Estimate) else cell
                for part in parts[name]:
                    cells[f"{name}_{part}"] = getattr(cell, part) if is_estimate else None
            flat.append(cells)
        return flat

    def to_json(self) -> str:
        """Return the report as JSON text with a closing newline.

        ``rows`` are in SI units, as in `flat_rows`; ``columns`` say how they are shown.
        """
        return json.dumps(self._tree, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @property
    def _tree(self) -> dict[str, Any]:
        return {
            "headway_report": VERSION,
            "kind": self.kind,
            "title": self.title,
            "question": dict(self.question),
            "columns": {name: asdict(column) for name, column in self.columns.items()},
            "rows": self.flat_rows,
            "marks": dict(self.marks),
            "notes": list(self.notes),
            "sources": dict(self.sources),
            "charts": [chart_to_json(chart) for chart in self.charts],
            **({"more": [report._tree for report in self.more]} if self.more else {}),
        }

    @classmethod
    def from_json(cls, text: str) -> Report[Any]:
        """Read a report, its rows as a frozen dataclass made from the columns.

        Raises:
            InputError: ``text`` is no report of this version.

        """
        try:
            tree = json.loads(text)
        except ValueError as error:
            raise InputError(f"not a report: the text is not JSON ({error})") from None
        if not isinstance(tree, dict) or tree.get("headway_report") != VERSION:
            raise InputError(
                f"not a report of version {VERSION}: write one with --json, or read this one with "
                "the Headway that wrote it"
            )

        return cls._from_tree(tree)

    @classmethod
    def _from_tree(cls, tree: Mapping[str, Any]) -> Report[Any]:
        try:
            columns = {name: Column(**own) for name, own in tree["columns"].items()}
            return Report(
                kind=str(tree["kind"]),
                title=str(tree["title"]),
                question=dict(tree["question"]),
                rows=tuple(_row_from_json(row, columns) for row in tree["rows"]),
                marks=dict(tree["marks"]),
                notes=tuple(str(note) for note in tree["notes"]),
                sources=dict(tree["sources"]),
                charts=tuple(chart_from_json(chart) for chart in tree["charts"]),
                more=tuple(map(cls._from_tree, tree.get("more", ()))),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"damaged report: {error!r}") from None

    def text(self, rows: Iterable[int] | None = None) -> str:
        """Return the answer as plain text: a table of ``rows`` (all), or one row as facts."""
        from headway.report.text import facts, table

        grid = self.grid
        return facts(grid) if len(grid.rows) == 1 else table(grid, rows)

    def summary(self, rows: Iterable[int] | None = None) -> str:
        """Return title, `text` of ``rows`` (all), and notes, and the same of ``more``."""
        notes = "".join(f"\n* {note}" for note in self.notes)
        more = "".join(f"\n{report.summary()}" for report in self.more)
        return f"{self.title}\n\n{self.text(rows)}\n{notes}{more}"

    def __str__(self) -> str:
        return self.summary()

    def to_csv(self) -> str:
        """Return the rows as CSV text in SI units, a line of column names first."""
        from headway.report.text import csv

        return csv(self.flat_rows)

    def to_pandas(self) -> Any:
        """Return `flat_rows` as a pandas data frame; the extra ``pandas`` is needed."""
        from headway.report.frames import to_pandas

        return to_pandas(self.flat_rows)

    def to_polars(self) -> Any:
        """Return `flat_rows` as a polars data frame; the extra ``polars`` is needed."""
        from headway.report.frames import to_polars

        return to_polars(self.flat_rows)

    def svg(self, width: float = 768, height: float = 442) -> str:
        """Return title, charts and notes as one SVG element of this size in pixels."""
        return self._picture.svg(width, height)

    def png(self, width_px: int = 1200, height_px: int = 750) -> bytes:
        """Return what `svg` shows as a PNG of exactly this size; the extra ``plot`` is needed.

        Raises:
            InputError: a side is not between 300 and 10,000 pixels.
            MissingExtraError: the library that renders SVG is not installed.

        """
        return self._picture.png(width_px, height_px)

    def html(self, path: str | Path | None = None) -> str:
        """Return the report as one page that needs nothing else; write it to ``path`` if given."""
        from headway.report.page import page

        text = page(
            kind=self.kind,
            picture=self._picture,
            question=self.question,
            sources=self.sources,
            json_text=self.to_json(),
            more=[report._picture for report in self.more],
        )
        if path is not None:
            write_atomically(Path(path), text)
        return text

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the picture, and the rows below it."""
        from headway.report.page import notebook

        return notebook(self._picture)

    @property
    def _picture(self) -> Picture:
        """What is drawn, and the words around it."""
        from headway.report.picture import Picture

        return Picture(title=self.title, grid=self.grid, charts=self.charts, notes=self.notes)


def is_report(text: str) -> bool:
    """Return whether ``text`` is a report of any version, rather than other JSON."""
    try:
        tree = json.loads(text)
    except ValueError:
        return False
    return isinstance(tree, dict) and "headway_report" in tree


def _check_value(value: object, what: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{what} is {value}, not a number")
    if not isinstance(value, str | int | float | Estimate | None):
        raise InputError(f"{what} is a {type(value).__name__}; give a number, a text or None")


def _parts(values: Iterable[Cell]) -> tuple[str, ...]:
    """Return what the estimates among ``values`` say beside the expected number."""
    estimates = [value for value in values if isinstance(value, Estimate)]
    extra = (p for p in ("level", "basis", "source") if any(getattr(e, p) for e in estimates))
    return ("lower", "upper", *extra) if estimates else ()


def _row_from_json(row: Mapping[str, Any], columns: Mapping[str, Column]) -> Any:
    values = {}
    for name in columns:
        values[name] = row[name]
        lower = None if f"{name}_lower" in columns else row.get(f"{name}_lower")
        if lower is not None:
            values[name] = Estimate(
                expected=row[name],
                lower=lower,
                upper=row[f"{name}_upper"],
                level=row.get(f"{name}_level"),
                basis=row.get(f"{name}_basis") or "",
                source=row.get(f"{name}_source") or "",
            )
    return _row_type(tuple(columns.items()))(**values)


@lru_cache(maxsize=64)
def _row_type(columns: tuple[tuple[str, Column], ...]) -> type[Any]:
    """Return a frozen dataclass with these columns; the same one for the same columns."""
    for name, _ in columns:
        if not name.isidentifier() or iskeyword(name):
            raise InputError(f"damaged report: {name!r} cannot be the name of a column")
    declared = [(name, Any, field(metadata={"column": column})) for name, column in columns]
    return make_dataclass("ReportRow", declared, frozen=True)
