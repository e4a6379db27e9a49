"""Engines that come and go: all addresses of a DNS name, or the lines of a file, asked again.

What is discovered joins the engines that the configuration names. A name that does not resolve, or
a file that cannot be read, changes nothing: engines are taken away only by an answer.
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
from headway.gateway.pools import Endpoint
from headway.units import check_positive

_log = logging.getLogger("headway.gateway")


@dataclass(frozen=True, slots=True)
class Discovery:
    """Where engines are found.

    Attributes:
        dns: an address such as ``http://engines.default.svc:8000/v1``: each number that its name
            resolves to is an engine; or else
        file: of one address a line; ``#`` begins a comment.
        every_s: seconds between two looks.
        pool: that they belong to.
        max_inflight: requests that each is given at once at most.

    """

    dns: str = ""
    file: str = ""
    every_s: float = 5.0
    pool: str = "main"
    max_inflight: int = 10_000

    def __post_init__(self) -> None:
        if bool(self.dns) == bool(self.file):
            raise InputError("discover needs dns, an address, or file, a path; and not both")
        check_positive(self.every_s, "every_s of discover", maximum=86_400)
        if self.dns and urlsplit(self.dns).scheme != "http":
            raise InputError(
                "a name that is resolved to numbers is asked over http, as no certificate names "
                f"a number: discover cannot use {self.dns!r}"
            )
        if self.dns:
            self._endpoint(self.dns)

    def _endpoint(self, url: str) -> Endpoint:
        return Endpoint(url, max_inflight=self.max_inflight, pool=self.pool)

    async def endpoints(self) -> tuple[Endpoint, ...]:
        """Return the engines that there are now.

        Raises:
            OSError: the name does not resolve, or the file cannot be read.
            InputError: a line of the file is no address.

        """
        if self.file:
            text = await asyncio.to_thread(Path(self.file).read_text, "utf-8")
            lines = [line.partition("#")[0].strip() for line in text.splitlines()]
            return tuple(self._endpoint(url) for url in dict.fromkeys(filter(None, lines)))

        parts, loop = urlsplit(self.dns), asyncio.get_running_loop()
        host, port = parts.hostname or "", parts.port or 80
        addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        numbers = sorted({str(address[0]) for *_, address in addresses})
        urls = [
            urlunsplit(parts._replace(netloc=f"[{n}]:{port}" if ":" in n else f"{n}:{port}"))
            for n in numbers
        ]
        return tuple(self._endpoint(url) for url in urls)


class Lookout:
    """Looks again and again, and tells when engines have come or gone.

    Attributes:
        endpoints: that were discovered last.

    """

    def __init__(
        self, discoveries: tuple[Discovery, ...], changed: Callable[[], None] = lambda: None
    ) -> None:
        """Nothing is discovered yet; ``changed`` is called when that is other than before."""
        self._discoveries = discoveries
        self._changed = changed
        self._by_place: dict[Discovery, tuple[Endpoint, ...]] = {}

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The engines, each once."""
        endpoints = [endpoint for place in self._by_place.values() for endpoint in place]
        return tuple({endpoint.url: endpoint for endpoint in endpoints}.values())

    async def look(self, discovery: Discovery) -> None:
        """Ask once; what goes wrong leaves all as it was."""
        before = self.endpoints
        try:
            self._by_place[discovery] = await discovery.endpoints()
        except (OSError, InputError, UnicodeError) as error:
            _log.warning(
                "cannot discover engines in %s: %s", discovery.dns or discovery.file, error
            )
            return
        if self.endpoints != before:
            urls = ", ".join(endpoint.url for endpoint in self.endpoints) or "none"
            _log.info("discovered engines: %s", urls)
            self._changed()

    async def look_for_ever(self) -> None:
        """Ask every place, each as often as it says."""

        async def watch(discovery: Discovery) -> None:
            while True:
                await asyncio.sleep(discovery.every_s)
                await self.look(discovery)

        await asyncio.gather(*(watch(discovery) for discovery in self._discoveries))


def union(own: tuple[Endpoint, ...], more: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    """Return the engines of a configuration and those that were discovered, each once."""
    by_url = {endpoint.url: endpoint for endpoint in (*more, *own)}
    return tuple(by_url.values())
