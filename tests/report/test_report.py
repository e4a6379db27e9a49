"""A row type is declared once, and every view derives from it."""

from __future__ import annotations

import csv
import io
from dataclasses import FrozenInstanceError, dataclass, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.errors import InputError, MissingExtraError
from headway.report.chart import Bars, Chart
from headway.report.column import Cell, Column, Value, column, rounded
from headway.report.estimate import Estimate
from headway.report.report import Report


@dataclass(frozen=True, slots=True)
class ServingRow:
    deployment: str = column("deployment", "model and accelerators")
    users: int | None = column("users", "requests at once")
    tpot_s: Estimate | float | None = column("TPOT", "time per token", unit="ms", scale=1e3)
    mfu: float | None = column("MFU", "model flops over peak", unit="%", scale=100, digits=2)
    is_best: bool = column("best", "whether none beats it", detail=True, default=False)


CHART = Chart(x="users", y="tpot_s", series="deployment", front="is_best", intervals=True)


def report(*rows: ServingRow, **parts: object) -> Report[ServingRow]:
    return Report(kind="k", title="Two loads", question={}, rows=rows, **parts)  # type: ignore[arg-type] # parts of any kind


TWO = (
    ServingRow("8b on h100", 1, Estimate(0.0123, 0.01, 0.02, level=0.9, basis="measured"), 0.4125),
    ServingRow("8b on h100", 1234, Estimate(0.05, 0.04, 0.06), None, is_best=True),
)

finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
estimates = st.builds(
    lambda a, b, level, basis: Estimate((a + b) / 2, min(a, b), max(a, b), level, basis, basis),
    finite,
    finite,
    st.none() | st.floats(0.01, 1),
    st.text(max_size=4),
)
typed_rows = st.builds(
    ServingRow,
    st.text(),
    st.none() | st.integers(-(2**53), 2**53),
    st.none() | finite | estimates,
    st.none() | finite,
    st.booleans(),
)


@given(
    st.text(),
    st.dictionaries(
        st.text(min_size=1), st.none() | st.booleans() | finite | st.text(), max_size=4
    ),
    st.lists(typed_rows, max_size=4),
    st.lists(st.text(), max_size=3),
)
def test_every_report_that_is_written_can_be_read(
    title: str, question: dict[str, Value], rows: list[ServingRow], notes: list[str]
) -> None:
    written = Report(
        kind="k",
        title=title,
        question=question,
        rows=tuple(rows),
        marks={"first": 0} if rows else {},
        notes=tuple(notes),
        sources={"a": "b"},
        charts=(CHART,),
    )
    read = Report.from_json(written.to_json())
    assert read.to_json() == written.to_json()
    assert read.grid == written.grid
    assert read.charts == written.charts
    assert str(read) == str(written)
    assert read.to_csv() == written.to_csv()
    assert read.html() == written.html()
    assert Report.from_json(written.to_json()) == read


def test_read_rows_are_frozen_and_have_the_same_columns() -> None:
    read = Report.from_json(report(*TWO).to_json())
    row = read.rows[0]
    assert row.tpot_s == Estimate(0.0123, 0.01, 0.02, level=0.9, basis="measured")
    assert row.mfu == 0.4125
    assert [f.metadata["column"] for f in fields(row)] == list(report(*TWO).columns.values())
    with pytest.raises(FrozenInstanceError):
        row.mfu = 1.0


def test_a_table_shows_units_ranges_marks_and_no_details() -> None:
    text = report(*TWO, marks={"cheapest": 1, "fastest": 1}).text()
    assert text.splitlines() == [
        "deployment  users  TPOT (ms)   range  MFU (%)",
        "8b on h100      1       12.3  10..20       41",
        "8b on h100  1,234       50.0  40..60        -  cheapest, fastest",
    ]
    assert "1,234" not in report(*TWO).text([0])


