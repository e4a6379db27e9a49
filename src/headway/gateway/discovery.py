"""Engines that come and go: addresses of a DNS name, lines of a file, pods of a service.

What is discovered joins the engines that the configuration names. A name that does not resolve, a
file that cannot be read, or an API that is away changes nothing: engines are taken away only by an
answer.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from headway.errors import InputError
from headway.gateway.kubernetes import ClusterApi, ServiceEngines
from headway.gateway.pools import Endpoint
from headway.http.message import BrokenAnswerError
from headway.units import check_positive

_log = logging.getLogger("headway.gateway")
WATCH_AGAIN_S = 0.1
_PROBLEMS = (OSError, InputError, UnicodeError, BrokenAnswerError)  # `TimeoutError` is an `OSError`


@dataclass(frozen=True, slots=True)
class Discovery:
    """Where engines are found.

    Attributes:
        dns: an address such as ``http://engines.default.svc:8000/v1``: each number that its name
            resolves to is an engine; or else
        file: of one address a line; ``#`` begins a comment; or else
        service: an address such as ``http://vllm.default:8000/v1``: the ready pods of the service
            ``vllm`` in the namespace ``default`` of the cluster that the gateway runs in.
        every_s: seconds between two looks; a service is watched, and asked again when that ends.
        pool: that they belong to.
        max_inflight: requests that each is given at once at most.

    """

    dns: str = ""
    file: str = ""
    service: str = ""
    every_s: float = 5.0
    pool: str = "main"
    max_inflight: int = 10_000

    def __post_init__(self) -> None:
        if bool(self.dns) + bool(self.file) + bool(self.service) != 1:
            raise InputError(
                "discover needs one of dns, an address, file, a path, or service, an address, "
                "and not two"
            )
        check_positive(self.every_s, "every_s of discover", maximum=86_400)
        if self.dns and urlsplit(self.dns).scheme != "http":
            raise InputError(
                "a name that is resolved to numbers is asked over http, as no certificate names "
                f"a number: discover cannot use {self.dns!r}"
            )
        if self.dns:
            self.endpoint(self.dns)
        if self.service:
            ServiceEngines(self.service, ClusterApi(""))

    @property
    def place(self) -> str:
        """Where, in a word."""
        return self.dns or self.file or self.service

    def endpoint(self, url: str) -> Endpoint:
        """Return the engine at ``url``."""
        return Endpoint(url, max_inflight=self.max_inflight, pool=self.pool)

    async def addresses(self) -> tuple[str, ...]:
        """Return those of the engines that there are now, of a name or a file.

        Raises:
            OSError: the name does not resolve, or the file cannot be read.

        """
        if self.file:
            text = await asyncio.to_thread(Path(self.file).read_text, "utf-8")
            lines = [line.partition("#")[0].strip() for line in text.splitlines()]
            return tuple(dict.fromkeys(filter(None, lines)))

        parts, loop = urlsplit(self.dns), asyncio.get_running_loop()
        host, port = parts.hostname or "", parts.port or 80
        addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        numbers = sorted({str(address[0]) for *_, address in addresses})
        return tuple(
            urlunsplit(parts._replace(netloc=f"[{n}]:{port}" if ":" in n else f"{n}:{port}"))
            for n in numbers
        )


class Lookout:
    """Looks again and again, and tells when engines have come or gone.

    Attributes:
        endpoints: that were discovered last.

    """

    def __init__(
        self,
        discoveries: tuple[Discovery, ...],
        changed: Callable[[], None] = lambda: None,
        api: ClusterApi | None = None,
    ) -> None:
        """Nothing is discovered yet.

        Args:
            discoveries: where to look.
            changed: is called when what is discovered is other than before.
            api: of the cluster; that of this pod, if it is not given.

        Raises:
            InputError: a service is to be discovered, and this is no pod.

        """
        self._discoveries = discoveries
        self._changed = changed
        self._by_place: dict[Discovery, tuple[Endpoint, ...]] = {}
        self._services = {
            discovery: ServiceEngines(discovery.service, api or ClusterApi.of_pod())
            for discovery in discoveries
            if discovery.service
        }

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The engines, each once."""
        endpoints = [endpoint for place in self._by_place.values() for endpoint in place]
        return tuple({endpoint.url: endpoint for endpoint in endpoints}.values())

    async def look(self, discovery: Discovery) -> None:
        """Ask once; what goes wrong leaves all as it was."""
        service = self._services.get(discovery)
        try:
            self._adopt(discovery, await (service.list() if service else discovery.addresses()))
        except _PROBLEMS as error:
            _log.warning("cannot discover engines in %s: %s", discovery.place, error)

    def _adopt(self, discovery: Discovery, addresses: tuple[str, ...]) -> None:
        before = self.endpoints
        self._by_place[discovery] = tuple(map(discovery.endpoint, addresses))
        if self.endpoints != before:
            urls = ", ".join(endpoint.url for endpoint in self.endpoints) or "none"
            _log.info("discovered engines: %s", urls)
            self._changed()

    async def look_for_ever(self) -> None:
        """Ask every place, each as often as it says."""
        await asyncio.gather(*(self._follow(discovery) for discovery in self._discoveries))

    async def _follow(self, discovery: Discovery) -> None:
        service = self._services.get(discovery)
        while True:
            if service is not None:
                await self._watch(discovery, service)
            await asyncio.sleep(discovery.every_s)
            await self.look(discovery)

    async def _watch(self, discovery: Discovery, service: ServiceEngines) -> None:
        """Follow what changes; return when it must be listed anew."""
        try:
            while True:
                async for addresses in service.changes():
                    self._adopt(discovery, addresses)
                await asyncio.sleep(WATCH_AGAIN_S)
        except _PROBLEMS as error:
            _log.info("%s is asked anew: %s", discovery.place, error)


def union(own: tuple[Endpoint, ...], more: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    """Return the engines of a configuration and those that were discovered, each once."""
    by_url = {endpoint.url: endpoint for endpoint in (*more, *own)}
    return tuple(by_url.values())
