"""The engines behind a gateway: by address, by pool, and which of them takes the next request."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection

from headway.gateway.config import GatewayConfig
from headway.gateway.scheduler.engine import EngineState
from headway.gateway.scheduler.prefixes import BLOCK_CHARACTERS
from headway.gateway.scheduler.queued import QueuedRequest
from headway.schedule.route import PREFIX_WORK_LEFT, Placement, ReplicaView
from headway.schedule.view import ServiceTime

MAX_SESSIONS = 100_000


class Fleet:
    """All engines.

    Attributes:
        engines: by address.
        placement: which of a pool's engines with room is sent the next request.

    """

    def __init__(self, placement: Placement = PREFIX_WORK_LEFT) -> None:
        """No engine yet."""
        self.engines: dict[str, EngineState] = {}
        self.placement = placement
        self._pools: dict[str, list[EngineState]] = {}
        self._sessions: OrderedDict[str, str] = OrderedDict()  # the engine that each was at last
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

    # which engine

    def choose(
        self,
        pool: str,
        now_s: float,
        exclude: Collection[str] = (),
        *,
        full_too: bool = False,
        queued: QueuedRequest | None = None,
    ) -> EngineState | None:
        """Return the engine of ``pool`` for one more request; ``None`` if none has room.

        Args:
            pool: where it waits.
            now_s: on the loop's clock.
            exclude: addresses of engines that were tried.
            full_too: whether no room is asked for.
            queued: the request, so that its model and what is cached of it count.

        """
        engines = self._pools.get(pool, [])  # a reload may have removed it
        if queued is not None:
            engines = _serving(engines, queued.request.model)
        usable = [
            engine
            for engine in engines
            if (full_too or engine.has_room) and engine.is_up(now_s) and engine.url not in exclude
        ]
        if len(usable) < 2:
            return usable[0] if usable else None

        self._turn += 1
        views = [self._view(engine, queued) for engine in usable]
        return usable[self.placement.choose(views, self._turn % len(views))]

    def _view(self, engine: EngineState, queued: QueuedRequest | None) -> ReplicaView:
        cached_tokens = 0.0
        if queued is not None:
            cached_tokens = engine.prefixes.trust * self._cached_tokens(engine, queued)
        return ReplicaView(
            requests=engine.num_in_flight,
            output_tokens=engine.predicted_tokens,
            cached_tokens=int(cached_tokens),
            prompt_tokens=engine.prompt_tokens,
        )

    def _cached_tokens(self, engine: EngineState, queued: QueuedRequest) -> float:
        """Return how many tokens of its prompt ``engine`` should hold."""
        prompt_tokens = queued.request.prompt_tokens
        if queued.blocks:
            num_cached = engine.prefixes.num_cached(queued.blocks)
            return prompt_tokens * num_cached * BLOCK_CHARACTERS / len(queued.request.prompt)

        # Of prompts that are no text the session alone tells.
        is_here = queued.session and self._sessions.get(queued.session) == engine.url
        return prompt_tokens if is_here else 0.0

    def note_start(self, queued: QueuedRequest, engine: EngineState) -> None:
        """``queued`` goes to ``engine``, which will hold its prompt."""
        if len(self._pools.get(queued.pool, ())) < 2:
            return
        cached_tokens = queued.cached_tokens = self._cached_tokens(engine, queued)
        prompt_tokens = queued.request.prompt_tokens
        queued.prefill_tokens = prompt_tokens - engine.prefixes.trust * cached_tokens
        engine.prefixes.expect(prompt_tokens, cached_tokens)
        engine.prefixes.add(queued.blocks)
        if queued.session:
            self._sessions[queued.session] = engine.url
            self._sessions.move_to_end(queued.session)
            if len(self._sessions) > MAX_SESSIONS:
                self._sessions.popitem(last=False)

    # models

    def kind(self, pool: str, model: str) -> str:
        """Return ``model`` where only some engines of ``pool`` have it; else nothing."""
        engines = self._pools.get(pool, [])
        return "" if len(_serving(engines, model)) == len(engines) else model

    def has_room(self, pool: str, kind: str, now_s: float) -> bool:
        """Return whether an engine of ``pool`` takes one more request of ``kind``."""
        return any(
            engine.has_room and engine.is_up(now_s)
            for engine in _serving(self._pools.get(pool, []), kind)
        )

    def is_up(self, pool: str, now_s: float, model: str = "") -> bool:
        """Return whether any engine of ``pool`` that has ``model`` is worth sending anything to."""
        return any(engine.is_up(now_s) for engine in _serving(self._pools[pool], model))

    def has_up(self, model: str, now_s: float) -> bool:
        """Return whether an engine of any pool has ``model`` and is worth sending anything to."""
        engines = self.engines.values()
        return any(engine.may_serve(model) and engine.is_up(now_s) for engine in engines)

    def may_serve(self, pool: str, model: str) -> bool:
        """Return whether ``pool`` has ``model``, or may be hoped to."""
        return any(engine.may_serve(model) for engine in self._pools[pool])

    # what pools do

    def places(self, pool: str, now_s: float) -> int:
        """Return the requests that the engines of ``pool`` that are up work on at once."""
        return sum(engine.places for engine in self._pools[pool] if engine.is_up(now_s))

    def running(self, pool: str) -> int:
        """Return the requests that the engines of ``pool`` have."""
        return sum(engine.num_in_flight for engine in self._pools[pool])

    def service(self, pool: str) -> ServiceTime:
        """Return what a request costs in ``pool``, by the engine with the most answers."""
        engines = self._pools[pool]
        if not engines:  # none was discovered yet
            return ServiceTime()
        return max(engines, key=lambda engine: engine.pace.tpot_line.num_points).pace.service

    def predicted_tokens(self, pool: str) -> float:
        """Return what the requests that run in ``pool`` are predicted to produce in all."""
        return sum(engine.predicted_tokens for engine in self._pools[pool])

    def running_s(self, pool: str) -> float:
        """Return the seconds of service that what runs in ``pool`` is predicted to take."""
        service = self.service(pool)
        prompt_tokens = sum(engine.prompt_tokens for engine in self._pools[pool])
        output_s = service.output_token_s * self.predicted_tokens(pool)
        return service.prompt_token_s * prompt_tokens + output_s

    @property
    def max_in_flight(self) -> int:
        """Requests that all engines may be given at once at most."""
        return sum(engine.endpoint.max_inflight for engine in self.engines.values())


def _serving(engines: list[EngineState], model: str) -> list[EngineState]:
    """Return those of ``engines`` that have ``model``; all, where none says that it does.

    Some engines take any name, and one that does not says so better than we could.
    """
    if not model:
        return engines
    return [engine for engine in engines if engine.may_serve(model)] or engines
