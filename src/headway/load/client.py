"""A client that asks as users do: it keeps its connections and never waits for answers.

Every token has the time at which its bytes arrived, read before they are looked at.
"""

from __future__ import annotations

import asyncio
import json
import math
import socket
import ssl
from collections.abc import Callable
from time import monotonic
from urllib.parse import urlsplit

from headway.errors import InputError, MissingServerError, reason
from headway.http.client import ClientConnection, ConnectionPool, Headers, fetch
from headway.http.events import EventReader
from headway.http.message import BrokenAnswerError
from headway.http.meter import TokenMeter
from headway.load.answer import CANCELLED, Answer
from headway.load.plan import PATHS, Planned

MAX_BODY_BYTES = 1 << 26
MODELS_TIMEOUT_S = 10.0
PURPOSE = "a load"


class Target:
    """A server to be asked.

    Attributes:
        url: as it was given, such as ``http://localhost:8000/v1``.
        host: a number, so that no request waits for a name to be looked up.
        port: its port.
        head: the head of every request, up to its length.

    """

    def __init__(self, url: str, api: str, api_key: str = "") -> None:
        """Look up the host of ``url``.

        Raises:
            InputError: it is no such address.
            MissingServerError: its host is not known.

        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or api not in PATHS:
            raise InputError(
                f"a server is an address such as http://localhost:8000/v1, not {url!r}"
            )
        if any(c in "\r\n" for c in url + api_key):
            raise InputError("an address and a key hold no line ends")

        self.url = url
        self.name = parts.hostname
        self.tls = ssl.create_default_context() if parts.scheme == "https" else None
        self.port = parts.port or (443 if self.tls else 80)
        try:
            addresses = socket.getaddrinfo(self.name, self.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise MissingServerError(PURPOSE, url, reason(error)) from None
        self.host = str(addresses[0][4][0])

        self.path = parts.path.rstrip("/")
        self.header_lines = [f"Host: {parts.netloc}"]
        if api_key:
            self.header_lines.append(f"Authorization: Bearer {api_key}")
        lines = [f"POST {self.path}{PATHS[api]} HTTP/1.1", *self.header_lines,
                 "Content-Type: application/json", "Content-Length: "]  # fmt: skip
        self.head = "\r\n".join(lines).encode()

    def pool(self) -> ConnectionPool:
        """Return a pool of connections that keeps every one for as long as the server does."""
        return ConnectionPool(
            self.host, self.port, self.tls, name=self.name, idle_s=math.inf, max_idle=1_000_000
        )


class Flight(TokenMeter):
    """One request under way, and the receiver of its answer."""

    __slots__ = (
        "_body", "_deliver", "_events", "_is_stream", "_now_s", "again", "connection", "due_s",
        "number", "planned", "sent_s", "status",
    )  # fmt: skip

    def __init__(
        self,
        number: int,
        planned: Planned,
        due_s: float,
        deliver: Callable[[Answer], None],
    ) -> None:
        """Call ``deliver`` once with how it went, or `again` if a stale connection lost it."""
        super().__init__(planned.api, keeps_times=True)
        self.number = number
        self.planned = planned
        self.connection: ClientConnection | None = None
        self.sent_s = 0.0
        self.status = 0
        self.due_s = due_s
        self.again: Callable[[Flight], None] | None = None
        self._deliver = deliver
        self._events = EventReader()
        self._is_stream = False
        self._body = b""
        self._now_s = 0.0

    # the connection's side

    def answer_begins(self, status: int, headers: Headers) -> None:
        """Take the head."""
        self.status = status
        self._is_stream = any(
            name.lower() == b"content-type" and b"event-stream" in value.lower()
            for name, value in headers
        )

    def answer_body(self, data: bytes, now_s: float, is_last: bool) -> None:
        """Take bytes of the body."""
        if self._is_stream:
            events = self._events.feed(data)
            if events:
                self.see(events, now_s)
                if self._is_enough():
                    self._cancel()
            elif self._events.held_bytes > MAX_BODY_BYTES:
                raise BrokenAnswerError("an event of the answer is too long")
            return

        self._now_s = now_s
        self._body += data
        if len(self._body) > MAX_BODY_BYTES:
            raise BrokenAnswerError("the answer is too long")

    def _is_enough(self) -> bool:
        cancel_after = self.planned.cancel_after
        return cancel_after is not None and self.num_tokens >= cancel_after

    def _cancel(self) -> None:
        """Go away, as users do."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.cancel()
            self.end(CANCELLED)

    def answer_ends(self) -> None:
        """The answer is complete."""
        self.end()

    def answer_fails(self, why: str, stale: bool) -> None:
        """There will be no more of it."""
        if stale and self.again is not None:
            self.again(self)
        else:
            self.end(why)

    def end(self, problem: str = "") -> None:
        """It is over: tell how it went."""
        if self.status not in (0, 200):
            excerpt = self._body[:200].decode("utf-8", "replace")
            problem = problem or f"status {self.status}: {excerpt}"
        elif self._is_stream:
            self.end_stream()
        elif not problem:
            # Not a stream: all its tokens came at once.
            self.read_whole(self._body, self._now_s)

        if self.error:
            problem = problem or f"the server said: {self.error[:200]}"
        if not problem and not self.num_tokens:
            problem = "the answer holds no token"
        if not problem and not self.finished:
            problem = "the answer ended early"
        self._deliver(self.answer_until_now(problem))

    def answer_until_now(self, problem: str) -> Answer:
        """Return what came so far, and what is wrong with it."""
        return Answer(
            number=self.number,
            due_s=self.due_s,
            sent_s=self.sent_s,
            token_s=tuple(self.times or ()),
            prompt_tokens=self.usage.prompt_tokens or self.planned.prompt_tokens,
            output_tokens=self.output_tokens,
            status=self.status,
            problem=problem,
        )


