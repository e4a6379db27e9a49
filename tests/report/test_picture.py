from __future__ import annotations

import io
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import pytest

from headway.errors import InputError, MissingExtraError
from headway.report.axis import Axis, ticks
from headway.report.bars import bars_of
from headway.report.chart import Bars, Chart
from headway.report.column import column
from headway.report.estimate import Estimate
from headway.report.figure import LineFigure, figure_of
from headway.report.labels import Box
from headway.report.letters import printable, text_width, wrapped
from headway.report.report import Report
from headway.report.svg import SERIES

Image = pytest.importorskip("PIL.Image", reason="reading a PNG needs pillow")
pytest.importorskip("resvg_py", reason="a PNG needs resvg_py")
BOX = Box(0.0, 0.0, 900.0, 540.0)


def decoded(png_bytes: bytes) -> npt.NDArray[np.float64]:
    image = Image.open(io.BytesIO(png_bytes)).convert("RGB")
    return np.asarray(image, dtype=np.float64) / 255


def drawing_of(report: Report[Any]) -> LineFigure:
    chart = report.charts[0]
    assert isinstance(chart, Chart)
    figure = figure_of(report.grid, chart, box=BOX)
    assert figure is not None
    return figure


@pytest.mark.parametrize("size", [(1200, 750), (901, 563), (317, 300)])
def test_a_picture_has_the_asked_size_and_something_on_it(
    frontier: Report[Any], size: tuple[int, int]
) -> None:
    pixels = decoded(frontier.png(*size))
    assert pixels.shape[:2] == size[::-1]
    assert len(np.unique((pixels @ [1, 10, 100]).round())) > 20
    assert (pixels == 1).mean() > 0.5


def test_the_same_report_gives_the_same_bytes(frontier: Report[Any]) -> None:
    assert frontier.png(600, 400) == frontier.png(600, 400)
    assert Report.from_json(frontier.to_json()).png(600, 400) == frontier.png(600, 400)


def test_every_line_and_the_preferred_point_show_in_their_colour(frontier: Report[Any]) -> None:
    pixels = (decoded(frontier.png()) * 255).round().astype(int)
    for colour in SERIES[: len({row.accelerator for row in frontier.rows})]:
        rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert (pixels == rgb).all(axis=-1).sum() > 200, colour


def test_the_page_shows_the_drawing_of_the_picture(frontier: Report[Any]) -> None:
    """One renderer: at the same size, the same elements."""
    figure = drawing_of(frontier)
    assert figure.draw() in frontier.html()


def test_a_drawing_is_whole_xml_with_every_row_on_it(frontier: Report[Any]) -> None:
    root = ElementTree.fromstring(frontier.svg())
    rows = {e.get("data-row") for e in root.iter() if "hw-point" in (e.get("class") or "")}
    assert rows == {str(n) for n in range(len(frontier.rows))}


def test_labels_cover_no_line_and_no_other_label(frontier: Report[Any]) -> None:
    figure = drawing_of(frontier)
    names = "".join(figure._names())
    assert all(name in names for name in figure.curves)
    assert "★ preferred" in names


def test_a_report_without_a_chart_becomes_a_sheet(
    estimate: Report[Any], frontier: Report[Any]
) -> None:
    many = replace(frontier, charts=(), marks={})
    none = replace(frontier, rows=(), marks={})
    unknown = replace(frontier, rows=(replace(frontier.rows[0], usd_per_mtok=None),), marks={})
    for report in (estimate, many, none, unknown):
        pixels = decoded(report.png(600, 400))
        assert pixels.shape[:2] == (400, 600)
        assert pixels.std() > 0.01


def test_values_without_a_place_on_the_axes_are_left_out(frontier: Report[Any]) -> None:
    odd = (None, 0, -1.0, True, "12", 10**400, 1e-320)
    rows = tuple(replace(frontier.rows[0], usd_per_mtok=value) for value in odd)
    known = replace(frontier, rows=frontier.rows[:5], marks={})
    more = replace(known, rows=(*known.rows, *rows))
    assert more.svg() == known.svg()


@pytest.mark.parametrize("num_rows", [1, 2, 5])
def test_few_rows_make_a_picture_too(frontier: Report[Any], num_rows: int) -> None:
    few = replace(frontier, rows=frontier.rows[:num_rows], marks={"preferred": 0})
    assert decoded(few.png(600, 400)).shape[:2] == (400, 600)


def test_names_are_drawn_as_they_are(frontier: Report[Any]) -> None:
    odd = r"$\frac{1}$ $x^2$ <b> {} %s" + "\x00\n\t\ud800"
    rows = tuple(replace(row, accelerator=odd) for row in frontier.rows)
    report = replace(frontier, title=odd * 9, rows=rows, notes=(odd,) * 30)
    assert decoded(report.png(600, 400)).shape[:2] == (400, 600)


@pytest.mark.parametrize("size", [(0, 750), (1200, -1), (1200, 10**9)])
def test_an_absurd_size_is_refused(frontier: Report[Any], size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="pixels"):
        frontier.png(*size)


