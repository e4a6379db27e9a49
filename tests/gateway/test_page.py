"""The live page in a real browser, where Chromium and Playwright are installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from tests.gateway.conftest import Live, post
from tests.gateway.test_order import FromPrompt, chat

from headway.gateway.config import ServiceClass
from headway.workload.request import Slo

CHROMIUM = shutil.which("chromium")
playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs the browser chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    arguments = (
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--no-first-run",
    )
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    """Whatever a page writes to its console, or asks of anyone else."""
    found: list[str] = []
    yield found
    assert found == []


def opened(browser: Any, port: int, complaints: list[str]) -> Any:
    tab = browser.new_page(viewport={"width": 1100, "height": 900})
    address = f"http://127.0.0.1:{port}/"
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    known = (address, address + "state", "data:,")
    tab.on("request", lambda asked: None if asked.url in known else complaints.append(asked.url))
    tab.goto(address)
    return tab


def rows(tab: Any, table: str) -> list[list[str]]:
    found = tab.locator(f"#{table} tbody tr").all()
    return [row.locator("td").all_inner_texts() for row in found]


def test_it_shows_what_the_gateway_does(live: Live, browser: Any, complaints: list[str]) -> None:
    port = live.gateway(
        live.engine(),
        predictor=FromPrompt(),
        classes=(ServiceClass("interactive", Slo(ttft_s=0.5)),),
    )
    for tokens in (5, 20, 80, 300):  # predicted 40: its 90% quantile is 48
        post(port, {**chat("x 40"), "stream": True}, x_fake_tokens=str(tokens),
             x_headway_class="interactive" if tokens < 100 else "")  # fmt: skip
    live.entries(4)
    tab = opened(browser, port, complaints)
    tab.wait_for_selector("#latency tbody tr")
    assert tab.inner_text("#coverage") == "50%"
    assert tab.inner_text("#waiting") == "0"
    assert tab.inner_text("#policy") == "fcfs"
    assert not tab.locator("#moved").is_visible()
    ((address, pool, up, *_),) = rows(tab, "engines")
    (url,) = live.gateways[0].scheduler.fleet.engines
    assert (address, pool, up) == (url, "main", "yes")
    interactive, other = rows(tab, "latency")
    assert interactive[:2] == ["interactive", "3"]
    assert interactive[-1] == "67%"
    assert other[:2] == ["no objective", "1"]
    assert other[-1] == "0%"
    assert all(cell.endswith((" ms", " s")) for cell in interactive[2:6])
    assert tab.locator("#scatter circle").count() == 4
    tab.close()


def test_it_follows(live: Live, browser: Any, complaints: list[str]) -> None:
    port = live.gateway(live.engine(), endpoint={"max_inflight": 1})
    tab = opened(browser, port, complaints)
    playwright.expect(tab.locator("#running")).to_have_text("0")
    with live.busy(port):
        playwright.expect(tab.locator("#running")).to_have_text("1")
    playwright.expect(tab.locator("#running")).to_have_text("0")
    tab.close()


def test_it_says_when_the_gateway_has_gone(live: Live, browser: Any) -> None:
    complaints: list[str] = []  # the browser's own, of a connection refused
    port = live.gateway(live.engine())
    tab = opened(browser, port, complaints)
    tab.wait_for_selector("#engines tbody tr")
    live.run(live.gateways[0].stop(drain_s=0.0))
    playwright.expect(tab.locator("#lost")).not_to_be_empty()
    tab.close()


def test_a_name_cannot_become_markup(live: Live, browser: Any, complaints: list[str]) -> None:
    port = live.gateway(
        live.engine(), classes=(ServiceClass("<img src=x onerror=alert(1)>", Slo(ttft_s=1)),)
    )
    post(port, chat("x 1"), x_headway_class="<img src=x onerror=alert(1)>")
    live.entries(1)
    tab = opened(browser, port, complaints)
    tab.wait_for_selector("#latency tbody tr")
    assert rows(tab, "latency")[0][0] == "<img src=x onerror=alert(1)>"
    assert tab.locator("img").count() == 0
    tab.close()
