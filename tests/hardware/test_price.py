"""Prices: what the book holds, what answers take of it, and files of one's own."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from headway.errors import InputError, UnknownNameError
from headway.hardware.catalogue import find_cluster, find_clusters, names
from headway.hardware.price import (
    KINDS,
    ON_DEMAND,
    Price,
    PriceBook,
    find_prices,
    read_prices,
    shipped_prices,
    unlike_kinds,
)
from headway.hardware.reports import prices_report

OWN = """\
[[quotes]]
provider = "us"
kind = "owned"
date = 2026-11-01
usd_per_hour = { h100 = 1.1, mychip = 0.4 }

[[quotes]]
kind = "reserved"
term_months = 12
usd_per_hour = { H100 = 1.9 }
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "prices.toml"
    path.write_text(OWN, encoding="utf-8")
    return path


def test_every_quote_that_ships_has_a_page_a_day_and_an_accelerator() -> None:
    book = shipped_prices()
    assert set(book.quotes) <= set(names())
    for prices in book.quotes.values():
        for price in prices:
            assert price.citation is not None
            assert price.citation.url.startswith("https://")
            assert date(2026, 1, 1) <= date.fromisoformat(price.citation.date) <= date.today()
            assert price.kind in KINDS
            assert price.provider


def test_spot_and_reserved_cost_less_than_the_same_provider_on_demand() -> None:
    for prices in shipped_prices().quotes.values():
        by_terms = {(price.provider, price.kind): price for price in reversed(prices)}
        for (provider, kind), price in by_terms.items():
            other = by_terms.get((provider, ON_DEMAND))
            if kind == "spot" and other is not None:
                assert price.usd_per_accelerator_hour < other.usd_per_accelerator_hour


def test_answers_take_the_first_quote_of_the_kind_and_else_the_first() -> None:
    assert find_cluster("h100").usd_per_accelerator_hour == 2.29
    spot = find_prices("spot")
    h100 = find_cluster("h100", prices=spot)
    assert h100.price is not None
    assert (h100.price.kind, h100.price.usd_per_accelerator_hour) == ("spot", 0.8015)
    mi355x = find_cluster("mi355x", prices=spot)
    assert mi355x.price is not None
    assert (mi355x.price.kind, mi355x.price.term_months) == ("reserved", 36)
    assert find_cluster("h20", prices=spot).price is None


def test_a_kind_may_be_given_as_a_share_of_the_price_on_demand() -> None:
    own, shipped = find_prices("spot=30%"), find_prices(None)
    h100, on_demand = own.usual("h100"), shipped.usual("h100")

    assert h100 is not None
    assert on_demand is not None
    assert h100.usd_per_accelerator_hour == 0.3 * on_demand.usd_per_accelerator_hour
    assert h100.terms.startswith("spot, given as 30% of on demand, ")
    assert own.usual("mi355x") == shipped.usual("mi355x")  # nobody sells it on demand
    with pytest.raises(InputError, match="share of spot"):
        find_prices("spot=3x")


def test_a_file_replaces_the_quotes_of_what_it_names_and_nothing_else(own: Path) -> None:
    book = find_prices(str(own))
    assert find_cluster("h100", prices=book).price == read_prices(own).prices_of("h100")[0]
    assert [price.kind for price in book.prices_of("h100")] == ["owned", "reserved"]
    assert find_cluster("h200", prices=book).price == find_cluster("h200").price
    assert find_cluster("h100", 7.5, book).price == Price(7.5)


def test_a_price_in_words_says_how_it_is_sold_and_when_it_was_read() -> None:
    price = find_cluster("h100").price
    assert str(price) == "$2.29 per accelerator-hour, on demand, Verda, 2026-11-20"
    assert Price(2.0).terms == "given"
    assert Price(1.0, kind="reserved", term_months=36).terms == "reserved for 36 months"


def test_a_comparison_of_unlike_kinds_is_marked() -> None:
    h100, mi355x = find_cluster("h100").price, find_cluster("mi355x").price
    assert unlike_kinds({"h100": h100, "h20": None}) is None
    sentence = unlike_kinds({"h100": h100, "mi355x": mi355x})
    assert sentence == (
        "prices of unlike kinds are compared: h100 on demand; mi355x reserved for 36 months"
    )


def test_the_list_compares_a_file_with_what_ships(own: Path) -> None:
    book = find_prices(str(own))
    rows = prices_report(find_clusters("h100,h200,h20", prices=book), book).rows
    by_name = {(row.accelerator, row.kind): row for row in rows}
    assert not any(row.accelerator == "h20" for row in rows)
    assert by_name["h100", "owned"].over_shipped == pytest.approx(1.1 / 2.29)
    assert by_name["h100", "owned"].is_usual
    assert not by_name["h100", "reserved"].is_usual
    assert by_name["h200", "on demand"].over_shipped is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no price"),
        ("[[quotes]]\nkind = 'spot'", "lacks usd_per_hour"),
        ("[[quotes]]\nkind = 'rent'\nusd_per_hour = { h100 = 1 }", "one of on demand, reserved"),
        ("[[quotes]]\nkind = 'spot'\nusd_per_hour = { h100 = 'x' }", "must be a number"),
        ("[[quotes]]\nkind = 'spot'\nusd_per_hour = { h100 = -1.0 }", "price in"),
        ("[[quotes]]\nkind = 'spot'\nusd_per_hour = 3", "must be a table"),
        ("quotes = 3", "has no price"),
        ("[[quotes", "not TOML"),
    ],
)
def test_a_file_that_is_none_is_refused_in_a_sentence(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_prices(path)


def test_unknown_keys_and_missing_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("[[quotes]]\nkin = 'spot'\nusd_per_hour = {}", encoding="utf-8")
    with pytest.raises(UnknownNameError, match="did you mean kind"):
        read_prices(path)
    with pytest.raises(InputError, match=r"price file, or one of on demand"):
        find_prices("on-deman")


def test_an_empty_book_knows_no_price() -> None:
    assert find_cluster("h100", prices=PriceBook({})).price is None
