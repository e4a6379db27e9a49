"""One engine: its connections, what is known of it, and whether it can take another request."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from time import monotonic

from headway.gateway.config import STATIC, Endpoint
from headway.gateway.speed import Breaker, Speed
from headway.http.client import ConnectionPool, fetch
from headway.http.message import BrokenAnswerError

BOTH_S = 30.0
_GAUGE = re.compile(
    rb"^(?:vllm:num_requests|sglang:num_)_?(running|waiting|running_reqs|queue_reqs)"
    rb"(?:\{[^}]*\})?\s+([0-9.eE+]+)",
    re.MULTILINE,
)


class Backend:
    """An engine and what it is doing for this gateway.

    Attributes:
        endpoint: where it is.
        inflight: requests it has and has not answered.
        predicted_tokens: that those are predicted to produce in all.
        healthy: what the last health check said.
        models: entries of its ``/v1/models``, as it gave them.
    """

    def __init__(self, endpoint: Endpoint, loop: asyncio.AbstractEventLoop) -> None:
        """Take it to be up until it proves otherwise."""
        self.endpoint = endpoint
        tls = ssl.create_default_context() if endpoint.tls else None
        self.connections = ConnectionPool(endpoint.host, endpoint.port, tls)
        self.speed = Speed(endpoint.max_inflight)
        self.breaker = Breaker()
        self.inflight = 0
        self.predicted_tokens = 0.0
        self.healthy = True
        self.models: list[dict[str, object]] = []
        self.running: float | None = None
        self.waiting: float | None = None
        self._publishes = False
        self._both_due_s = 0.0
        self.served = 0
        self.failed = 0

    def up(self, now_s: float) -> bool:
        """Whether it is worth sending anything there."""
        return self.healthy and self.breaker.allows(now_s)

    @property
    def static(self) -> bool:
        """Whether it keeps a batch until its longest answer ends."""
        return self.endpoint.batching == STATIC

    @property
    def places(self) -> int:
        """Requests that it works on at once."""
        return self.endpoint.max_inflight if self.static else int(self.speed.limit)

    @property
    def has_room(self) -> bool:
        """Whether one more request would not wait in the engine."""
        return self.inflight == 0 if self.static else self.inflight < self.places

    def head(self, path: str, length: int, headers: bytes) -> bytes:
        """A request's head up to and including the empty line; ``headers`` are whole lines."""
        endpoint = self.endpoint
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        own = (
            b"Authorization: Bearer %b\r\n" % endpoint.api_key.encode() if endpoint.api_key else b""
        )
        return b"POST %b HTTP/1.1\r\nHost: %b:%d\r\n%b%bContent-Length: %d\r\n\r\n" % (
            (endpoint.prefix + path.removeprefix("/v1")).encode("latin-1"),
            host.encode("idna") if not host.startswith("[") else host.encode(),
            endpoint.port,
            own,
            headers,
            length,
        )

    async def look(self, timeout_s: float = 5.0) -> None:
        """Ask how it is: its metrics if it has any, else its models, now and then both.

        One question a time is a third less work in the loop that also passes on first tokens.
        """
        both = not self.healthy or monotonic() >= self._both_due_s
        if both or not self._publishes:
            answer = await self._asked(self.endpoint.prefix + "/models", timeout_s)
            self.healthy = answer is not None and answer[0] < 500
            if answer is None or not self.healthy:
                return
            if answer[0] == 200:
                self._read_models(answer[1])
        if both or self._publishes:
            answer = await self._asked("/metrics", timeout_s)
            self._publishes = (
                answer is not None and answer[0] == 200 and self.read_metrics(answer[1])
            )
            # One that had metrics a moment ago and has none now is looked at again, at once.
            self.healthy = both or self._publishes
        if both:
            self._both_due_s = monotonic() + BOTH_S

    async def _asked(self, path: str, timeout_s: float) -> tuple[int, bytes] | None:
        endpoint = self.endpoint
        lines = [f"Host: {endpoint.host}:{endpoint.port}"]
        if endpoint.api_key:
            lines.append(f"Authorization: Bearer {endpoint.api_key}")
        try:
            answer = await fetch(self.connections, path, lines, timeout_s=timeout_s)
        except (OSError, TimeoutError, BrokenAnswerError):
            return None
        return answer.status, answer.body

    def read_metrics(self, text: bytes) -> bool:
        """Read the queue of an engine that publishes it under vLLM's or SGLang's names.

        Returns whether it does.
        """
        sums: dict[bytes, float] = {}
        for match in _GAUGE.finditer(text):
            name = b"running" if match.group(1).startswith(b"running") else b"waiting"
            try:
                sums[name] = sums.get(name, 0.0) + float(match.group(2))
            except ValueError:
                return False
        if len(sums) == 2:
            self.running, self.waiting = sums[b"running"], sums[b"waiting"]
            self.speed.published(self.running, self.waiting, self.inflight)
        return len(sums) == 2

    def _read_models(self, body: bytes) -> None:
        try:
            tree = json.loads(body)
        except (ValueError, RecursionError):
            return
        listed = tree.get("data") if isinstance(tree, dict) else None
        if isinstance(listed, list):
            self.models = [entry for entry in listed if isinstance(entry, dict) and "id" in entry]
