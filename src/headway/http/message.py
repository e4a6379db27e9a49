"""What both sides of HTTP/1.1 share: a request, an answer that is broken, chunks, reasons."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from typing import Any

from headway.errors import HeadwayError

LAST_CHUNK = b"0\r\n\r\n"
JSON_HEADERS = b"Content-Type: application/json\r\n"  # complete lines, as all header lines here
STREAM_HEADERS = b"Content-Type: text/event-stream\r\n"
REASONS = {
    200: b"OK", 204: b"No Content", 400: b"Bad Request", 401: b"Unauthorized", 403: b"Forbidden",
    404: b"Not Found", 405: b"Method Not Allowed", 408: b"Request Timeout",
    411: b"Length Required", 413: b"Content Too Large", 429: b"Too Many Requests",
    431: b"Request Header Fields Too Large", 499: b"Client Closed Request",
    500: b"Internal Server Error", 502: b"Bad Gateway", 503: b"Service Unavailable",
    504: b"Gateway Timeout", 505: b"HTTP Version Not Supported",
}  # fmt: skip


class BrokenAnswerError(HeadwayError):
    """What an engine sent is no HTTP/1.1, or it ended before its end."""


@dataclass(slots=True, eq=False)
class HttpRequest:
    """One request as it came off the wire.

    Attributes:
        method: such as ``POST``.
        path: decoded by nobody, without the query.
        query: after the question mark.
        headers: names in lower case; repeated ones joined, as lists are.
        body: as sent, chunks joined.
        version: ``1.1`` or ``1.0``.
        keep_alive: whether the connection may serve another request.
        num_headers: that came.
        problem: what is wrong with its headers; empty for nothing.
        arrival_s: when its last bytes came, on the monotonic clock.

    """

    method: str = ""
    path: str = ""
    query: str = ""
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""
    version: str = "1.1"
    keep_alive: bool = True
    num_headers: int = 0
    problem: str = ""
    arrival_s: float = 0.0


def as_chunk(body: bytes) -> bytes:
    """Return ``body`` as one chunk of a chunked message."""
    return b"%x\r\n%b\r\n" % (len(body), body)


@lru_cache(64)
def is_number(host: str) -> bool:
    """Whether ``host`` is an address of IPv4 or IPv6, and no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def fastest_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes event loops: uvloop where it is installed."""
    try:
        uvloop: Any = import_module("uvloop")
    except ImportError:
        return asyncio.new_event_loop
    make_loop: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return make_loop
