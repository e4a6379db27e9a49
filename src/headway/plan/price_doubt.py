"""At which prices another fleet would be bought: the doubt in prices, in closed form.

The replicas that a fleet needs do not hang on prices, so two fleets on different accelerators cost
the same where the price of one is the other's total over its accelerators.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from headway.plan.row import PlanRow


def with_prices_to_win(rows: Sequence[PlanRow]) -> list[PlanRow]:
    """Return ``rows``, the best first, each with the price below which it is the cheapest.

    That of the best is set by the next accelerator. Rows on the best one's accelerator have none:
    their prices move together.
    """
    best = rows[0]
    others = [row for row in rows if row.accelerator != best.accelerator]
    paid = [row.usd_per_hour for row in others if row.usd_per_hour is not None]

    priced = []
    for row in rows:
        limit_usd = best.usd_per_hour if row in others else None
        if row is best:
            limit_usd = min(paid, default=None)
        price = None if limit_usd is None else limit_usd / row.num_accelerators
        priced.append(replace(row, usd_per_accelerator_hour_to_win=price))
    return priced


def price_notes(rows: Sequence[PlanRow]) -> list[str]:
    """Say up to which price the best stays the best, and from which on the next one wins."""
    best = rows[0]
    others = [
        row
        for row in rows[1:]
        if row.usd_per_hour is not None and row.usd_per_accelerator_hour_to_win is not None
    ]
    if best.usd_per_accelerator_hour_to_win is None or not others:
        return []
    near = max(others, key=_price_ratio)
    return [
        f"prices: {best.accelerator} is bought up to ${best.usd_per_accelerator_hour_to_win:.2f} "
        f"an hour, not only at ${_price(best):.2f}; {near.accelerator} from below "
        f"${near.usd_per_accelerator_hour_to_win:.2f} instead of ${_price(near):.2f}"
    ]


def _price(row: PlanRow) -> float:
    return (row.usd_per_hour or 0.0) / row.num_accelerators


def _price_ratio(row: PlanRow) -> float:
    return (row.usd_per_accelerator_hour_to_win or 0.0) / _price(row)
