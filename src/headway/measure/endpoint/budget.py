"""A limit in requests and dollars that is never exceeded, kills included.

Before a request is sent, the most it can cost is reserved; when it has ended, that becomes what it
did cost. What is not known to have ended counts in full.
"""

from __future__ import annotations

from dataclasses import dataclass

from headway.errors import InputError
from headway.serving.token_prices import ApiPrices

FREE = ApiPrices(0.0, 0.0)


@dataclass(slots=True)
class Budget:
    """What may be spent and what is spent.

    Attributes:
        max_requests: retries included.
        max_usd: ``None`` for no limit in dollars.
        price: ``None`` where it is not known; then only requests are limited.
        spent_requests, spent_usd: so far, reserved ones included.

    """

    max_requests: int
    max_usd: float | None = None
    price: ApiPrices | None = None
    spent_requests: int = 0
    spent_usd: float = 0.0

    def __post_init__(self) -> None:
        if self.max_requests < 1 or (self.max_usd is not None and self.max_usd < 0):
            raise InputError("a budget is 1 request or more, and no negative number of dollars")
        if self.max_usd is not None and self.price is None:
            raise InputError("a budget in dollars needs the price of prompt and output tokens")

    @property
    def token_price(self) -> ApiPrices:
        """The price, nothing where it is not known."""
        return self.price or FREE

    def allows(self, request_usd: float) -> bool:
        """Return whether a request of at most ``request_usd`` stays within both limits."""
        if self.spent_requests + 1 > self.max_requests:
            return False
        return self.max_usd is None or self.spent_usd + request_usd <= self.max_usd

    def reserve(self, request_usd: float) -> None:
        """Count a request that is about to be sent at the most it can cost."""
        if not self.allows(request_usd):
            raise InputError("the budget does not allow another request")
        self.spent_requests += 1
        self.spent_usd += request_usd

    def settle(self, reserved_usd: float, charged_usd: float | None) -> None:
        """Replace what was reserved by what was charged; an unknown charge stays as reserved."""
        if charged_usd is not None:
            self.spent_usd += charged_usd - reserved_usd
