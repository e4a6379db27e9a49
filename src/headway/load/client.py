"""Whom to ask, and a client that asks: it keeps its connections and never waits for answers."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from time import monotonic
from urllib.parse import urlsplit

from headway.errors import InputError
from headway.load.answer import Answer
from headway.load.connection import Connection
from headway.load.flight import Flight
from headway.load.plan import PATHS, Planned


class Target:
    """A server to be asked.

    Attributes:
        host: a number, so that no request waits for a name to be looked up.
        port: its port.
        head: the head of every request, up to its length.

    """

    def __init__(self, url: str, api: str, api_key: str = "") -> None:
        """Look up the host of ``url``, such as ``http://localhost:8000/v1``.

        Raises:
            InputError: it is no such address, or its host is not known.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or api not in PATHS:
            raise InputError(
                f"a server is an address such as http://localhost:8000/v1, not {url!r}"
            )
        self.url = url
        self.name = parts.hostname
        self.tls = ssl.create_default_context() if parts.scheme == "https" else None
        self.port = parts.port or (443 if self.tls else 80)
        try:
            found = socket.getaddrinfo(self.name, self.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise InputError(f"cannot find {self.name}: {error.strerror or error}") from None
        self.host = str(found[0][4][0])
        key = f"Authorization: Bearer {api_key}\r\n" if api_key else ""
        if any(c in "\r\n" for c in url + api_key):
            raise InputError("an address and a key hold no line ends")
        self.head = (
            f"POST {parts.path.rstrip('/')}{PATHS[api]} HTTP/1.1\r\nHost: {parts.netloc}\r\n{key}"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode()


class Client:
    """Sends requests to one target and keeps its connections."""

    def __init__(self, target: Target) -> None:
        """Connect to nothing yet."""
        self.target = target
        self.head = target.head
        self._idle: list[Connection] = []
        self.open: set[Connection] = set()
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    async def prepare(self, connections: int) -> None:
        """Open ``connections``, so that the first requests need not.

        Raises:
            InputError: the server takes none.

        """
        try:
            for _ in range(0, connections, 64):
                missing = min(64, connections - len(self._idle))
                self._idle += await asyncio.gather(*(self._connect() for _ in range(missing)))
        except OSError as error:
            where = f"{self.target.name}:{self.target.port}"
            raise InputError(f"cannot connect to {where}: {error.strerror or error}") from None

    def send(
        self, number: int, planned: Planned, due_s: float, done: Callable[[Answer], None]
    ) -> None:
        """Send one request now; ``done`` is called once with how it went."""
        flight = Flight(number, planned, due_s, done)
        while self._idle:
            connection = self._idle.pop()
            if not connection.transport.is_closing():
                flight.reused = connection.used
                connection.ask(flight)
                return
        task = self._loop.create_task(self._open(flight))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Close every connection; nobody wants what is still under way."""
        for connection in list(self.open):
            connection.drop()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)

    async def _connect(self) -> Connection:
        target = self.target
        _, connection = await self._loop.create_connection(
            lambda: Connection(self),
            target.host,
            target.port,
            ssl=target.tls,
            server_hostname=target.name if target.tls else None,
        )
        return connection

    async def _open(self, flight: Flight) -> None:
        began_s = monotonic()
        try:
            connection = await self._connect()
        except OSError as error:
            flight.sent_s = began_s
            flight.end(f"cannot connect: {error.strerror or error}")
            return
        connection.ask(flight, began_s)

    def free(self, connection: Connection) -> None:
        """Keep ``connection`` for the next request."""
        self._idle.append(connection)

    def again(self, flight: Flight) -> None:
        """Repeat on a new connection what met one that the server had closed."""
        flight.reused = False
        task = self._loop.create_task(self._open(flight))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
