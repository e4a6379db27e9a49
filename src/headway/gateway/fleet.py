"""The engines behind a gateway: by address, by pool, and which of them takes the next request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from headway.gateway.backend import Backend
from headway.gateway.config import GatewayConfig
from headway.schedule.route import LEAST_LOADED, Placement, ReplicaView
from headway.schedule.view import ServiceTime

LOOK_S, LOOK_AGAIN_S = 2.0, 0.2


class Fleet:
    """All engines.

    Attributes:
        backends: by address.
        placement: which of a pool's engines with room is sent the next request.
    """

    def __init__(self, placement: Placement = LEAST_LOADED) -> None:
        """No engine yet."""
        self.backends: dict[str, Backend] = {}
        self.placement = placement
        self._pools: dict[str, list[Backend]] = {}
        self._turn = 0

    def adopt(self, config: GatewayConfig, loop: asyncio.AbstractEventLoop) -> None:
        """Go by ``config``: who was there already keeps what is known of it."""
        known, self.backends = self.backends, {}
        self._pools = {pool: [] for pool in config.pools}
        for endpoint in config.endpoints:
            backend = known.pop(endpoint.url, None)
            if backend is None or backend.endpoint.host != endpoint.host:
                backend = Backend(endpoint, loop)
            backend.endpoint = endpoint
            backend.speed.most = endpoint.max_inflight
            backend.speed.usual = config.pool(endpoint.pool).service
            self.backends[endpoint.url] = backend
            self._pools[endpoint.pool].append(backend)
        for gone in known.values():
            gone.connections.close()

    def choose(
        self, pool: str, now_s: float, tried: Collection[str] = (), everything: bool = False
    ) -> Backend | None:
        """The engine of ``pool`` to send one more request to; ``None`` if none has room.

        ``everything``: whether it has room or not.
        """
        usable = [
            backend
            for backend in self._pools[pool]
            if (everything or backend.has_room)
            and backend.up(now_s)
            and backend.endpoint.url not in tried
        ]
        if len(usable) < 2:
            return usable[0] if usable else None
        self._turn += 1
        views = [ReplicaView(b.inflight, b.predicted_tokens) for b in usable]
        return usable[self.placement.choose(views, self._turn % len(views))]

    def up(self, pool: str, now_s: float) -> bool:
        """Whether any engine of ``pool`` is worth sending anything to."""
        return any(backend.up(now_s) for backend in self._pools[pool])

    def serves(self, pool: str, model: str) -> bool:
        """Whether ``pool`` is known, or may be hoped, to have ``model``."""
        return any(
            not model or not backend.models or any(m["id"] == model for m in backend.models)
            for backend in self._pools[pool]
        )

    def places(self, pool: str, now_s: float) -> int:
        """Requests that the engines of ``pool`` that are up work on at once."""
        return sum(backend.places for backend in self._pools[pool] if backend.up(now_s))

    def service(self, pool: str) -> ServiceTime:
        """What a request costs in ``pool``, by the engine of which most was seen."""
        return max(self._pools[pool], key=lambda b: b.speed.gaps.seen).speed.service

    @property
    def most_inflight(self) -> int:
        """Requests that all engines take at once at most."""
        return sum(backend.endpoint.max_inflight for backend in self.backends.values())

    @property
    def num_connections(self) -> int:
        """Open connections to engines."""
        return sum(backend.connections.num_open for backend in self.backends.values())

    def predicted_tokens(self, pool: str) -> float:
        """What the requests that run in ``pool`` are predicted to produce in all."""
        return sum(backend.predicted_tokens for backend in self._pools[pool])

    async def look_after(self, now: Callable[[], float], changed: Callable[[], None]) -> None:
        """Ask the engines how they are, for ever; ``changed`` is called when some were asked."""
        next_s: dict[str, float] = {}
        while True:
            due = [b for url, b in self.backends.items() if next_s.get(url, 0.0) <= now()]
            await asyncio.gather(*(backend.look() for backend in due))
            for backend in due:
                pause_s = LOOK_S if backend.healthy else LOOK_AGAIN_S
                next_s[backend.endpoint.url] = now() + pause_s
            if due:
                changed()
            await asyncio.sleep(LOOK_AGAIN_S)
