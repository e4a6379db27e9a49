"""The engines as servers: their connections, and what they say of themselves when asked."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import ssl
from collections.abc import Callable
from time import monotonic

from headway.gateway.config import GatewayConfig
from headway.gateway.dialects import EngineQueue, queue_of
from headway.gateway.pools import Endpoint
from headway.gateway.scheduler.engine import EngineState
from headway.gateway.scheduler.fleet import Fleet
from headway.http.bounds import BOUNDS
from headway.http.client import ConnectionPool, WholeAnswer, fetch
from headway.http.message import BrokenAnswerError
from headway.http.passes import IS_POSSIBLE, Passes

LOOK_S, LOOK_AGAIN_S = 2.0, 0.2
FULL_LOOK_S = 30.0
_log = logging.getLogger("headway.gateway")


class Backend:
    """One engine as a server.

    Attributes:
        state: what the scheduler knows of it.
        connections: to it.
        queue: what its metrics told at the last look; ``None`` where it has none.

    """

    def __init__(self, state: EngineState, passes: Passes | None = None) -> None:
        """Connect to nothing yet; its answers may be read in ``passes``."""
        self.state = state
        endpoint = state.endpoint
        tls = ssl.create_default_context() if endpoint.tls else None
        self.connections = ConnectionPool(endpoint.host, endpoint.port, tls, passes=passes)
        self.queue: EngineQueue | None = None
        self._head_lines: tuple[Endpoint, bytes] | None = (
            None  # of every request, for this endpoint
        )
        self._in_doubt = asyncio.Event()
        self._publishes = False  # whether it had metrics at the last look
        self._is_above = False  # whether its API is not at its address, but below /v1 of it
        self._full_look_due_s = 0.0

    @property
    def endpoint(self) -> Endpoint:
        """Where it is."""
        return self.state.endpoint

    def head(self, path: str, num_bytes: int, lines: bytes, *, method: str = "POST") -> bytes:
        """Return a request's head, for a body of ``num_bytes``; ``lines`` are whole headers.

        A ``path`` below ``/v1`` is below the backend's own, any other is at the root of its host.
        """
        endpoint = self.endpoint
        if self._head_lines is None or self._head_lines[0] is not endpoint:
            self._head_lines = endpoint, _head_lines(endpoint)
        if path.startswith("/v1/"):
            path = endpoint.prefix + path.removeprefix("/v1")
        return b"%b %b HTTP/1.1\r\n%b%bContent-Length: %d\r\n\r\n" % (
            method.encode(), path.encode("latin-1"), self._head_lines[1], lines, num_bytes,
        )  # fmt: skip

    async def look(self, timeout_s: float = BOUNDS.look_s) -> None:
        """Ask how it is: its metrics if it has any, else its models, now and then both.

        One question a time is a third less work in the loop that also passes on first tokens.
        """
        state = self.state
        is_full = not state.healthy or monotonic() >= self._full_look_due_s
        if is_full or not self._publishes:
            answer = await self._get(self.endpoint.prefix + "/models", timeout_s)
            self._is_above = (
                answer is not None and answer.status == 404 and await self._is_above_api(timeout_s)
            )
            is_good = answer is not None and answer.status < 500 and not self._is_above
            state.note_health(is_good, monotonic())
            if answer is None or not is_good:
                return
            if answer.status == 200:
                models = _models_in(answer.body)
                state.models = state.models if models is None else models

        if is_full or self._publishes:
            answer = await self._get("/metrics", timeout_s)
            self._publishes = (
                answer is not None and answer.status == 200 and self.read_metrics(answer.body)
            )
            # One that had metrics a moment ago and has none now is looked at again, at once.
            state.note_health(is_full or self._publishes, monotonic())
        if is_full:
            self._full_look_due_s = monotonic() + FULL_LOOK_S

    async def look_for_ever(self, changed: Callable[[], None]) -> None:
        """Look again and again, sooner while the engine is down or fails requests."""
        while True:
            try:
                await self.look()
            except Exception:  # whatever an engine answers, it is looked at again
                _log.exception("cannot ask %s how it is", self.endpoint.url)
                self.state.note_health(is_good=False, now_s=monotonic())
            changed()

            is_well = self.state.healthy and not self.state.breaker.failures
            self._in_doubt.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S if is_well else LOOK_AGAIN_S):
                    await self._in_doubt.wait()
                await asyncio.sleep(LOOK_AGAIN_S)

    async def introduction(self) -> str:
        """Look once, and return in words what is there."""
        await self.look()
        url, state = self.endpoint.url, self.state
        if self._is_above:
            return f"{url} lists no models, but {url.rstrip('/')}/v1 does: is that its address?"
        if not state.healthy:
            return f"{url} does not answer; requests wait until it does"
        if state.models:
            names = ", ".join(str(entry["id"]) for entry in state.models[:5])
            more = f" and {len(state.models) - 5} more" if len(state.models) > 5 else ""
            return f"{url} answers with {names}{more}"
        return f"{url} answers, but lists no models"

    async def _is_above_api(self, timeout_s: float) -> bool:
        """Return whether its API is below ``/v1`` of its address: every request would meet 404."""
        if self.endpoint.prefix.endswith("/v1"):
            return False
        answer = await self._get(self.endpoint.prefix + "/v1/models", timeout_s)
        return answer is not None and answer.status == 200

    def doubt(self) -> None:
        """A request has failed there: look soon."""
        self._in_doubt.set()

    def read_metrics(self, text: bytes) -> bool:
        """Learn from an engine's own metrics; return whether they tell its queue."""
        queue = self.queue = queue_of(text)
        if queue is None:
            return False
        state = self.state
        state.pace.record_queue(queue.running, queue.waiting, state.num_in_flight)
        if queue.prompt_tokens is not None and queue.cached_tokens is not None:
            state.note_cached(queue.prompt_tokens, queue.cached_tokens)
        return True

    async def _get(self, path: str, timeout_s: float) -> WholeAnswer | None:
        endpoint = self.endpoint
        lines = [f"Host: {endpoint.host}:{endpoint.port}"]
        if endpoint.api_key:
            lines.append(f"Authorization: Bearer {endpoint.api_key}")
        try:
            return await fetch(self.connections, path, lines, timeout_s=timeout_s)
        except (OSError, TimeoutError, BrokenAnswerError):
            return None


