"""The page in a real browser, where Chromium and Playwright are installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from headway.report.column import column as declared
from headway.report.report import Report

CHROMIUM = shutil.which("chromium")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs the browser chromium")


@dataclass(frozen=True, slots=True)
class NamedRow:
    name: str = declared("name", "of a row")
    tpot_s: float | None = declared("TPOT", "time per token", unit="ms", scale=1e3)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """Open a report from a file; whatever the page complains about or asks for fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    complaints: list[str] = []

    def open_(report: Report[Any]) -> Any:
        path = tmp_path / "report.html"
        report.html(path)
        tab = context.new_page()
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on(
            "request",
            lambda asked: None if asked.url == path.as_uri() else complaints.append(asked.url),
        )
        tab.goto(path.as_uri())
        return tab

    yield open_
    context.close()
    assert complaints == []


def sweep(tab: Any) -> None:
    """Move over the chart until a point answers."""
    box = tab.locator(".drawing.log").bounding_box()
    for i in range(1, 400):
        x, y = box["width"] * (i * 0.618 % 1), box["height"] * (0.3 + 0.6 * (i * 0.387 % 1))
        tab.mouse.move(box["x"] + x, box["y"] + y)
        if tab.locator("#tip").is_visible():
            return
    raise AssertionError("no point of the chart answers the mouse")


def column(tab: Any, heading: str) -> list[str]:
    names = tab.locator("thead th").all_inner_texts()
    at = next(i for i, name in enumerate(names) if name.split(" ")[0] == heading)
    cells = tab.locator(f"tbody tr:not([hidden]) > :nth-child({at + 1})")
    return [
        str(text) for text in cells.evaluate_all("all => all.map(c => c.dataset.v ?? c.innerText)")
    ]


def test_the_mouse_shows_a_point_and_pins_it(show: Any, frontier: Report[Any]) -> None:
    tab = show(frontier)
    assert tab.locator("#detail h3").inner_text() == "mi300x"  # the preferred one, to begin with
    sweep(tab)
    said = tab.locator("#tip").inner_text()
    assert "tok/s/user" in said
    assert "$/Mtok" in said
    shown = tab.locator("#detail").inner_text()
    headings = ["row", "accelerator", "tok/s/user", "$/Mtok", "batch", "MFU", "binds", "step"]
    for name in (*headings, "arithmetic", "memory", "network", "latency", "model", "basis"):
        assert name in shown
    assert shown.count(" ms\n") >= 4
    tab.mouse.down()
    tab.mouse.up()
    assert tab.locator("tr.pinned").count() == 1
    tab.mouse.move(2, 2)
    assert not tab.locator("#tip").is_visible()
    assert tab.locator("#detail h3").inner_text() == said.split("\n")[0]
    tab.get_by_role("button", name="Unpin").click()
    assert tab.locator("tr.pinned").count() == 0


@pytest.mark.slow
def test_dragging_zooms_and_a_double_click_shows_all(show: Any, frontier: Report[Any]) -> None:
    tab = show(frontier)
    box = tab.locator(".drawing.log").bounding_box()
    tab.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.5)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.9, steps=4)
    tab.mouse.up()
    tab.locator("#reset:enabled").wait_for()
    assert tab.locator("tr.pinned").count() == 0
    tab.locator(".drawing.log").dblclick(position={"x": 5, "y": 5})
    tab.locator("#reset:disabled").wait_for()


@pytest.mark.slow
def test_the_keyboard_does_what_the_mouse_does(show: Any, frontier: Report[Any]) -> None:
    tab = show(frontier)
    tab.locator("#plot").focus()
    said = []
    for key in ("ArrowRight", "ArrowLeft", "ArrowUp", "ArrowUp"):
        tab.keyboard.press(key)
        said.append(tab.locator("#tip").inner_text())
    assert len(set(said)) == 4
    tab.keyboard.press("Enter")
    assert tab.locator("tr.pinned").count() == 1
    tab.keyboard.press("Escape")
    assert tab.locator("tr.pinned").count() == 0
    tab.locator('tr[data-row="3"] th button').press("Enter")
    assert tab.locator("tr.pinned").get_attribute("data-row") == "3"


