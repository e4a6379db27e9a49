"""API keys: made at random, stored as hashes; and what a tenant may do with one."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable

from headway.gateway.config import GatewayConfig, Tenant
from headway.gateway.scheduler.budgets import REQUESTS, TOKENS, USD, Budgets, Reservation
from headway.gateway.scheduler.queued import QueuedRequest, Refusal

NOBODY = Tenant("", "0" * 64)
NO_KEY = Refusal(401, "this gateway needs an API key: Authorization: Bearer KEY", "invalid_api_key")
TAKES_POST = Refusal(405, "this path takes POST", "method_not_allowed", lines=b"Allow: POST\r\n")
STRANGER = Refusal(
    403,
    "this gateway answers to its own names and pages: see [web] of its configuration",
    "foreign_origin",
)
MAX_IN_FLIGHT_WAIT_S = 1.0
USUAL_STEP = 0.1


def make_key() -> str:
    """Return a new key of 256 random bits."""
    return "hw-" + secrets.token_urlsafe(32)


def key_hash(key: str) -> str:
    """Return what is stored of ``key``: keys are random, so a fast hash cannot be searched."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


class Admission:
    """Tells whose a request is, and whether that tenant may send one more.

    Attributes:
        budgets: what tenants may use.

    """

    def __init__(self, config: GatewayConfig) -> None:
        """Admit the tenants of ``config``."""
        self.budgets = Budgets()
        self._usual_tokens: dict[str, float] = {}  # upper quantiles of late answers, by tenant
        self._in_flight: dict[str, int] = {}
        self.adopt(config)

    def adopt(self, config: GatewayConfig) -> None:
        """Go by ``config``; counts go on."""
        self._by_hash = {tenant.key_sha256: tenant for tenant in config.tenants}
        self._admin_sha256 = config.admin_sha256
        self._config = config
        self.budgets.adopt(config.tenants, leased=config.shares_limits)

    @property
    def asks_for_keys(self) -> bool:
        """Whether there are tenants; without any all are nobody."""
        return bool(self._by_hash)

    def tenant(self, key: str) -> Tenant | None:
        """Return whose ``key`` is, ``None`` if nobody's; without tenants all are nobody."""
        if not self._by_hash:
            return NOBODY
        return self._by_hash.get(key_hash(key)) if key else None

    def is_admin(self, key: str) -> bool:
        """Return whether ``key`` is the admin token; never, if none is configured."""
        if not self._admin_sha256:
            return False
        return hmac.compare_digest(key_hash(key), self._admin_sha256)

    def refusal(self, tenant: Tenant, now_s: float) -> Refusal | None:
        """Return why ``tenant`` must wait with another request; ``None`` counts it as sent."""
        wait_s = self._wait_s(tenant, now_s)
        if wait_s == 0:
            return None
        message = f"tenant {tenant.name} sends more than its limit"
        lines = self.budgets.lines(tenant.name, now_s)
        return Refusal(429, message, "rate_limited", retry_after_s=wait_s, lines=lines)

    def _wait_s(self, tenant: Tenant, now_s: float) -> float:
        max_in_flight = tenant.max_inflight
        if max_in_flight is not None and self._in_flight.get(tenant.name, 0) >= max_in_flight:
            return MAX_IN_FLIGHT_WAIT_S

        # Before the request is read nothing is known of its tokens but that it has some.
        if not self.budgets.allowances:
            return 0.0
        wait_s = self.budgets.wait_s(tenant.name, {REQUESTS: 1.0, TOKENS: 1.0, USD: 1e-9}, now_s)
        if wait_s == 0:
            self.budgets.reserve(tenant.name, Reservation(), {REQUESTS: 1.0})
        return wait_s

    def reserve(self, queued: QueuedRequest, now_s: float) -> Refusal | None:
        """Reserve what ``queued`` may use; return why it must wait with that, if it must."""
        tenant = queued.request.tenant
        if not any((tenant, kind) in self.budgets.allowances for kind in (TOKENS, USD)):
            return None
        amounts = self._amounts(queued)
        wait_s = self.budgets.wait_s(tenant, amounts, now_s)
        if wait_s == 0:
            self.budgets.reserve(tenant, queued.reservation, amounts)
        queued.limit_lines = self.budgets.lines(tenant, now_s)
        if wait_s == 0:
            return None
        message = (
            f"tenant {tenant} has used what it may; this request needs about "
            f"{amounts[TOKENS]:.0f} tokens"
        )
        return Refusal(429, message, "budget_exhausted", retry_after_s=wait_s)

    def amend(self, requests: Iterable[QueuedRequest]) -> None:
        """Reserve for ``requests`` what was predicted of them since."""
        for queued in requests:
            if queued.reservation.amounts and queued.p90_tokens is not None:
                tenant = queued.request.tenant
                usual = self._usual_tokens.get(tenant, queued.p90_tokens)
                self._usual_tokens[tenant] = usual + USUAL_STEP * (queued.p90_tokens - usual)
                amounts = self._amounts(queued)
                self.budgets.reserve(queued.request.tenant, queued.reservation, amounts)

    def settle(self, queued: QueuedRequest, prompt_tokens: int, output_tokens: int) -> None:
        """Charge ``queued`` for what it was instead of what was reserved."""
        if queued.reservation.amounts:
            usd = self._config.pool(queued.pool).usd(prompt_tokens, output_tokens)
            amounts = {TOKENS: float(prompt_tokens + output_tokens), USD: usd}
            self.budgets.reserve(queued.request.tenant, queued.reservation, amounts)

    def _amounts(self, queued: QueuedRequest) -> dict[str, float]:
        """Return what ``queued`` may use: its prompt, and an upper quantile of its answer."""
        prompt_tokens = queued.request.prompt_tokens
        output_tokens = queued.p90_tokens
        if output_tokens is None:  # as is usual with this tenant, until it is predicted
            usual = self._usual_tokens.get(queued.request.tenant, queued.expected_tokens)
            output_tokens = min(usual, queued.request.max_tokens or usual)
        usd = self._config.pool(queued.pool).usd(prompt_tokens, output_tokens)
        return {TOKENS: prompt_tokens + output_tokens, USD: usd}

    def begin(self, tenant_name: str) -> None:
        """One more request of the tenant waits or runs."""
        self._in_flight[tenant_name] = self._in_flight.get(tenant_name, 0) + 1

    def end(self, tenant_name: str) -> None:
        """One less does."""
        self._in_flight[tenant_name] = max(0, self._in_flight.get(tenant_name, 0) - 1)
