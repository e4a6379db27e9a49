"""What an hour of an accelerator costs: quotes by kind, provider and date, and a book of them.

The book that ships lies in ``prices.toml``; a user's own file has the same form.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType

from headway.errors import InputError
from headway.hardware.accelerator import Citation
from headway.units import check_positive, parse_fraction
from headway.user_file import as_table, check_keys, excerpt, parse_toml, read_text, typed

ON_DEMAND, RESERVED, SPOT, OWNED, GIVEN = "on demand", "reserved", "spot", "owned", "given"
KINDS = (ON_DEMAND, RESERVED, SPOT, OWNED)
MAX_FILE_BYTES = 1_000_000
_KEYS = ("provider", "kind", "term_months", "region", "url", "date", "note", "usd_per_hour")
_REQUIRED = ("kind", "usd_per_hour")


@dataclass(frozen=True, slots=True)
class Price:
    """One quote for one accelerator.

    Attributes:
        usd_per_accelerator_hour: host and network included, as providers rent it.
        kind: "on demand", "reserved" (for ``term_months``), "spot", "owned" (depreciation, power
            and building), or "given" on the command line.
        provider, region: who asks for it, and where.
        term_months: of a reservation, 0 for none.
        citation: where it was read and when; ``None`` for one that is given.

    """

    usd_per_accelerator_hour: float
    kind: str = GIVEN
    provider: str = ""
    region: str = ""
    term_months: int = 0
    citation: Citation | None = None

    def __post_init__(self) -> None:
        check_positive(
            self.usd_per_accelerator_hour, "price in $ per accelerator-hour", maximum=1e6
        )
        if self.kind not in (*KINDS, GIVEN):
            raise InputError(
                f"the kind of a price is one of {', '.join(KINDS)}, not {excerpt(self.kind)}"
            )
        if not 0 <= self.term_months <= 1200:
            raise InputError(f"a term lies between 0 and 1200 months, not {self.term_months}")

    @property
    def terms(self) -> str:
        """How it is sold, by whom, and when that was read: ``on demand, Verda, 2026-11-20``."""
        kind = f"{self.kind} for {self.term_months} months" if self.term_months else self.kind
        day = self.citation.date if self.citation else ""
        return ", ".join(part for part in (kind, self.provider, self.region, day) if part)

    def __str__(self) -> str:
        return f"${self.usd_per_accelerator_hour:g} per accelerator-hour, {self.terms}"


@dataclass(frozen=True, slots=True)
class PriceBook:
    """Quotes by accelerator, in lower case; the first quote of a kind is the usual one.

    ``kind`` is the kind that is taken where an accelerator has it, and else the first quote is.
    """

    quotes: Mapping[str, tuple[Price, ...]]
    kind: str = ON_DEMAND

    def __post_init__(self) -> None:
        object.__setattr__(self, "quotes", MappingProxyType(dict(self.quotes)))

    def prices_of(self, accelerator: str) -> tuple[Price, ...]:
        """Return all quotes for ``accelerator``, none where nobody quotes it."""
        return self.quotes.get(accelerator.lower(), ())

    def usual(self, accelerator: str) -> Price | None:
        """Return the price that answers take, ``None`` where nobody quotes one."""
        prices = self.prices_of(accelerator)
        same_kind = [price for price in prices if price.kind == self.kind]
        return next(iter([*same_kind, *prices]), None)

    def at_share(self, kind: str, share: float) -> PriceBook:
        """Return this book with a price of ``kind`` at ``share`` of each price on demand."""
        quotes = {
            name: (_at_share(price, kind, share), *self.prices_of(name))
            for name in self.quotes
            for price in self.prices_of(name)[::-1]
            if price.kind == ON_DEMAND
        }
        return replace(self.with_quotes(PriceBook(quotes)), kind=kind)

    def with_quotes(self, other: PriceBook) -> PriceBook:
        """Return this book with the quotes of ``other`` for the accelerators that it names."""
        return PriceBook({**self.quotes, **other.quotes}, self.kind)


def _at_share(price: Price, kind: str, share: float) -> Price:
    return replace(
        price,
        usd_per_accelerator_hour=share * price.usd_per_accelerator_hour,
        kind=kind,
        provider=f"given as {share:.0%} of {price.kind}, {price.provider}".rstrip(", "),
    )


@cache
def shipped_prices(kind: str = ON_DEMAND) -> PriceBook:
    """Return the book that comes with Headway, of which ``kind`` is the usual price."""
    text = Path(__file__).with_name("prices.toml").read_text(encoding="utf-8")
    return PriceBook(_book_of(tomllib.loads(text), "prices.toml").quotes, kind)


def find_prices(text: str | None) -> PriceBook:
    """Return the book that ``text`` names.

    Args:
        text: a kind ("spot": that of the shipped book, where an accelerator has it), a kind at a
            share of the price on demand ("spot=30%"), or the path of a file whose quotes replace
            those of the shipped book; ``None`` for the shipped book.

    Raises:
        InputError: there is no such file, it is no price file, or the share is no fraction.

    """
    if text is None:
        return shipped_prices()
    kind_text, equals, share_text = text.partition("=")
    kind = kind_text.strip().lower().replace("-", " ")
    if equals and kind in KINDS:
        share = parse_fraction(share_text, f"the share of {kind} in the price on demand")
        return shipped_prices().at_share(kind, share)
    return (
        shipped_prices(kind) if kind in KINDS else shipped_prices().with_quotes(read_prices(text))
    )


def read_prices(path: str | Path) -> PriceBook:
    """Return the quotes of the file at ``path``; raise `InputError` where it is no price file."""
    where = Path(path).name
    text = read_text(
        path, f"a price file, or one of {', '.join(KINDS)}, or spot=30%", MAX_FILE_BYTES
    )
    return _book_of(parse_toml(text, where), where)


def _book_of(tree: Mapping[str, object], where: str) -> PriceBook:
    check_keys(tree, ("quotes",), f"key in {where}")
    tables = tree.get("quotes")
    if not isinstance(tables, list) or not tables:
        raise InputError(f"{where} has no price; give them in tables, each under a line [[quotes]]")

    quotes: dict[str, list[Price]] = {}
    for number, table in enumerate(tables, 1):
        for name, price in _prices(as_table(table, f"quotes {number} of {where}"), where).items():
            quotes.setdefault(name.lower(), []).append(price)
    return PriceBook({name: tuple(prices) for name, prices in quotes.items()})


def _prices(table: Mapping[str, object], where: str) -> dict[str, Price]:
    """Return the prices of one table, by accelerator."""
    check_keys(table, _KEYS, f"key of a quote in {where}")
    missing = [key for key in _REQUIRED if key not in table]
    if missing:
        raise InputError(f"a quote in {where} lacks {', '.join(missing)}")

    def words(key: str) -> str:
        value = table.get(key, "")
        return value if isinstance(value, str) else str(value)  # a date may stand without quotes

    citation = None
    if words("date"):
        citation = Citation(words("url") or where, words("date"), words("note"))
    prices = as_table(table["usd_per_hour"], f"usd_per_hour in {where}")
    return {
        name: Price(
            usd_per_accelerator_hour=typed(usd, float, f"price of {name} in {where}"),
            kind=words("kind"),
            provider=words("provider"),
            region=words("region"),
            term_months=typed(table.get("term_months", 0), int, f"term_months in {where}"),
            citation=citation,
        )
        for name, usd in prices.items()
    }


def unlike_kinds(prices: Mapping[str, Price | None]) -> str | None:
    """Return the sentence that marks a comparison of prices of unlike kinds, if it is one."""
    by_kind: dict[str, list[str]] = {}
    for name, price in prices.items():
        if price is not None:
            by_kind.setdefault(price.terms.split(",")[0], []).append(name)
    if len(by_kind) < 2:
        return None
    parts: Sequence[str] = [f"{', '.join(names)} {kind}" for kind, names in by_kind.items()]
    return f"prices of unlike kinds are compared: {'; '.join(parts)}"