def test_without_the_renderer_the_error_says_what_to_install(
    estimate: Report[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "resvg_py", None)
    with pytest.raises(MissingExtraError, match=r"headway\[plot\]"):
        estimate.png()


@dataclass(frozen=True, slots=True)
class LoadRow:
    accelerator: str = column("accelerator", "what one buys")
    users: int = column("users", "requests at once")
    tpot_s: Estimate = column("TPOT", "time per token", unit="ms", scale=1e3)
    tok_per_s: float = column("tok/s", "per accelerator")


def load_report(*charts: Chart) -> Report[LoadRow]:
    rows = tuple(
        LoadRow("h200", n, Estimate(0.01 * n**0.5, 0.008 * n**0.5, 0.03 * n**0.5), 100 * n**0.5)
        for n in (1, 4, 16)
    )
    return Report(kind="serving", title="A load", question={}, rows=rows, charts=charts)


def test_several_charts_stand_one_above_another_with_bars_where_there_are_intervals() -> None:
    time = Chart(x="users", y="tpot_s", series="accelerator", intervals=True)
    rate = Chart(x="users", y="tok_per_s", series="accelerator", intervals=True)
    both = load_report(time, rate).svg()
    assert both.count("hw-range") == 3
    assert load_report(time).svg().count("hw-range") == 3
    assert load_report(rate).svg().count("hw-range") == 0
    assert "TPOT (ms)" in both
    assert "users" in both


def test_a_plain_axis_begins_at_zero() -> None:
    chart = Chart(x="users", y="tok_per_s", series="accelerator", log=False)
    figure = drawing_of(load_report(chart))
    assert not figure.log
    assert [axis.low for axis in figure.axes] == [0.0, 0.0]


@dataclass(frozen=True, slots=True)
class PartRow:
    part: str = column("part", "of the mean time")
    value_s: Estimate | None = column("time", "of a request", unit="ms", scale=1e3)
    is_total: bool = column("total", "whether it is the whole", detail=True)


def test_where_the_time_of_an_endpoint_goes_is_drawn_as_bars_that_add_up() -> None:
    def part(name: str, value: float | None, is_total: bool = False) -> PartRow:
        estimate = None if value is None else Estimate(value, 0.9 * value, 1.1 * value)
        return PartRow(part=name, value_s=estimate, is_total=is_total)

    rows = (
        part("raw", 1.0, is_total=True), part("idealized", 0.5, is_total=True),
        part("model and software", 0.7), part("contention <b>", 0.2), part("network", None),
        part("queue", 0.1),
    )  # fmt: skip
    chart = Bars(names=("part",), value="value_s", total="is_total", legend="parts")
    report = Report(kind="endpoint", title="t", question={}, rows=rows, charts=(chart,))
    bars = bars_of(report.grid, chart)
    parts = [bar for bar in bars if bar.is_part]
    assert [bar.name for bar in parts] == ["model and software", "contention <b>", "queue"]
    for before, after in pairwise(parts):
        assert after.start == pytest.approx(before.start + before.value)
    assert bars[-1].start + bars[-1].value == pytest.approx(bars[0].value)
    html = report.html()
    assert "<svg" in html
    assert "contention &lt;b&gt;" in html
    assert 'style="' not in html  # the policy of the page forbids it
    assert report.png()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.04, 25, [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20]),
        (30, 490, [30, 50, 70, 100, 150, 200, 300]),
        (0.001, 9000, [0.001, 0.01, 0.1, 1, 10, 100, 1000]),
        (41, 44, [41, 41.5, 42, 42.5, 43, 43.5, 44]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == expected


def test_ticks_stay_inside_and_are_neither_few_nor_many() -> None:
    rng = np.random.default_rng(0)
    for low, factor in zip(
        10 ** rng.uniform(-6, 6, 500), 10 ** rng.uniform(0.02, 6, 500), strict=True
    ):
        for log in (True, False):
            axis = Axis(low, low * factor, 0.0, 100.0, log=log)
            assert all(low * (1 - 1e-9) <= tick <= axis.high * (1 + 1e-9) for tick in axis.ticks)
            assert sorted(set(axis.ticks)) == axis.ticks
            assert 3 <= len(axis.ticks) <= 13


def test_an_axis_keeps_the_order_of_its_values() -> None:
    values = [0.3, 1.0, 20.0, 21.0]
    for log in (True, False):
        axis = Axis.around(values, start=10, end=210, before=0.1, after=0.1, log=log)
        places = [axis.at(value) for value in values]
        assert places == sorted(places)
        assert 10 <= places[0] < places[-1] <= 210


def test_printable_text_stays_on_its_line() -> None:
    assert printable("a\x00b\n\tc \ud800 d\u202ee") == "a b c d e"


def test_bars_without_a_total_begin_at_zero_and_the_first_mark_stands_out() -> None:
    rows = tuple(
        PartRow(part=f"fleet {k}", value_s=Estimate(k, k, k), is_total=False) for k in (1, 2)
    )
    chart = Bars(names=("part",), value="value_s", details=("part",))
    made = Report(kind="plan", title="t", question={}, rows=rows, marks={"buy": 1}, charts=(chart,))
    bars = bars_of(made.grid, chart)
    assert [bar.start for bar in bars] == [0.0, 0.0]
    assert [bar.role for bar in bars] == ["front", "s0"]
    assert bars[1].words.endswith("fleet 2")


def test_a_long_title_is_cut_where_its_lines_end() -> None:
    lines = wrapped("word " * 100, 200.0, 16.0, max_lines=3, bold=True)
    assert len(lines) == 3
    assert lines[-1].endswith("…")
    assert all(text_width(line, 16.0, bold=True) <= 200 for line in lines)
    assert wrapped("", 200.0, 16.0, max_lines=3) == []
    assert wrapped("x" * 200, 20.0, 16.0, max_lines=1) == ["x" * 200]
