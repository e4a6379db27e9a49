"""An engine on a loop of its own, over real sockets; its steps take as long as a test says."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from headway.engines.batch import Pipeline, in_thread
from headway.engines.server import EngineServer
from headway.engines.timed import TimedPipeline
from headway.steptime.step_time import RequestOverhead
from headway.steptime.time_estimate import Basis, TimeEstimate
from headway.workload.step import Step

Value = TypeVar("Value")


class Linear:
    """A step takes ``fixed_s``, and ``token_s`` for each of its tokens."""

    def __init__(self, fixed_s: float = 1e-4, token_s: float = 0.0) -> None:
        self.fixed_s, self.token_s = fixed_s, token_s

    def step_time(self, step: Step) -> TimeEstimate:
        seconds = self.fixed_s + self.token_s * step.total_tokens
        return TimeEstimate(seconds, seconds, seconds, Basis.ASSUMED)

    @property
    def request_overhead(self) -> RequestOverhead:
        return RequestOverhead()


class Served:
    """Engines in a thread; everything is closed at the end of the test."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._servers: list[EngineServer] = []
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Value]) -> Value:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def engine(self, pipeline: Pipeline | None = None, max_num_seqs: int = 16) -> int:
        """Start one; returns its port."""

        async def make() -> int:
            pipe = in_thread(pipeline or TimedPipeline(Linear()), max_num_seqs)
            server = EngineServer(pipe, "timed")
            self._servers.append(server)
            return await server.start()

        return self.run(make())

    def close(self) -> None:
        for server in self._servers:
            self.run(server.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.close()


def ask(
    port: int, path: str, tree: dict[str, Any] | None = None, **headers: str
) -> tuple[int, bytes]:
    """Status and body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        if tree is None:
            connection.request("GET", path)
        else:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request("POST", path, json.dumps(tree), named)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def gauges(port: int) -> dict[str, float]:
    """Everything on ``/metrics``."""
    lines = ask(port, "/metrics")[1].decode().splitlines()
    rows = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name.partition("{")[0]: float(value) for name, value in rows}
