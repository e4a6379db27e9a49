"""The engines behind a gateway: by address, by pool, and which of them takes the next request."""

from __future__ import annotations

from collections.abc import Collection

from headway.gateway.config import GatewayConfig
from headway.gateway.scheduler.engine import EngineState
from headway.schedule.route import LEAST_LOADED, Placement, ReplicaView
from headway.schedule.view import ServiceTime


class Fleet:
    """All engines.

    Attributes:
        engines: by address.
        placement: which of a pool's engines with room is sent the next request.

    """

    def __init__(self, placement: Placement = LEAST_LOADED) -> None:
        """No engine yet."""
        self.engines: dict[str, EngineState] = {}
        self.placement = placement
        self._pools: dict[str, list[EngineState]] = {}
        self._turn = 0

    def adopt(self, config: GatewayConfig) -> None:
        """Go by ``config``; an engine that stays keeps what was learned of it."""
        before, self.engines = self.engines, {}
        self._pools = {pool: [] for pool in config.pools}
        for endpoint in config.endpoints:
            expected = config.service(endpoint.pool)
            engine = before.get(endpoint.url) or EngineState(endpoint, expected)
            engine.reconfigure(endpoint, expected)
            self.engines[endpoint.url] = engine
            self._pools[endpoint.pool].append(engine)

    def choose(
        self, pool: str, now_s: float, exclude: Collection[str] = (), *, full_too: bool = False
    ) -> EngineState | None:
        """Return the engine of ``pool`` for one more request; ``None`` if none has room.

        ``exclude`` are addresses of engines that were tried; ``full_too`` asks for no room.
        """
        usable = [
            engine
            for engine in self._pools.get(pool, ())  # a reload may have removed it
            if (full_too or engine.has_room) and engine.is_up(now_s) and engine.url not in exclude
        ]
        if len(usable) < 2:
            return usable[0] if usable else None

        self._turn += 1
        views = [ReplicaView(e.num_in_flight, e.predicted_tokens) for e in usable]
        return usable[self.placement.choose(views, self._turn % len(views))]

    def is_up(self, pool: str, now_s: float) -> bool:
        """Return whether any engine of ``pool`` is worth sending anything to."""
        return any(engine.is_up(now_s) for engine in self._pools[pool])

    def may_serve(self, pool: str, model: str) -> bool:
        """Return whether ``pool`` has ``model``, or may be hoped to."""
        return any(engine.may_serve(model) for engine in self._pools[pool])

    def places(self, pool: str, now_s: float) -> int:
        """Return the requests that the engines of ``pool`` that are up work on at once."""
        return sum(engine.places for engine in self._pools[pool] if engine.is_up(now_s))

    def service(self, pool: str) -> ServiceTime:
        """Return what a request costs in ``pool``, by the engine with the most answers."""
        best = max(self._pools[pool], key=lambda engine: engine.pace.tpot_line.num_points)
        return best.pace.service

    def predicted_tokens(self, pool: str) -> float:
        """Return what the requests that run in ``pool`` are predicted to produce in all."""
        return sum(engine.predicted_tokens for engine in self._pools[pool])

    @property
    def max_in_flight(self) -> int:
        """Requests that all engines may be given at once at most."""
        return sum(engine.endpoint.max_inflight for engine in self.engines.values())
