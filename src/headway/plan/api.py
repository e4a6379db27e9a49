"""What an API would cost for the same requests, by the price lists of the package genai-prices.

The package holds dated price lists and works offline. An API is paid by the token, a fleet by the
hour: below the share of the load at which both cost the same, the API is cheaper.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from headway.errors import UnknownNameError, need
from headway.model.catalogue import find_entry
from headway.report.column import column
from headway.units import MONTH_H

MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class ApiOffer:
    """One API that serves the model, at the prices of today's list."""

    provider: str = column("provider", "who serves it")
    name: str = column("model", "as the provider calls it")
    usd_per_mtok_input: float = column("$/Mtok in", "input tokens")
    usd_per_mtok_output: float = column("$/Mtok out", "output tokens")
    usd_per_month: float = column("$/month", "for all the requests of the demand")


def api_offers(
    model: str, requests_per_s: float, prompt_tokens: float, output_tokens: float
) -> list[ApiOffer]:
    """Return the APIs that serve ``model``, cheapest for this demand first.

    Cached input is billed as other input, and what is free of charge is left out.

    Raises:
        MissingExtraError: the package with the price lists is not installed.

    """
    need("genai_prices", "the price lists of APIs", "api")
    package: Any = import_module("genai_prices")
    providers = import_module("genai_prices.data").providers
    requests = requests_per_s * 3600 * MONTH_H

    offers = []
    for provider in providers:
        for listed in provider.models:
            if not _is_model(listed.id, model):
                continue
            usd_in, usd_out = (
                _usd_per_mtok(package, provider.id, listed.id, **{f"{kind}_tokens": MILLION})
                for kind in ("input", "output")
            )
            if usd_in is None or usd_out is None or usd_in + usd_out <= 0:
                continue
            usd = requests * (prompt_tokens * usd_in + output_tokens * usd_out) / MILLION
            offers.append(ApiOffer(provider.id, listed.id, usd_in, usd_out, usd))
    return sorted(offers, key=lambda offer: offer.usd_per_month)


def _usd_per_mtok(package: Any, provider: str, name: str, **usage: int) -> float | None:
    try:
        price = package.calc_price(package.Usage(**usage), model_ref=name, provider_id=provider)
    except (LookupError, ValueError):  # a model that the list names without a price
        return None
    return float(price.total_price)


def _is_model(listed: str, model: str) -> bool:
    """Return whether a listed name is that of ``model``, tuned variants included."""
    name = listed.lower()
    if not all(part in name for part in model.split("-")):
        return False
    try:
        return find_entry(name.removesuffix("-turbo").removesuffix("-versatile")).name == model
    except UnknownNameError:
        return False
