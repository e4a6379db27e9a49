"""The connections to one engine: used again while they are fresh."""

from __future__ import annotations

import asyncio
import ssl
from time import monotonic

from headway.gateway.config import Endpoint
from headway.gateway.upstream import Connection

MOST_IDLE = 1024
IDLE_S = 30.0


class Connections:
    """The connections to one engine.

    Attributes:
        num_open: how many there are, in use or free.
    """

    def __init__(self, endpoint: Endpoint, loop: asyncio.AbstractEventLoop) -> None:
        """Open nothing yet."""
        self._endpoint = endpoint
        self._loop = loop
        self._idle: list[Connection] = []
        self.num_open = 0
        self._tls = ssl.create_default_context() if endpoint.tls else None

    def idle(self) -> Connection | None:
        """The connection used last that is free, if there is one."""
        now_s = monotonic()
        while self._idle:
            connection = self._idle.pop()
            if connection.transport.is_closing():
                continue
            if now_s - connection.idle_since_s > IDLE_S:
                connection.transport.close()  # engines close idle ones without a word
                continue
            connection.reused = True
            return connection
        return None

    async def open(self, timeout_s: float) -> Connection:
        """A new connection; raises `OSError` or `TimeoutError` if there is none to be had."""
        async with asyncio.timeout(timeout_s):
            _, connection = await self._loop.create_connection(
                lambda: Connection(self), self._endpoint.host, self._endpoint.port, ssl=self._tls
            )
        return connection

    def give_back(self, connection: Connection) -> None:
        """Keep ``connection`` for the next request."""
        if len(self._idle) < MOST_IDLE and not connection.transport.is_closing():
            connection.idle_since_s = monotonic()
            self._idle.append(connection)
        else:
            connection.transport.close()

    def made(self, connection: Connection) -> None:
        """Count a connection that is open."""
        self.num_open += 1

    def lost(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        self.num_open -= 1
        if connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._idle.pop().transport.close()
