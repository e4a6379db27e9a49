"""gRPC's health protocol, by which a cluster learns whom to ask.

Alive is whoever answers. Ready is the one that leads, as long as it takes requests and an engine is
up: of several pickers the gateway asks that one alone.
"""

from __future__ import annotations

from collections.abc import Callable

from headway.gateway.envoy.http2 import Service, Stream

CHECK, WATCH = b"/grpc.health.v1.Health/Check", b"/grpc.health.v1.Health/Watch"
EXTERNAL_PROCESSOR = "envoy.service.ext_proc.v3.ExternalProcessor"
LIVENESS, READINESS = "liveness", "readiness"
SERVICES = ("", LIVENESS, READINESS, EXTERNAL_PROCESSOR)

SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3
NOT_FOUND = 5


class Health:
    """What is so now, and who wants to hear when it changes."""

    def __init__(self, ready: Callable[[], bool]) -> None:
        """``ready`` tells whether requests are taken."""
        self._ready = ready
        self._watches: set[_Watch] = set()
        self.services: dict[bytes, Service] = {
            CHECK: lambda stream: _Check(self, stream),
            WATCH: lambda stream: _Watch(self, stream),
        }

    def status(self, service: str) -> int:
        """Return how ``service`` is."""
        if service not in SERVICES:
            return SERVICE_UNKNOWN
        return SERVING if service == LIVENESS or self._ready() else NOT_SERVING

    def sweep(self) -> None:
        """Tell who watches what has changed."""
        for watch in list(self._watches):
            watch.tell()

    def begin(self, watch: _Watch) -> None:
        """``watch`` wants to hear."""
        self._watches.add(watch)

    def end(self, watch: _Watch) -> None:
        """It wants no more."""
        self._watches.discard(watch)


class _Check:
    """One question, one answer."""

    def __init__(self, health: Health, stream: Stream) -> None:
        self._health = health
        self._stream = stream

    def message(self, data: bytes) -> None:
        status = self._health.status(_service_of(data))
        if status == SERVICE_UNKNOWN:
            self._stream.finish(NOT_FOUND, "there is no such service")
            return
        self._stream.send(_answer(status))
        self._stream.finish()

    def closed(self) -> None:
        """It was answered already."""


class _Watch:
    """One question, answered again whenever the answer changes."""

    def __init__(self, health: Health, stream: Stream) -> None:
        self._health = health
        self._stream = stream
        self._service: str | None = None
        self._last = 0

    def message(self, data: bytes) -> None:
        self._service = _service_of(data)
        self._health.begin(self)
        self.tell()

    def tell(self) -> None:
        if self._service is None:
            return
        status = self._health.status(self._service)
        if status != self._last:
            self._last = status
            self._stream.send(_answer(status))

    def closed(self) -> None:
        self._health.end(self)


def _service_of(data: bytes) -> str:
    """Return the name in a HealthCheckRequest, whose only field it is."""
    return data[2:].decode("utf-8", "replace") if data[:1] == b"\x0a" else ""


def _answer(status: int) -> bytes:
    """Return a HealthCheckResponse."""
    return b"\x08" + bytes((status,))