def _head_lines(endpoint: Endpoint) -> bytes:
    """Return the header lines of every request to ``endpoint``."""
    is_number = ":" in endpoint.host
    host = f"[{endpoint.host}]".encode() if is_number else endpoint.host.encode("idna")
    key = f"Authorization: Bearer {endpoint.api_key}\r\n" if endpoint.api_key else ""
    return b"Host: %b:%d\r\n%b" % (host, endpoint.port, key.encode())


def _models_in(body: bytes) -> list[dict[str, object]] | None:
    try:
        tree = json.loads(body)
    except (ValueError, RecursionError):
        return None
    entries = tree.get("data") if isinstance(tree, dict) else None
    if not isinstance(entries, list):
        return None
    return [entry for entry in entries if isinstance(entry, dict) and "id" in entry]


class Backends:
    """All engines as servers.

    Attributes:
        passes: in which their answers are read once nobody waits for the first token.

    """

    def __init__(self, fleet: Fleet) -> None:
        """Connect to the engines of ``fleet``."""
        self._fleet = fleet
        self.passes = Passes() if IS_POSSIBLE else None
        self._by_url: dict[str, Backend] = {}

    def __getitem__(self, url: str) -> Backend:
        """Return the engine at ``url``."""
        return self._by_url[url]

    def adopt(self, config: GatewayConfig) -> None:
        """Follow the fleet, which goes by ``config`` already."""
        before = self._by_url
        self._by_url = {
            url: before.get(url) or Backend(state, self.passes)
            for url, state in self._fleet.engines.items()
        }
        for url in before.keys() - self._by_url.keys():
            before[url].connections.close()

    async def introductions(self) -> list[str]:
        """Look at every engine once, and return in words what is there."""
        return await asyncio.gather(*(each.introduction() for each in self._by_url.values()))

    @property
    def num_connections(self) -> int:
        """Open connections to engines."""
        return sum(backend.connections.num_open for backend in self._by_url.values())

    def close(self) -> None:
        """Close the connections that are free."""
        for backend in self._by_url.values():
            backend.connections.close()
        if self.passes is not None:
            self.passes.close()

    async def look_after(self, changed: Callable[[], None]) -> None:
        """Ask every engine how it is, for ever; ``changed`` is called after each answer.

        Each engine has a task of its own: what one does keeps none of the others waiting.
        """
        tasks: dict[Backend, asyncio.Task[None]] = {}
        try:
            while True:
                backends = set(self._by_url.values())
                for backend in tasks.keys() - backends:
                    tasks.pop(backend).cancel()
                for backend in backends:
                    if backend not in tasks or tasks[backend].done():
                        tasks[backend] = asyncio.create_task(backend.look_for_ever(changed))
                await asyncio.sleep(LOOK_AGAIN_S)
        finally:
            for task in tasks.values():
                task.cancel()
