"""Header lines: what a client says of its request, and what an engine is sent of them."""

from __future__ import annotations

from collections.abc import Container

from headway.errors import InputError
from headway.gateway.config import ServiceClass
from headway.workload.request import Slo

HOP_BY_HOP = frozenset({
    b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding",
    b"upgrade", b"content-length", b"proxy-authorization", b"proxy-authenticate",
})  # fmt: skip
NOT_FORWARDED = HOP_BY_HOP | {b"host", b"expect", b"accept-encoding"}
NO_OBJECTIVES = Slo()
MIN_MS, MAX_MS = 1e-3, 1e9

# The first header of an objective that is there counts.
_OBJECTIVES = (
    (b"x-headway-ttft-ms", "ttft_s"),
    (b"x-slo-ttft-ms", "ttft_s"),
    (b"x-headway-tpot-ms", "tpot_s"),
    (b"x-slo-tpot-ms", "tpot_s"),
    (b"x-headway-deadline-ms", "e2e_s"),
)


def bearer(headers: dict[bytes, bytes]) -> str:
    """Return the key that a request's headers carry; empty if there is none."""
    text = headers.get(b"authorization", b"").decode("latin-1")
    scheme, _, key = text.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def forwarded_lines(
    headers: dict[bytes, bytes], not_forwarded: Container[bytes], *, with_key: bool
) -> bytes:
    """Return the lines that go on to an engine; the client's key does only ``with_key``."""
    # What a client names there is between it and us alone (RFC 9110, section 7.6.1).
    own_names = {name.strip().lower() for name in headers.get(b"connection", b"").split(b",")}
    return b"".join(
        b"%b: %b\r\n" % (name, value)
        for name, value in headers.items()
        if name not in not_forwarded
        and name not in own_names
        and not name.startswith(b"x-headway-")
        and (with_key or name != b"authorization")
    )


def objectives(headers: dict[bytes, bytes], service_class: ServiceClass) -> Slo:
    """Return the objectives of a request: its class's, but for single ones that ``headers`` name.

    Raises:
        InputError: an objective is no number of milliseconds above 0.

    """
    own_s: dict[str, float] = {}
    for header, name in _OBJECTIVES:
        value = headers.get(header)
        if value is not None and name not in own_s:
            own_s[name] = _seconds(header, value)
    slo = service_class.slo
    if not own_s:
        return slo
    return Slo(
        ttft_s=own_s.get("ttft_s", slo.ttft_s),
        tpot_s=own_s.get("tpot_s", slo.tpot_s),
        e2e_s=own_s.get("e2e_s", slo.e2e_s),
        tier=slo.tier,
        value=slo.value,
    )


def expected_tokens(headers: dict[bytes, bytes]) -> float | None:
    """Return how long the client expects the answer to be; ``None`` if it does not say.

    Raises:
        InputError: it is no number of tokens.

    """
    value = headers.get(b"x-headway-expected-tokens")
    if value is None:
        return None
    if not (value.isdigit() and 1 <= len(value) <= 7):
        raise InputError(
            f"x-headway-expected-tokens must be tokens, 0 to 9999999, not {value[:40]!r}"
        )
    return float(value)


def _seconds(header: bytes, value: bytes) -> float:
    name = header.decode()
    try:
        milliseconds = float(value)
    except ValueError:
        raise InputError(f"{name} must be milliseconds, not {value[:40]!r}") from None

    if not MIN_MS <= milliseconds <= MAX_MS:
        raise InputError(
            f"{name} must be from {MIN_MS:g} to {MAX_MS:g} milliseconds, not {milliseconds:g}"
        )
    return milliseconds / 1e3
