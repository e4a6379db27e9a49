"""A server with known delays, against which the client's own clock is checked.

It stamps, on the machine's monotonic clock, when each request came in and when its first token
went out. What the client measured beyond that is the client's error (and the kernel's, which no
client can avoid): ``headway load --check-clock``.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import multiprocessing
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from time import monotonic
from typing import NamedTuple

from headway.http.alarm import Alarm
from headway.http.small import (
    LAST_CHUNK,
    STREAM_HEAD,
    Incoming,
    ServerConnection,
    as_chunk,
    fastest_loop,
)


def _event(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "known", "choices": [choice]}).encode() + b"\n\n"


_TOKEN = as_chunk(_event("tok "))
_END = as_chunk(_event("", "stop")) + as_chunk(b"data: [DONE]\n\n") + LAST_CHUNK


class _Answer(NamedTuple):
    connection: ServerConnection
    came_s: float


class KnownServer:
    """Answers with ``tokens`` tokens, the first after ``ttft_s``, then one every ``itl_s``."""

    def __init__(self, ttft_s: float, itl_s: float, tokens: int) -> None:
        """Serve nothing yet."""
        self.ttft_s = ttft_s
        self.itl_s = itl_s
        self.tokens = tokens
        self.stamps: list[float] = []  # server's TTFTs
        self._due: list[tuple[float, int, _Answer, int]] = []
        self._number = 0
        self._armed_s = float("inf")

    async def start(self) -> int:
        """Listen; returns the port."""
        loop = asyncio.get_running_loop()
        self._alarm = Alarm(self._ring)
        server = await loop.create_server(
            lambda: ServerConnection(self), "127.0.0.1", 0, backlog=16_384
        )
        port: int = server.sockets[0].getsockname()[1]
        return port

    def received(self, connection: ServerConnection, incoming: Incoming) -> None:
        """A request is complete."""
        if incoming.method == "POST":
            self._later(incoming.came_s + self.ttft_s, _Answer(connection, incoming.came_s), 0)
            return
        found = incoming.path.endswith("/models")
        body = b'{"object": "list", "data": [{"id": "known", "object": "model"}]}'
        connection.answer(200 if found else 404, b"application/json", body)

    def gone(self, connection: ServerConnection) -> None:
        """A client has disconnected: what it is still due is thrown away when its time comes."""

    def _later(self, when_s: float, answer: _Answer, token: int) -> None:
        self._number += 1
        heapq.heappush(self._due, (when_s, self._number, answer, token))
        if when_s < self._armed_s:
            self._armed_s = when_s
            self._alarm.set(when_s)

    def _ring(self) -> None:
        due = self._due
        while due and due[0][0] <= monotonic():
            when_s, _, answer, token = heapq.heappop(due)
            connection = answer.connection
            if connection.transport.is_closing():
                continue
            if token == 0:
                now_s = monotonic()
                self.stamps.append(now_s - answer.came_s)
                text = f"{answer.came_s:.7f} {now_s:.7f} "
                connection.write(STREAM_HEAD + as_chunk(_event(text)))
            else:
                connection.write(_TOKEN)
            if token + 1 < self.tokens:
                self._later(when_s + self.itl_s, answer, token + 1)
            else:
                connection.write(_END)
                connection.finish()
        self._armed_s = due[0][0] if due else float("inf")
        if due:
            self._alarm.set(self._armed_s)


def _serve(pipe: Connection, ttft_s: float, itl_s: float, tokens: int) -> None:
    async def main() -> None:
        server = KnownServer(ttft_s, itl_s, tokens)
        pipe.send(await server.start())
        while True:
            try:
                # In a thread: a loop would make the pipe non-blocking, and long answers fail.
                question = await asyncio.to_thread(pipe.recv)
            except EOFError:
                return
            if question == "stop":
                return
            pipe.send(server.stamps)
            server.stamps = []

    with asyncio.Runner(loop_factory=fastest_loop()) as runner:
        runner.run(main())
    sys.exit(0)


class Known:
    """A known server in a process of its own."""

    def __init__(self, port: int, pipe: Connection) -> None:
        """Speak to the process through ``pipe``."""
        self.url = f"http://127.0.0.1:{port}/v1"
        self._pipe = pipe

    def ttfts_s(self) -> list[float]:
        """The server's own TTFTs since the last question: from a request's bytes to its token's."""
        self._pipe.send("stamps")
        stamps: list[float] = self._pipe.recv()
        return stamps


@contextmanager
def known_server(ttft_s: float = 0.05, itl_s: float = 0.01, tokens: int = 32) -> Iterator[Known]:
    """Run a server with these delays in another process for as long as the block lasts."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, ttft_s, itl_s, tokens), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Known(ours.recv(), ours)
    finally:
        ours.send("stop")
        process.join(5)
        if process.is_alive():
            process.kill()
