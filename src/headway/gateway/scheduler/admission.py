"""API keys: made at random, stored as hashes; and what a tenant may do with one."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from headway.gateway.config import GatewayConfig, Tenant
from headway.gateway.scheduler.queued import Refusal

NOBODY = Tenant("", "0" * 64)
MAX_IN_FLIGHT_WAIT_S = 1.0


def make_key() -> str:
    """Return a new key of 256 random bits."""
    return "hw-" + secrets.token_urlsafe(32)


def key_hash(key: str) -> str:
    """Return what is stored of ``key``: keys are random, so a fast hash cannot be searched."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(slots=True)
class _Bucket:
    """Requests that a tenant may send, as of a time."""

    num_requests: float
    time_s: float


class Admission:
    """Tells whose a request is, and whether that tenant may send one more."""

    def __init__(self, config: GatewayConfig) -> None:
        """Admit the tenants of ``config``."""
        self._buckets: dict[str, _Bucket] = {}
        self._in_flight: dict[str, int] = {}
        self.adopt(config)

    def adopt(self, config: GatewayConfig) -> None:
        """Go by ``config``; counts go on."""
        self._by_hash = {tenant.key_sha256: tenant for tenant in config.tenants}
        self._admin_sha256 = config.admin_sha256

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
        return Refusal(429, message, "rate_limited", retry_after_s=wait_s)

    def _wait_s(self, tenant: Tenant, now_s: float) -> float:
        max_in_flight = tenant.max_inflight
        if max_in_flight is not None and self._in_flight.get(tenant.name, 0) >= max_in_flight:
            return MAX_IN_FLIGHT_WAIT_S
        if tenant.requests_per_minute is None:
            return 0.0

        # A bucket of a minute's requests, filled at their rate.
        rate_rps, size = tenant.requests_per_minute / 60, max(1.0, tenant.requests_per_minute)
        bucket = self._buckets.setdefault(tenant.name, _Bucket(size, now_s))
        filled = bucket.num_requests + (now_s - bucket.time_s) * rate_rps
        bucket.num_requests, bucket.time_s = min(size, filled), now_s
        if bucket.num_requests < 1:
            return (1 - bucket.num_requests) / rate_rps
        bucket.num_requests -= 1
        return 0.0

    def begin(self, tenant_name: str) -> None:
        """One more request of the tenant waits or runs."""
        self._in_flight[tenant_name] = self._in_flight.get(tenant_name, 0) + 1

    def end(self, tenant_name: str) -> None:
        """One less does."""
        self._in_flight[tenant_name] = max(0, self._in_flight.get(tenant_name, 0) - 1)
