"""Prices of clouds, read through the package gpuhunt, as a book of quotes and a file of one.

The package reads catalogues that its makers publish for each provider. What an offer rents is its
name in our catalogue; one whose form is not certain (an H100 may be SXM or PCIe) is left out.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from typing import Any, Protocol

from headway.errors import InputError, MissingError, need
from headway.hardware.accelerator import Citation
from headway.hardware.catalogue import entries, find_cluster, instances
from headway.hardware.price import ON_DEMAND, SPOT, Price, PriceBook
from headway.units import GIB

SOURCE = "https://github.com/dstackai/gpuhunt"
SAME_MEMORY = 0.15  # between cards of one name, as providers and data sheets round it
FORMS = {"pcie": "-pcie", "nvl": "-nvl", "sxm": "", "hbm3": "", "hgx": ""}
IN_FORMS = frozenset(("h100", "a100", "v100", "p100"))  # sold as SXM and as PCIe under one name
NODE = 8  # of them in one machine are connected by NVLink


class CloudOffer(Protocol):
    """What a cloud rents: a ``CatalogItem`` of gpuhunt; ``price`` is dollars an hour in all."""

    provider: str
    instance_name: str
    location: str
    price: float
    gpu_count: int
    gpu_name: str | None
    gpu_memory: float | None
    spot: bool


def cloud_offers() -> list[CloudOffer]:
    """Return what providers offer today.

    Raises:
        MissingExtraError: gpuhunt is not installed.
        MissingError: no catalogue can be read.

    """
    need("gpuhunt", "prices of clouds", "clouds")
    package: Any = import_module("gpuhunt")
    logging.getLogger("gpuhunt").addHandler(logging.NullHandler())  # it logs what it raises

    # A folder of catalogues is read as it is; else the latest ones are fetched.
    folder = os.environ.get("GPUHUNT_CATALOG_DIR")
    catalogue = package.Catalog(auto_reload=False)
    try:
        if folder is None:
            catalogue.load()
        offers: list[CloudOffer] = catalogue.query(min_gpu_count=1)
    except (package.GPUHuntError, OSError) as error:
        raise MissingError(
            f"the catalogues of gpuhunt cannot be read ({error}); without a network, answers take "
            "the dated prices that ship (headway prices)"
        ) from error
    return offers


def book_of(offers: Iterable[CloudOffer], day: str) -> PriceBook:
    """Return the lowest price of every accelerator, provider and kind, cheapest provider first.

    Args:
        offers: of clouds; those of accelerators that are not in the catalogue are left out.
        day: on which they were read, such as ``2026-11-29``.

    Raises:
        InputError: none of them is of an accelerator in the catalogue.

    """
    lowest: dict[tuple[str, str, str], tuple[float, CloudOffer]] = {}
    counts: Counter[tuple[str, str, str]] = Counter()
    for offer in offers:
        name = accelerator_of(offer)
        if name is None or offer.price <= 0:
            continue
        key = name, offer.provider, SPOT if offer.spot else ON_DEMAND
        counts[key] += 1
        usd = offer.price / offer.gpu_count
        lowest[key] = min(lowest.get(key, (usd, offer)), (usd, offer), key=lambda pair: pair[0])
    if not lowest:
        raise InputError("none of the clouds' offers is of an accelerator in the catalogue")

    quotes: dict[str, list[Price]] = {}
    for key, (usd, offer) in sorted(lowest.items(), key=lambda item: item[1][0]):
        name, provider, kind = key
        note = f"{offer.instance_name}, 1/{offer.gpu_count}; lowest of {counts[key]} offers"
        price = Price(
            usd_per_accelerator_hour=round(usd, 4),
            kind=kind,
            provider=provider,
            region=offer.location,
            citation=Citation(SOURCE, day, note),
        )
        quotes.setdefault(name, []).append(price)
    return PriceBook({name: tuple(prices) for name, prices in sorted(quotes.items())})


def accelerator_of(offer: CloudOffer) -> str | None:
    """Return the name in the catalogue of what ``offer`` rents; ``None`` where it is not certain.

    TPUs are left out: providers count them by cores or by chips.
    """
    instance = instances().get(offer.instance_name.lower())
    if instance is not None:
        return instance.contents.split("x", 1)[-1]
    if offer.gpu_name is None or offer.gpu_count < 1 or offer.gpu_memory is None:
        return None

    # The form, where one name has several: by the instance's name, or because they fill a node.
    plain, form = offer.gpu_name.lower(), ""
    if plain in IN_FORMS:
        words = re.findall("|".join(FORMS), offer.instance_name.lower())
        if not words and offer.gpu_count != NODE:
            return None
        form = FORMS[words[0]] if words else ""

    # Of that name with that memory: ``a100`` or ``a100-40g``.
    for name in (f"{plain}{form}", f"{plain}{form}{offer.gpu_memory:.0f}g"):
        found = _plain_names().get(name.replace("-", ""))
        if found is not None:
            gib = find_cluster(found).accelerator.memory_bytes / GIB
            if abs(offer.gpu_memory / gib - 1) < SAME_MEMORY:
                return found
    return None


@cache
def _plain_names() -> Mapping[str, str]:
    """Return the catalogue's name by every name and alias without dashes."""
    return {
        alias.replace("-", ""): entry.name
        for entry in entries()
        for alias in (*entry.aliases, entry.name)
    }


def price_file(book: PriceBook) -> str:
    """Return ``book`` as the text of a file for ``--prices``."""
    tables = []
    for name, prices in book.quotes.items():
        for price in prices:
            words = {"provider": price.provider, "kind": price.kind, "region": price.region}
            if price.citation is not None:
                citation = price.citation
                words |= {"url": citation.url, "date": citation.date, "note": citation.note}
            lines = [f"{key} = {json.dumps(word)}" for key, word in words.items() if word]
            if price.term_months:
                lines.append(f"term_months = {price.term_months}")
            usd = f"usd_per_hour = {{ {json.dumps(name)} = {price.usd_per_accelerator_hour!r} }}"
            tables.append("\n".join(("[[quotes]]", *lines, usd)))
    return "\n\n".join(tables) + "\n"
