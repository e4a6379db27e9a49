"""Which engine takes the next request."""

from __future__ import annotations

import asyncio

from headway.gateway.config import GatewayConfig
from headway.gateway.pools import Endpoint
from headway.gateway.scheduler.fleet import Fleet
from headway.gateway.scheduler.queued import Outcome, QueuedRequest
from headway.gateway.scheduler.scheduler import Scheduler
from headway.workload.request import Request

FAST = Endpoint("http://fast/v1", max_inflight=2, pool="fast")
SLOW = Endpoint("http://slow/v1", max_inflight=2, pool="slow")


def test_an_engine_that_stays_keeps_what_was_learned() -> None:
    fleet = Fleet()
    fleet.adopt(GatewayConfig((FAST, SLOW)))
    engine = fleet.engines[FAST.url]
    engine.begin(100.0)
    fleet.adopt(GatewayConfig((FAST,)))
    assert fleet.engines == {FAST.url: engine}
    assert engine.num_in_flight == 1


def test_a_full_engine_takes_only_what_does_not_wait() -> None:
    fleet = Fleet()
    fleet.adopt(GatewayConfig((FAST,)))
    engine = fleet.engines[FAST.url]
    for _ in range(2):
        assert fleet.choose("fast", 0.0) is engine
        engine.begin(1.0)
    assert fleet.choose("fast", 0.0) is None
    assert fleet.choose("fast", 0.0, full_too=True) is engine
    assert fleet.choose("fast", 0.0, {FAST.url}, full_too=True) is None
    engine.finish(1.0, answered=True)
    assert fleet.choose("fast", 0.0) is engine


def test_a_request_whose_pool_was_removed_has_no_other_engine() -> None:
    """A scheduler needs no socket: requests and engines are values to it."""

    async def scene() -> None:
        scheduler = Scheduler(GatewayConfig((FAST, SLOW)))
        scheduler.adopt(scheduler.config)
        queued = QueuedRequest(Request("a", 0.0, "x", 1))
        queued.carrier = Nowhere()
        scheduler.enter(queued, "slow")
        queued.note_attempt(scheduler.fleet.engines[SLOW.url], 0.0)
        scheduler.adopt(GatewayConfig((FAST,)))
        assert scheduler.dispatcher.another(queued) is None

    asyncio.run(scene())


class Nowhere:
    """Carries nothing."""

    def start(self, engine: object) -> None:
        raise AssertionError("nothing is to be sent")

    def refuse(self, refusal: object) -> None:
        raise AssertionError("nothing is to be refused")

    def shut(self) -> None:
        raise AssertionError("nothing is to be shut")

    def outcome(self, status: str, reason: str = "", code: int | None = None) -> Outcome:
        return Outcome(status, reason, code)