def test_one_row_becomes_facts() -> None:
    assert report(TWO[0]).text().splitlines() == [
        "deployment  8b on h100  model and accelerators",
        "users       1           requests at once",
        "TPOT        12.3 ms     range 10..20; time per token",
        "MFU         41 %        model flops over peak",
        "best        no          whether none beats it",
    ]


def test_csv_is_in_si_units_and_flat() -> None:
    rows = list(csv.DictReader(io.StringIO(report(*TWO).to_csv())))
    assert rows[0]["tpot_s"] == "0.0123"
    assert (rows[0]["tpot_s_lower"], rows[0]["tpot_s_upper"]) == ("0.01", "0.02")
    assert (rows[0]["tpot_s_level"], rows[1]["tpot_s_level"]) == ("0.9", "")
    assert rows[1]["mfu"] == ""


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_data_frame_has_the_columns_of_the_csv(library: str) -> None:
    pytest.importorskip(library)
    frame = getattr(report(*TWO), f"to_{library}")()
    assert list(frame.columns) == report(*TWO).to_csv().splitlines()[0].split(",")
    assert frame["tpot_s_upper"].to_list() == [0.02, 0.06]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_without_the_library_the_error_says_what_to_install(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headway.errors.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=rf"headway\[{library}\]"):
        getattr(report(*TWO), f"to_{library}")()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_report_holds_numbers_only(value: float) -> None:
    with pytest.raises(InputError, match="not a number"):
        report(replace(TWO[0], mfu=value))


def test_a_mark_points_at_a_row() -> None:
    with pytest.raises(InputError, match="points at row 1 of 1"):
        report(TWO[0], marks={"best": 1})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"headway_report": 2}',
        '{"headway_report": 1, "kind": "k"}',
        '{"headway_report": 1, "kind": "k", "title": "t", "question": 3, "rows": 5, "marks": {},'
        ' "notes": [], "sources": {}}',
    ],
)
def test_what_is_no_report_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="report"):
        Report.from_json(text)


def test_a_chart_names_columns_of_the_row_type() -> None:
    with pytest.raises(InputError, match="names no column: 'speed'"):
        report(*TWO, charts=(Chart(x="speed", y="tpot_s", series="deployment"),))
    with pytest.raises(InputError, match="names no column"):
        report(*TWO, charts=(Bars(names=("deployment",), value="tpot_s", total="whole"),))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (0.0123456, "0.0123"), (1.2, "1.20"), (71.04, "71.0"), (9.996, "10.0"),
        (999.6, "1,000"), (12345.6, "12,346"), (-1.5, "-1.50"), (1.5e-7, "1.50e-07"),
        (3e20, "3.00e+20"),
    ],
)  # fmt: skip
def test_three_digits_are_kept(value: float, text: str) -> None:
    assert rounded(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (True, "yes"), (False, "no"), ("a", "a"), (1234, "1,234")]
)
def test_what_is_no_fraction_is_shown_as_it_is(value: Cell, text: str) -> None:
    assert Column("h", "m").format(value) == text


@pytest.mark.parametrize(
    ("expected", "lower", "level", "message"),
    [(1.0, 2.0, 0.9, "above"), (float("nan"), 0.0, 0.9, "finite"), (1.0, 0.0, 1.5, "level")],
)
def test_an_estimate_is_checked_at_birth(
    expected: float, lower: float, level: float, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Estimate(expected, lower, upper=1.0, level=level)


def test_reports_that_belong_to_an_answer_go_where_it_goes() -> None:
    part, whole = report(*TWO), replace(report(TWO[0]), title="Whole")
    both = replace(whole, more=(part,))
    again = Report.from_json(both.to_json())
    assert again.to_json() == both.to_json()
    assert again.more[0].rows[1].users == TWO[1].users
    assert str(both) == f"{whole}\n{part}"
    assert f"<h2>{part.title}</h2>" in both.html()
    assert '"more"' not in whole.to_json()
