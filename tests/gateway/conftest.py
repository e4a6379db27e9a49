"""A gateway and the engines behind it, on a loop of their own, over real sockets."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from headway.gateway.config import GatewayConfig, Limits, Timeouts
from headway.gateway.pools import Endpoint
from headway.gateway.server.gateway import Gateway
from headway.http.bounds import BOUNDS
from headway.http.descriptors import Descriptors
from headway.http.fake import FakeEngine, FakeSpeed
from headway.record.entry import Entry
from headway.record.sqlite import SqliteRecord
from headway.record.store import Store, read_entries

Value = TypeVar("Value")
QUICK = Timeouts(
    request_s=0.6, queue_s=5.0, connect_s=1.0, first_byte_s=0.6, gap_s=0.6, drain_s=5.0
)
CHAT = {"model": "fake", "messages": [{"role": "user", "content": "Say something."}]}


class Live:
    """Engines and gateways in a thread; everything is closed at the end of the test."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.loop = asyncio.new_event_loop()
        self.engines: list[FakeEngine] = []
        self.gateways: list[Gateway] = []
        self.stores: list[Store] = []
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Value]) -> Value:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def engine(self, speed: FakeSpeed | None = None, port: int = 0, **settings: Any) -> str:
        engine = FakeEngine(speed or FakeSpeed(), **settings)
        port = self.run(engine.start(port))
        self.engines.append(engine)
        return f"http://127.0.0.1:{port}/v1"

    def gateway(self, *urls: str, record: bool = True, **settings: Any) -> int:
        """Start a gateway; returns its port. Times out quickly, unless told otherwise."""
        predictor = settings.pop("predictor", None)
        endpoint = settings.pop("endpoint", {})
        max_bytes = settings.pop("max_bytes", None)
        database = settings.pop("database", None)
        wall = settings.pop("unix_s", time.time)
        descriptors = Descriptors(settings.pop("most_files", 0))
        tracing = settings.pop("tracing", None)
        bounds = settings.pop("bounds", BOUNDS)
        gateway_type: Callable[..., Gateway] = settings.pop("gateway_type", Gateway)
        settings.setdefault("timeouts", QUICK)
        settings.setdefault("limits", Limits(body_bytes=2**20))
        endpoints = settings.pop("endpoints", tuple(Endpoint(url, **endpoint) for url in urls))
        config = GatewayConfig(endpoints, port=0, **settings)
        store = Store(database or SqliteRecord(self.record, max_bytes)) if record else None

        async def start() -> int:
            gateway = gateway_type(
                config, predictor, store, unix_s=wall, descriptors=descriptors, tracing=tracing,
                bounds=bounds,
            )  # fmt: skip
            self.gateways.append(gateway)
            return await gateway.start()

        return self.run(start())

    @property
    def record(self) -> Path:
        return self.tmp_path / "live.db"

    @contextmanager
    def busy(self, port: int, **headers: str) -> Iterator[None]:
        """Let one request keep the first engine's only place; it goes away at the end."""
        gateway, engine = self.gateways[-1], self.engines[0]
        gateway.scheduler.config = replace(gateway.config, timeouts=Timeouts())
        begun = len(engine.bodies)
        body = json.dumps({"model": "fake", "messages": [{"role": "user", "content": "first 1"}]})
        with socket.create_connection(("127.0.0.1", port)) as client:
            more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            client.sendall(request_bytes(body.encode(), more=f"x-fake-fault: hang\r\n{more}"))
            self.until(lambda: len(engine.bodies) > begun)
            yield

    def fill_engines(self) -> None:
        """Let the last gateway believe that its engines have shown a queue."""
        for engine in self.gateways[-1].scheduler.fleet.engines.values():
            engine.pace.hold = 1000.0

    def entries(self, expected: int) -> list[Entry]:
        """The records, once there are at least ``expected`` that have ended."""
        entries: list[Entry] = []
        for _ in range(750):
            store = self.gateways[-1].scheduler.ledger.store
            assert store is not None
            store.flush()
            entries = [e for e in read_entries(self.record) if e.status != "open"]
            if len(entries) >= expected:
                break
            time.sleep(0.02)
        return entries

    def until(self, condition: Callable[[], bool]) -> None:
        for _ in range(2000):
            if condition():
                return
            time.sleep(0.01)
        raise AssertionError("it did not come to pass")

    def close(self) -> None:
        async def stop() -> None:
            for gateway in self.gateways:
                await gateway.stop(drain_s=0.0)
            for engine in self.engines:
                await engine.stop()
            await asyncio.sleep(0.01)

        self.run(stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    made = Live(tmp_path)
    yield made
    made.close()


def post(
    port: int,
    body: object,
    path: str = "/v1/chat/completions",
    method: str = "POST",
    **headers: str,
) -> tuple[int, dict[str, str], bytes]:
    """One request with a client that knows nothing; underscores in header names are dashes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    raw = (
        body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
    )
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, raw, {"Content-Type": "application/json", **names})
    answer = connection.getresponse()
    data = answer.read()
    found = {name.lower(): value for name, value in answer.getheaders()}
    connection.close()
    return answer.status, found, data


def get(port: int, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    return post(port, None, path, "GET", **headers)


def raw(port: int, sent: bytes, wait_s: float = 5.0) -> bytes:
    """Send bytes, return all that comes until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait_s) as client:
        client.sendall(sent)
        answer = b""
        while more := client.recv(65_536):
            answer += more
    return answer


def request_bytes(body: bytes, path: str = "/v1/chat/completions", more: str = "") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


def streamed(data: bytes) -> list[Any]:
    """The events of a stream; ``[DONE]`` as text."""
    lines = [line[6:] for line in data.decode().splitlines() if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]
