"""A limit in requests and dollars that is never exceeded, kills included.

Before a request is sent, the most it can cost is set aside; when it has ended, that becomes what it
did cost. What is not known to have ended counts in full.
"""

from __future__ import annotations

from dataclasses import dataclass

from headway.errors import InputError


@dataclass(frozen=True, slots=True)
class TokenPrice:
    """Dollars per million tokens of an API; cached prompt tokens may be cheaper."""

    prompt_usd_per_mtok: float
    output_usd_per_mtok: float
    cached_usd_per_mtok: float | None = None

    def __post_init__(self) -> None:
        prices = (self.prompt_usd_per_mtok, self.output_usd_per_mtok, self.cached_usd_per_mtok or 0)
        if not all(0 <= price <= 1e6 for price in prices):
            raise InputError(f"prices per million tokens must be 0 to 10^6 dollars, not {prices}")

    def usd(self, prompt_tokens: float, output_tokens: float, cached_tokens: float = 0) -> float:
        """Dollars of one request; hidden reasoning tokens are output tokens."""
        cached = (
            self.prompt_usd_per_mtok
            if self.cached_usd_per_mtok is None
            else (self.cached_usd_per_mtok)
        )
        fresh = max(prompt_tokens - cached_tokens, 0.0)
        prompt_usd = fresh * self.prompt_usd_per_mtok + cached_tokens * cached
        return (prompt_usd + output_tokens * self.output_usd_per_mtok) / 1e6

    @property
    def dearest_prompt_usd_per_mtok(self) -> float:
        """What a prompt token costs at most."""
        return max(self.prompt_usd_per_mtok, self.cached_usd_per_mtok or 0.0)


FREE = TokenPrice(0.0, 0.0)


@dataclass(slots=True)
class Budget:
    """What may be spent and what is spent; ``max_usd`` ``None`` is no limit in dollars."""

    max_requests: int
    max_usd: float | None = None
    price: TokenPrice = FREE
    spent_requests: int = 0
    spent_usd: float = 0.0

    def __post_init__(self) -> None:
        if self.max_requests < 1 or (self.max_usd is not None and self.max_usd < 0):
            raise InputError("a budget is 1 request or more, and no negative number of dollars")

    def most_usd(self, prompt_tokens: float, output_tokens: float) -> float:
        """The most that a request with at most so many tokens can cost."""
        dearest = self.price.dearest_prompt_usd_per_mtok
        output_usd = output_tokens * self.price.output_usd_per_mtok
        return (prompt_tokens * dearest + output_usd) / 1e6

    def allows(self, most_usd: float) -> bool:
        """Whether one more request that costs at most ``most_usd`` stays within both limits."""
        if self.spent_requests + 1 > self.max_requests:
            return False
        return self.max_usd is None or self.spent_usd + most_usd <= self.max_usd

    def set_aside(self, most_usd: float) -> None:
        """Count a request that is about to be sent at the most it can cost."""
        if not self.allows(most_usd):
            raise InputError("the budget does not allow another request")
        self.spent_requests += 1
        self.spent_usd += most_usd

    def settle(self, most_usd: float, usd: float | None) -> None:
        """Replace what was set aside by what was charged; an unknown charge stays at the most."""
        if usd is not None:
            self.spent_usd += usd - most_usd