def test_headings_sort_up_then_down(
    show: Any, frontier: Report[Any], estimate: Report[Any]
) -> None:
    tab = show(frontier)
    prices = sorted(row.usd_per_mtok.expected for row in frontier.rows)
    button = tab.get_by_role("button", name="$/Mtok")
    button.click()
    assert list(map(float, column(tab, "$/Mtok"))) == prices
    assert button.locator("..").get_attribute("aria-sort") == "ascending"
    button.click()
    assert list(map(float, column(tab, "$/Mtok"))) == prices[::-1]
    times = (("b", None), ("a", 0.1), ("c", 0.02), ("d", None))
    few = tuple(NamedRow(name, tpot_s) for name, tpot_s in times)
    tab = show(Report(kind="k", title="Unknown values stay last", question={}, rows=few))
    for order in ("cabd", "acbd"):
        tab.get_by_role("button", name="TPOT (ms)").click()
        assert "".join(column(tab, "name")) == order


def test_the_filter_finds_the_cheapest_that_is_fast_enough(
    show: Any, frontier: Report[Any]
) -> None:
    tab = show(frontier)
    tab.locator("#minimum").fill("330")
    fast = [row for row in frontier.rows if row.tok_per_s_per_user.expected >= 330]
    best = min(fast, key=lambda row: row.usd_per_mtok.expected)
    assert tab.locator("#answer strong").inner_text() == best.accelerator
    assert f"{best.usd_per_mtok.expected:.3f} $/Mtok" in tab.locator("#answer").inner_text()
    assert len(column(tab, "$/Mtok")) == len(fast)
    assert tab.locator("#row-count").inner_text() == f"{len(fast)} of {len(frontier.rows)} shown"
    tab.get_by_label(best.accelerator, exact=True).uncheck()
    assert tab.locator("#answer strong").inner_text() != best.accelerator
    assert best.accelerator not in column(tab, "accelerator")
    tab.locator("#minimum").fill("1e9")
    assert "None" in tab.locator("#answer").inner_text()
    tab.locator("#minimum").fill("")
    tab.get_by_label("logarithmic").uncheck()
    assert tab.locator(".drawing.linear").is_visible()
    assert not tab.locator(".drawing.log").is_visible()
    for box in tab.locator("#series input").all():
        box.set_checked(False)
    assert column(tab, "accelerator") == []


COLOUR = "(colour) => getComputedStyle(document.querySelector('.drawing .hw-s0')).color === colour"


@pytest.mark.slow
def test_the_chart_follows_the_colours_of_the_scheme(show: Any, frontier: Report[Any]) -> None:
    tab = show(frontier)
    for scheme, first_line in (("light", "rgb(0, 114, 178)"), ("dark", "rgb(75, 163, 221)")):
        tab.emulate_media(color_scheme=scheme)
        tab.wait_for_function(COLOUR, arg=first_line, timeout=5000)


@pytest.mark.slow
def test_a_saved_report_is_the_same_report(
    show: Any, frontier: Report[Any], tmp_path: Path
) -> None:
    tab = show(frontier)
    with tab.expect_download() as download:
        tab.get_by_role("button", name="Save as JSON").click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    assert path.name == "frontier.json"
    assert Report.from_json(path.read_text("utf-8")).to_json() == frontier.to_json()


def test_hostile_names_never_run(show: Any, frontier: Report[Any]) -> None:
    evil = "</script><img src=x onerror=window.hit=1><script>window.hit=1</script>"
    rows = tuple(replace(row, accelerator=evil) for row in frontier.rows)
    text = {evil: evil}
    tab = show(replace(frontier, title=evil, rows=rows, question=text, notes=(evil,), sources=text))
    sweep(tab)
    assert evil in tab.locator("#tip").inner_text()
    assert tab.evaluate("window.hit") is None
    assert tab.locator("img").count() == 0