class Client:
    """Sends requests to one target and keeps its connections."""

    def __init__(self, target: Target) -> None:
        """Connect to nothing yet; needs a running loop."""
        self._target = target
        self._pool = target.pool()
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    async def prepare(self, connections: int) -> None:
        """Open ``connections``, so that the first requests need not.

        Raises:
            MissingServerError: the server takes none.

        """
        try:
            while (missing := connections - self._pool.num_idle) > 0:
                opening = [self._pool.open() for _ in range(min(64, missing))]
                for connection in await asyncio.gather(*opening):
                    self._pool.give_back(connection)
        except OSError as error:
            raise MissingServerError(PURPOSE, self._target.url, reason(error)) from None

    def send(self, flight: Flight) -> None:
        """Send one request now."""
        flight.again = self._send_anew
        connection = self._pool.idle()
        if connection is None:
            self._send_anew(flight)
        else:
            self._send(flight, connection, monotonic())

    async def close(self) -> None:
        """Close every connection; nobody wants what is still under way."""
        for connection in list(self._pool.connections):
            connection.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)

    def _send(self, flight: Flight, connection: ClientConnection, sent_s: float) -> None:
        body = flight.planned.body
        lines = b"%d\r\n%b\r\n" % (len(body), flight.planned.headers)
        flight.sent_s = sent_s
        flight.connection = connection
        connection.send(self._target.head + lines, body, flight)

    def _send_anew(self, flight: Flight) -> None:
        """Send over a connection that is opened for it."""
        task = self._loop.create_task(self._connect(flight))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, flight: Flight) -> None:
        # The time that it takes to connect is a part of what a user waits.
        flight.sent_s = monotonic()
        try:
            connection = await self._pool.open()
        except OSError as error:
            flight.end(f"cannot connect: {reason(error)}")
            return
        self._send(flight, connection, flight.sent_s)


def first_model(url: str, api_key: str = "") -> str:
    """Return the first model that the server at ``url`` lists.

    Raises:
        InputError: ``url`` is no address, or the server lists no model.
        MissingServerError: there is no server.

    """
    target = Target(url, "chat", api_key)

    async def ask() -> tuple[int, bytes]:
        answer = await fetch(
            target.pool(),
            target.path + "/models",
            target.header_lines,
            timeout_s=MODELS_TIMEOUT_S,
        )
        return answer.status, answer.body

    try:
        status, body = asyncio.run(ask())
    except (OSError, BrokenAnswerError) as error:
        raise MissingServerError("the name of a model", url, reason(error) or "timeout") from None
    try:
        model = json.loads(body)["data"][0]["id"]
    except (ValueError, KeyError, IndexError, TypeError):
        raise InputError(
            f"{url} lists no model (status {status}); say which with --model"
        ) from None
    return str(model)
