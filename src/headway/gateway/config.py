"""The settings of a gateway: frozen, checked at birth, replaced as a whole by a reload."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from headway.errors import InputError, UnknownNameError
from headway.gateway.discovery import Discovery
from headway.gateway.model_names import ModelName
from headway.gateway.pools import Endpoint, Overflow, Pool
from headway.http.bounds import CLIENT, ENGINE, bound
from headway.record.store import is_postgres
from headway.schedule.deadline import Moore
from headway.schedule.fair import FairShares
from headway.schedule.order import Fcfs, OrderPolicy
from headway.schedule.view import ServiceTime
from headway.units import check_positive
from headway.workload.request import Slo

SCHEDULE, ANNOTATE = "schedule", "annotate"
OFF, HOPELESS, STRICT = "off", "hopeless", "strict"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds that a phase may last.

    Attributes:
        request_s: from the first byte of a request to its last.
        queue_s: waiting here.
        away_s: waiting here while no engine of the pool is up.
        connect_s: to a backend.
        first_byte_s: from sending a request to a backend to its first byte.
        gap_s: between bytes of an answer.
        drain_s: how long running requests may go on after SIGTERM.

    """

    request_s: float = bound(30.0, CLIENT, "from a request's first byte to its last", "408")
    queue_s: float = bound(600.0, CLIENT, "waiting for an engine", "503")
    away_s: float = bound(10.0, CLIENT, "waiting while no engine of the pool is up", "503")
    connect_s: float = bound(5.0, ENGINE, "for a connection", "another engine, or it waits")
    first_byte_s: float = bound(600.0, ENGINE, "for its first byte", "another engine, or 504")
    gap_s: float = bound(120.0, ENGINE, "between bytes of an answer", "an error event")
    drain_s: float = bound(30.0, CLIENT, "for what runs when we stop", "an error, closed")

    def __post_init__(self) -> None:
        for name in self.__slots__:
            check_positive(getattr(self, name), f"timeout {name}", maximum=86_400)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may send.

    Attributes:
        head_bytes: request line and headers.
        body_bytes: of one request.
        answer_bytes: of an answer that is not streamed; longer ones are passed on as they come.
        queue: requests that may wait; more are refused with 429.

    """

    head_bytes: int = bound(
        65_536, CLIENT, "request line and headers, trailers, a chunk's line", "431, closed"
    )
    body_bytes: int = bound(32 * 2**20, CLIENT, "body of a request", "413, closed")
    answer_bytes: int = bound(
        8 * 2**20, ENGINE, "of an answer in one that is held", "it goes on as it comes"
    )
    queue: int = bound(200_000, CLIENT, "requests that wait", "429")

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not 1 <= getattr(self, name) < 2**40:
                raise InputError(f"limit {name} must be from 1 to 2^40, not {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class Fairness:
    """How requests are kept from waiting for ever, and tenants from each other's share.

    A request with n older ones waiting in its pool starts, at the latest, ``patience_s`` plus
    ``oldest_every * (n + 1)`` starts after its arrival: past its patience, of every
    ``oldest_every`` requests that start the first is the one that waits longest.

    Attributes:
        patience_s: how long the policy alone decides.
        oldest_every: of how many starts one goes to the oldest, once it has lost patience.
        by_tenant: whether tenants share by weight before the policy orders within each.
        by_class: whether classes do, instead.

    """

    patience_s: float = 30.0
    oldest_every: int = 4
    by_tenant: bool = False
    by_class: bool = False

    @property
    def shares(self) -> bool:
        """Whether anybody shares by weight."""
        return self.by_tenant or self.by_class

    def __post_init__(self) -> None:
        if not 0 <= self.patience_s <= 86_400:
            raise InputError(f"patience_s must be from 0 to 86400, not {self.patience_s}")
        if not 1 <= self.oldest_every <= 1000:
            raise InputError(f"oldest_every must be from 1 to 1000, not {self.oldest_every}")
        if self.by_tenant and self.by_class:
            raise InputError("fairness is by_tenant or by_class, not both")


@dataclass(frozen=True, slots=True)
class ServiceClass:
    """What a client asks for by the name it gives in ``x-headway-class``.

    Attributes:
        name: as clients spell it; empty: of those who name none.
        slo: its objectives, its tier and what they are worth.
        weight: share of service, relative to the other classes', where classes share.
        max_waiting: requests of it that may wait; ``None`` for no bound of its own.
        ttl_s: how long one may wait; ``None`` for the general limit.

    """

    name: str
    slo: Slo = field(default_factory=Slo)
    weight: float = 1.0
    max_waiting: int | None = None
    ttl_s: float | None = None

    def __post_init__(self) -> None:
        check_positive(self.weight, f"weight of class {self.name}", maximum=1e6)
        if self.max_waiting is not None and not 0 <= self.max_waiting < 2**31:
            raise InputError(
                f"max_waiting of class {self.name} must be from 0 to 2^31, not {self.max_waiting}"
            )
        if self.ttl_s is not None:
            check_positive(self.ttl_s, f"ttl_s of class {self.name}", maximum=86_400)


NO_CLASS = ServiceClass("")


@dataclass(frozen=True, slots=True)
class Tenant:
    """Someone with a key.

    Attributes:
        name: shown in records.
        key_sha256: of the API key, 64 hexadecimal digits; the key itself is stored nowhere.
        weight: share of service, relative to the others'.
        requests_per_minute: ``None`` for no limit.
        tokens_per_minute: of prompts and answers together; ``None`` for no limit.
        usd_per_day: by the prices of the pools; ``None`` for no limit.
        max_inflight: requests waiting and running at once; ``None`` for no limit.

    """

    name: str
    key_sha256: str = field(repr=False)
    weight: float = 1.0
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    usd_per_day: float | None = None
    max_inflight: int | None = None

    def __post_init__(self) -> None:
        if len(self.name) > 100:
            raise InputError("a tenant's name has at most 100 characters")
        check_key_hash(self.key_sha256, f"key_sha256 of tenant {self.name}")
        check_positive(self.weight, f"weight of tenant {self.name}", maximum=1e6)
        for limit in (
            self.requests_per_minute,
            self.tokens_per_minute,
            self.usd_per_day,
            self.max_inflight,
        ):
            if limit is not None:
                check_positive(limit, f"a limit of tenant {self.name}")


@dataclass(frozen=True, slots=True)
class Web:
    """What browsers may do with a gateway.

    Attributes:
        origins: pages that may ask it, such as ``https://chat.example`` (CORS).
        hosts: further names under which a gateway on a loopback address may be asked.

    """

    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for origin in self.origins:
            scheme, _, host = origin.partition("://")
            if scheme not in ("http", "https") or not host or not origin.isascii():
                raise InputError(f"an origin is such as https://chat.example, not {origin!r}")
            if "/" in host or any(c <= " " or c == "\x7f" for c in host):
                raise InputError(f"an origin is such as https://chat.example, not {origin!r}")


@dataclass(frozen=True, slots=True)
class Tls:
    """What clients are shown where they speak TLS; Envoy does that.

    Attributes:
        certificate: a PEM file, with those that vouch for it.
        key: a PEM file.

    """

    certificate: str
    key: str

    def __post_init__(self) -> None:
        for path in (self.certificate, self.key):
            if not Path(path).is_file():
                raise InputError(f"tls needs the PEM files of a certificate and a key; no {path}")


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """Everything that a reload may change, and the address, which it may not.

    Attributes:
        endpoints: at least one, unless more are discovered.
        policy: in what order waiting requests go.
        mode: ``schedule`` keeps the queue here; ``annotate`` passes everything through with the
            engine's own ``priority`` set.
        pool_settings: prices and speeds, of those pools that have any.
        expected: what a request costs before anything was measured, where its pool does not say.
        overflow: who may go from one pool to another; ``None``: nobody.
        tenants: with keys; none: nobody is asked for a key.
        admin_sha256: hash of the admin token; empty turns admin endpoints off.
        classes: objectives and bounds by the name a client gives in ``x-headway-class``.
        models: what clients may call models that engines call otherwise, and what stands in for
            one that is away.
        discover: where more engines are found while it runs.
        admission: who is refused because of its objective: nobody (``off``); who could not start in
            time if it were the next (``hopeless``); or who could not beside those who wait
            (``strict``).
        host: address to listen on.
        port: 0 for any free one.
        record: an SQLite file, or the address of a PostgreSQL database; ``None`` for none.
        traces: an OTLP collector that is sent OpenTelemetry spans; empty for none.
        keep_prompts: store prompts, not only their hashes.
        tls: what clients are shown; ``None`` where they speak plain HTTP.
        retries: further backends tried where nothing was sent to the client yet.
        larger_first: when annotating, whether engines take larger priorities first (SGLang's
            default) rather than smaller ones (vLLM).
        web: what browsers may do.

    """

    endpoints: tuple[Endpoint, ...]
    policy: OrderPolicy = field(default_factory=Fcfs)
    mode: str = SCHEDULE
    pool_settings: tuple[Pool, ...] = ()
    expected: ServiceTime = field(default_factory=ServiceTime)
    overflow: Overflow | None = None
    tenants: tuple[Tenant, ...] = ()
    admin_sha256: str = field(default="", repr=False)
    classes: tuple[ServiceClass, ...] = ()
    admission: str = OFF
    models: tuple[ModelName, ...] = ()
    discover: tuple[Discovery, ...] = ()
    host: str = "127.0.0.1"
    port: int = 9000
    record: str | Path | None = None
    traces: str = ""
    keep_prompts: bool = False
    tls: Tls | None = None
    retries: int = 2
    larger_first: bool = False
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    fairness: Fairness = Fairness()
    web: Web = Web()

    def __post_init__(self) -> None:
        if not self.endpoints and not self.discover:
            raise InputError("a gateway needs at least one backend: --backend http://host:port/v1")
        urls = [endpoint.url for endpoint in self.endpoints]
        if len(set(urls)) != len(urls):
            raise InputError("the same backend is given twice")

        # Plain values.
        if self.mode not in (SCHEDULE, ANNOTATE):
            raise InputError(f"mode must be schedule or annotate, not {self.mode!r}")
        if self.admission not in (OFF, HOPELESS, STRICT):
            raise InputError(f"admission must be off, hopeless or strict, not {self.admission!r}")
        if not 0 <= self.port <= 65_535:
            raise InputError(f"a port is from 0 to 65535, not {self.port}")
        if not 0 <= self.retries <= 10:
            raise InputError(f"retries must be from 0 to 10, not {self.retries}")
        if self.traces and urlsplit(self.traces).scheme not in ("http", "https"):
            raise InputError(
                f"traces go to an address such as http://localhost:4318, not {self.traces!r}"
            )

        self._check_pools()
        self._check_access()

    def _check_access(self) -> None:
        """Raise `InputError` unless tenants can be told apart and the address is theirs alone."""
        if self.admin_sha256:
            check_key_hash(self.admin_sha256, "admin_sha256")
        for name in ("name", "key_sha256"):
            values = [getattr(tenant, name) for tenant in self.tenants]
            if len(set(values)) != len(values):
                raise InputError(f"two tenants have the same {name}")

        has_budgets = any(tenant.usd_per_day is not None for tenant in self.tenants)
        if has_budgets and not all(self.pool(name).is_priced for name in self.pools):
            raise InputError(
                "usd_per_day needs the prices of every pool: usd_per_mtok_input and "
                "usd_per_mtok_output in its [pool.NAME]"
            )
        if not is_loopback(self.host) and not self.tenants:
            raise InputError(
                f"refusing to listen on {self.host} without an API key: add a tenant with a key "
                "(headway serve --make-key NAME), or listen on 127.0.0.1"
            )

    def _check_pools(self) -> None:
        names = [pool.name for pool in self.pool_settings]
        if self.overflow is not None:
            names += [self.overflow.fast, self.overflow.slow]
            if self.mode == ANNOTATE:
                raise InputError(
                    "offload needs mode = schedule: when annotating nothing waits here"
                )

        for name in names:
            if name not in self.pools:
                raise UnknownNameError("pool", name, self.pools)

    @property
    def shares_limits(self) -> bool:
        """Whether limits are shared with other gateways, which record in the same database."""
        has_limits = any(
            limit is not None
            for tenant in self.tenants
            for limit in (tenant.requests_per_minute, tenant.tokens_per_minute, tenant.usd_per_day)
        )
        return has_limits and isinstance(self.record, str) and is_postgres(self.record)

    @property
    def model_names(self) -> Mapping[str, ModelName]:
        """Names of models by what clients say."""
        return {name.name: name for name in self.models}

    def service_class(self, name: str) -> ServiceClass:
        """Return the class called ``name``; for an empty name `NO_CLASS` unless it is configured.

        Raises:
            UnknownNameError: there is none.

        """
        for service_class in self.classes:
            if service_class.name == name:
                return service_class
        if not name:
            return NO_CLASS
        raise UnknownNameError(
            "x-headway-class", name[:40], [each.name for each in self.classes if each.name]
        )

    @property
    def late_share(self) -> float:
        """Share of the starts that go to those who cannot be in time, as the policy has it."""
        return self.policy.late_share if isinstance(self.policy, Moore) else 0.0

    @property
    def sharing(self) -> Fairness:
        """Fairness as the queue keeps it: the policy of fair shares is one lane per tenant."""
        if isinstance(self.policy, FairShares):
            return replace(self.fairness, by_tenant=True)
        return self.fairness

    def pool(self, name: str) -> Pool:
        """Price and speed of the pool called ``name``."""
        return next((pool for pool in self.pool_settings if pool.name == name), Pool(name))

    def service(self, pool_name: str) -> ServiceTime:
        """Return what a request costs in a pool before anything was measured."""
        return self.pool(pool_name).service(self.expected)

    @property
    def pools(self) -> tuple[str, ...]:
        """Names of the pools, in the order they are first mentioned."""
        names = [endpoint.pool for endpoint in self.endpoints]
        return tuple(dict.fromkeys(names + [place.pool for place in self.discover]))


@lru_cache(16)
@lru_cache(16)
def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``; a name other than localhost is taken not to."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_key_hash(text: str, what: str) -> None:
    """Raise `InputError` unless ``text`` is a SHA-256 in hexadecimal."""
    if len(text) != 64 or any(c not in "0123456789abcdef" for c in text):
        raise InputError(f"{what} must be 64 hexadecimal digits: the SHA-256 of the key")
