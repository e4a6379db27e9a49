import dataclasses
import io
import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pytest

from headway.errors import InputError
from headway.report.plot import png, ticks
from headway.report.report import Report

image = pytest.importorskip("matplotlib.image", reason="a PNG needs matplotlib")


def decoded(png_bytes: bytes) -> npt.NDArray[np.float64]:
    return np.asarray(image.imread(io.BytesIO(png_bytes), format="png"), dtype=np.float64)[..., :3]


@pytest.mark.parametrize("size", [(1200, 750), (901, 563), (317, 300)])
def test_a_picture_has_the_asked_size_and_something_on_it(
    frontier: Report, size: tuple[int, int]
) -> None:
    pixels = decoded(png(frontier, *size))
    assert pixels.shape[:2] == size[::-1]
    assert len(np.unique((pixels @ [1, 10, 100]).round())) > 20
    assert (pixels == 1).mean() > 0.5


def test_the_same_report_gives_the_same_bytes(frontier: Report) -> None:
    assert png(frontier, 600, 400) == png(frontier, 600, 400)


def test_every_line_and_the_preferred_point_show_in_their_colour(frontier: Report) -> None:
    from headway.report.plot import COLOURS

    pixels = (decoded(png(frontier)) * 255).round().astype(int)
    for colour in COLOURS[: len({row["accelerator"] for row in frontier.rows})]:
        rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert (pixels == rgb).all(axis=-1).sum() > 200, colour


def test_a_report_without_a_chart_becomes_a_sheet(estimate: Report, frontier: Report) -> None:
    many = dataclasses.replace(frontier, kind="another", rows=frontier.rows, marks={})
    none = dataclasses.replace(frontier, rows=(), marks={})
    unknown = dataclasses.replace(frontier, rows=({"accelerator": "h100"},), marks={"cheapest": 0})
    for report in (estimate, many, none, unknown):
        pixels = decoded(png(report, 600, 400))
        assert pixels.shape[:2] == (400, 600)
        assert pixels.std() > 0.01


def test_values_without_a_place_on_the_axes_are_left_out(frontier: Report) -> None:
    odd = (None, 0, -1.0, True, "12", 10**400, 1e-320)
    rows = tuple({**frontier.rows[0], "usd_per_mtok": value} for value in odd)
    known = dataclasses.replace(frontier, rows=frontier.rows[:5], marks={})
    more = dataclasses.replace(known, rows=(*known.rows, *rows))
    assert png(more, 400, 300) == png(known, 400, 300)


@pytest.mark.parametrize("num_rows", [1, 2, 5])
def test_few_rows_make_a_picture_too(frontier: Report, num_rows: int) -> None:
    few = dataclasses.replace(frontier, rows=frontier.rows[:num_rows], marks={"preferred": 0})
    assert decoded(png(few, 600, 400)).shape[:2] == (400, 600)


def test_names_are_drawn_as_they_are(frontier: Report) -> None:
    odd = r"$\frac{1}$ $x^2$ <b> {} %s" + "\x00\n\t\ud800"
    rows = tuple({**row, "accelerator": odd} for row in frontier.rows)
    report = dataclasses.replace(frontier, title=odd * 9, rows=rows, notes=(odd,) * 30)
    assert decoded(png(report, 600, 400)).shape[:2] == (400, 600)


@pytest.mark.parametrize("size", [(0, 750), (1200, -1), (1200, 10**9)])
def test_an_absurd_size_is_refused(frontier: Report, size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="pixels"):
        png(frontier, *size)


def test_the_settings_of_matplotlib_are_left_alone(frontier: Report) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    png(frontier, 300, 300)
    assert dict(matplotlib.rcParams) == before


def test_without_matplotlib_the_error_says_what_to_install(estimate: Report) -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from headway.report.plot import png; from headway.report.report import Report\n"
        "png(Report('estimate', 't', {}, ()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MissingExtraError" in done.stderr
    assert "headway[plot]" in done.stderr


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
        at = ticks(low, low * factor)
        assert all(low * (1 - 1e-9) <= tick <= low * factor * (1 + 1e-9) for tick in at)
        assert sorted(set(at)) == at
        assert 3 <= len(at) <= 13
