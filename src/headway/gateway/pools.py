"""Engines in pools: where they are, what they cost, and who may go from one pool to another."""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from headway.errors import InputError
from headway.predict.prediction import LEVELS
from headway.schedule.view import ServiceTime
from headway.units import check_positive
from headway.user_file import excerpt

CONTINUOUS, STATIC = "continuous", "static"
MAX_STATIC_BATCH = 4096


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An engine's OpenAI-compatible API.

    Attributes:
        url: such as ``http://localhost:8000/v1``.
        api_key: sent to the engine instead of the client's; never shown.
        max_inflight: requests it is given at once at most, whatever it was seen to hold.
        pool: which pool it belongs to.
        batching: ``continuous``, or ``static`` for an engine that keeps a batch until its longest
            answer ends; that is given ``max_inflight`` requests at once and then none until all
            of them have ended.
        batch_ratio: longest over shortest predicted answer of a static batch; infinite: no bound.

    """

    url: str
    api_key: str = field(default="", repr=False)
    max_inflight: int = 10_000
    pool: str = "main"
    batching: str = CONTINUOUS
    batch_ratio: float = math.inf

    def __post_init__(self) -> None:
        check_address(self.url)
        if any(c <= " " or c == "\x7f" for c in self.url + self.api_key):
            raise InputError("a backend's address and key hold no spaces or control characters")
        check_name(self.pool, "a pool's name")

        if not 1 <= self.max_inflight <= 1_000_000:
            raise InputError(f"max_inflight must be from 1 to 1e6, not {self.max_inflight}")
        if self.batching not in (CONTINUOUS, STATIC):
            raise InputError(f"batching must be continuous or static, not {self.batching!r}")
        if self.batching == STATIC and self.max_inflight > MAX_STATIC_BATCH:
            raise InputError("a static backend needs max_inflight, the requests of its batch")
        if not self.batch_ratio >= 1:
            raise InputError(f"batch_ratio must be at least 1, not {self.batch_ratio}")

    @property
    def host(self) -> str:
        """The host's name or number."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The port, 80 or 443 where the address names none."""
        parts = urlsplit(self.url)
        return parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def tls(self) -> bool:
        """Whether it speaks HTTPS."""
        return urlsplit(self.url).scheme == "https"

    @property
    def prefix(self) -> str:
        """The path before ``/chat/completions``, without a closing slash."""
        return urlsplit(self.url).path.rstrip("/")


def check_address(url: str) -> None:
    """Raise `InputError` unless requests can be sent to ``url``."""
    example = "a backend is an address such as http://localhost:8000/v1"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        ipv6 = ipaddress.IPv6Address(host) if ":" in host else None
        is_host = ipv6 is not None or bool(host.encode("idna"))  # labels of 1 to 63 characters
    except ValueError:
        raise InputError(f"{example}, not {excerpt(url)}") from None

    if parts.scheme not in ("http", "https") or not host or not is_host or port == 0:
        raise InputError(f"{example}, not {excerpt(url)}")
    if parts.username is not None or parts.password is not None:
        raise InputError("a backend's address holds no user and password; its key is api_key")
    if parts.query or parts.fragment or not parts.path.isascii():
        raise InputError(f"{example}: a path of ASCII, no query, no fragment, not {excerpt(url)}")


def check_name(name: str, what: str) -> None:
    """Raise `InputError` unless ``name`` can stand in a header, a label and a log."""
    if not name or len(name) > 100 or not name.isprintable():
        raise InputError(f"{what} has 1 to 100 printable characters, not {excerpt(name)}")


@dataclass(frozen=True, slots=True)
class Pool:
    """Engines that can stand in for each other, such as all accelerators or all CPUs.

    Attributes:
        name: as backends and clients spell it.
        usd_per_hour: price of the whole pool; ``None`` where nobody said.
        usd_per_mtok_input, usd_per_mtok_output: what a million tokens of prompts and of answers
            are charged at, as an API does; ``None`` where nobody said.
        fixed_s, prompt_token_s, output_token_s: what a request costs there, until it was measured.

    """

    name: str
    usd_per_hour: float | None = None
    usd_per_mtok_input: float | None = None
    usd_per_mtok_output: float | None = None
    fixed_s: float | None = None
    prompt_token_s: float | None = None
    output_token_s: float | None = None

    def __post_init__(self) -> None:
        check_name(self.name, "a pool's name")
        for name in ("usd_per_hour", "usd_per_mtok_input", "usd_per_mtok_output"):
            usd = getattr(self, name)
            if usd is not None and not 0 <= usd < 1e9:
                raise InputError(f"{name} of pool {self.name} must not be {usd}")

        for name in ("fixed_s", "prompt_token_s", "output_token_s"):
            seconds = getattr(self, name)
            if seconds is not None and not 0 <= seconds <= 3600:
                raise InputError(
                    f"{name} of pool {self.name} must be from 0 to 3600 seconds, not {seconds}"
                )

    @property
    def is_priced(self) -> bool:
        """Whether tokens have prices there."""
        return self.usd_per_mtok_input is not None and self.usd_per_mtok_output is not None

    def usd(self, prompt_tokens: float, output_tokens: float) -> float:
        """Return what a request costs there; 0 where tokens have no prices."""
        return 1e-6 * (
            (self.usd_per_mtok_input or 0.0) * prompt_tokens
            + (self.usd_per_mtok_output or 0.0) * output_tokens
        )

    def service(self, expected: ServiceTime) -> ServiceTime:
        """Return what a request costs there before anything was measured.

        ``expected`` is what holds where the pool itself says nothing.
        """
        own = {
            "fixed_s": self.fixed_s,
            "prompt_token_s": self.prompt_token_s,
            "output_token_s": self.output_token_s,
        }
        return replace(expected, **{name: v for name, v in own.items() if v is not None})


@dataclass(frozen=True, slots=True)
class Overflow:
    """Who may go from the fast pool to the slow one: see `headway.schedule.offload`.

    Attributes:
        fast, slow: names of two pools.
        threshold_tokens: an answer may go whose ``level`` quantile is longer; or else
        share: of the answers, the longest, that may go.
        level: of the predicted length.
        worth_usd_per_hour: what an hour of a client's waiting is worth. With it, and a price for
            both pools, what is shortened is the sum of time and money; without, time alone.

    """

    fast: str
    slow: str
    threshold_tokens: float | None = None
    share: float | None = None
    level: float = 0.9
    worth_usd_per_hour: float | None = None

    def __post_init__(self) -> None:
        if self.fast == self.slow:
            raise InputError(f"offload needs two pools, not {self.fast!r} twice")

        # Which answers count as long: by a threshold, or by a share.
        if (self.threshold_tokens is None) == (self.share is None):
            raise InputError("offload needs threshold_tokens or share, and not both")
        if self.threshold_tokens is not None:
            check_positive(self.threshold_tokens, "threshold_tokens of offload")
        if self.share is not None and not 0 < self.share < 1:
            raise InputError(f"share of offload must lie between 0 and 1, not at {self.share}")

        if not LEVELS[0] <= self.level <= LEVELS[-1]:
            raise InputError(
                f"level of offload must lie from {LEVELS[0]} to {LEVELS[-1]}, not at {self.level}"
            )
        if self.worth_usd_per_hour is not None:
            check_positive(self.worth_usd_per_hour, "worth_usd_per_hour of offload")
