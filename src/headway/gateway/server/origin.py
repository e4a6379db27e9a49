"""Where a request comes from: the host that it names, and the page that sent it.

Whoever resolves a name of theirs to a loopback address has a browser send them what a gateway there
says; so it answers to no name that could be somebody's: to numbers, and to names without a dot,
alone. A page elsewhere may ask where the configuration says so.
"""

from __future__ import annotations

from headway.gateway.config import GatewayConfig, is_loopback
from headway.http.message import HttpRequest, is_number

ASKED = b"Authorization, Content-Type, X-Request-Id"
TOLD = b"x-headway-id, x-headway-queue-ms, x-headway-pool, x-headway-predicted-tokens, retry-after"
PREFLIGHT_LINES = (
    b"Access-Control-Allow-Methods: GET, POST, OPTIONS\r\n"
    b"Access-Control-Allow-Headers: %b, x-headway-class, x-headway-pool, x-headway-ttft-ms, "
    b"x-headway-tpot-ms, x-headway-deadline-ms\r\n"
    b"Access-Control-Max-Age: 600\r\n" % ASKED
)


def host_name(authority: str) -> str:
    """Return the host in ``authority`` (``[::1]:9000``), in lower case and without its port."""
    host, colon, port = authority.strip().lower().rpartition(":")
    return host if colon and port.isdigit() else authority.strip().lower()


def is_stranger(request: HttpRequest, config: GatewayConfig) -> bool:
    """Whether ``request`` reached a loopback address under a name that may be somebody else's.

    A page of another origin is a stranger, too, where nobody is asked for a key.
    """
    if not is_loopback(config.host):
        return False
    host = request.headers.get(b"host", b"").decode("latin-1")
    if not _is_own(host, config):
        return True

    origin = request.headers.get(b"origin", b"").decode("latin-1")
    if not origin or config.tenants or origin in config.web.origins:
        return False
    page = origin.partition("://")[2]
    return request.method != "GET" and host_name(page) != host_name(host)


def _is_own(authority: str, config: GatewayConfig) -> bool:
    host = host_name(authority)
    if "." not in host or host.endswith(".localhost") or host in config.web.hosts:
        return True
    return is_number(host)


def origin_lines(request: HttpRequest, config: GatewayConfig) -> bytes:
    """Return header lines that let the page which sent ``request`` read the answer, if it may."""
    origin = request.headers.get(b"origin", b"").decode("latin-1")
    if not origin or origin not in config.web.origins:
        return b""
    return b"Access-Control-Allow-Origin: %b\r\nVary: Origin\r\n%b" % (
        origin.encode("latin-1"), b"Access-Control-Expose-Headers: %b\r\n" % TOLD,
    )  # fmt: skip
