"""What tenants may use: requests and tokens a minute, dollars a day.

A request is reserved for with its prompt and an upper quantile of its answer, so that those under
way count before they end, and settled by what it was. An allowance refills evenly; it may be used
ahead by one request, which the next ones wait for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from headway.gateway.config import Tenant

REQUESTS, TOKENS, USD = "requests", "tokens", "usd"
PERIOD_S = {REQUESTS: 60.0, TOKENS: 60.0, USD: 86_400.0}
BURST_S = {REQUESTS: 10.0, TOKENS: 60.0, USD: 86_400.0}  # of the flow that can be saved up


@dataclass(slots=True)
class Allowance:
    """One thing that a tenant may use so much of.

    Attributes:
        kind: what.
        limit: of it in a period.
        level: what is left now; below 0 after a request that was larger.
        time_s: when that was so.
        leased: whether it is filled by `grant` alone, from what all gateways share.
        needed: the most that a request has asked for in vain since the last lease.

    """

    kind: str
    limit: float
    level: float = math.nan
    time_s: float = 0.0
    leased: bool = False
    needed: float = 0.0

    @property
    def rate(self) -> float:
        """What flows in per second."""
        return self.limit / PERIOD_S[self.kind]

    @property
    def size(self) -> float:
        """What can be saved up; at least one request's worth of requests."""
        floor = 1.0 if self.kind == REQUESTS else 0.0
        return max(floor, self.rate * BURST_S[self.kind])

    def refill(self, now_s: float) -> None:
        """Let in what has come since the last time."""
        if math.isnan(self.level):
            self.level = 0.0 if self.leased else self.size
        elif not self.leased:
            self.level = min(self.size, self.level + (now_s - self.time_s) * self.rate)
        self.time_s = now_s

    def wait_s(self, amount: float) -> float:
        """Return how long to wait for ``amount``; an amount above the size waits for the size."""
        missing = min(amount, self.size) - self.level
        if missing > 0:
            self.needed = max(self.needed, min(amount, self.size))
        return max(0.0, missing / self.rate)

    def grant(self, amount: float) -> None:
        """Add what was leased."""
        self.level = (0.0 if math.isnan(self.level) else self.level) + amount

    def wanted(self, seconds: float) -> float:
        """Return what to lease for ``seconds`` of the flow, or below 0 what to give back.

        What a request has asked for in vain is leased, too.
        """
        level = 0.0 if math.isnan(self.level) else self.level
        target = min(self.size, max(self.rate * seconds, self.needed))
        self.needed = 0.0
        return target - level if level < target else min(0.0, 2 * target - level)


@dataclass(slots=True)
class Reservation:
    """What a request was reserved for, by kind."""

    amounts: dict[str, float] = field(default_factory=dict)


class Budgets:
    """The allowances of all tenants that have any."""

    def __init__(self) -> None:
        """Nobody has any yet."""
        self.allowances: dict[tuple[str, str], Allowance] = {}

    def adopt(self, tenants: tuple[Tenant, ...], *, leased: bool) -> None:
        """Go by the limits of ``tenants``; levels stay."""
        before, self.allowances = self.allowances, {}
        for tenant in tenants:
            limits = {
                REQUESTS: tenant.requests_per_minute,
                TOKENS: tenant.tokens_per_minute,
                USD: tenant.usd_per_day,
            }
            for kind, limit in limits.items():
                if limit is None:
                    continue
                key = tenant.name, kind
                allowance = before.get(key) or Allowance(kind, limit, leased=leased)
                allowance.limit, allowance.leased = limit, leased
                self.allowances[key] = allowance

    def wait_s(self, tenant: str, amounts: dict[str, float], now_s: float) -> float:
        """Return how long ``tenant`` must wait for ``amounts``; 0 if it need not."""
        waits_s = [0.0]
        for kind, amount in amounts.items():
            allowance = self.allowances.get((tenant, kind))
            if allowance is not None:
                allowance.refill(now_s)
                waits_s.append(allowance.wait_s(amount))
        return max(waits_s)

    def reserve(self, tenant: str, reservation: Reservation, amounts: dict[str, float]) -> None:
        """Let ``reservation`` stand for ``amounts`` instead of what it stood for."""
        for kind, amount in amounts.items():
            allowance = self.allowances.get((tenant, kind))
            if allowance is not None:
                allowance.grant(reservation.amounts.get(kind, 0.0) - amount)
                reservation.amounts[kind] = amount

    def lines(self, tenant: str, now_s: float) -> bytes:
        """Return the header lines that tell ``tenant`` what is left; none without a limit."""
        lines: list[str] = []
        for kind in PERIOD_S:
            allowance = self.allowances.get((tenant, kind))
            if allowance is None:
                continue
            allowance.refill(now_s)
            remaining = max(0.0, allowance.level)
            reset_s = max(0.0, (allowance.size - allowance.level) / allowance.rate)
            digits = 4 if kind == USD else 0
            lines += [
                f"x-ratelimit-limit-{kind}: {allowance.limit:.{digits}f}",
                f"x-ratelimit-remaining-{kind}: {remaining:.{digits}f}",
                f"x-ratelimit-reset-{kind}: {reset_s:.1f}s",
            ]
        return "".join(f"{line}\r\n" for line in lines).encode()
