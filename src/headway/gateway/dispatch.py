"""Who goes next, and where: requests are predicted, ordered, and given to engines with room."""

from __future__ import annotations

import asyncio
from time import monotonic

import numpy as np

from headway.gateway.backend import Backend
from headway.gateway.config import ANNOTATE, STATIC, GatewayConfig
from headway.gateway.exchange import ENDED, QUEUED, Exchange
from headway.gateway.fleet import Fleet
from headway.gateway.foresight import give_keys, predict
from headway.gateway.offloading import Offloading
from headway.gateway.priorities import Priorities, Shares
from headway.gateway.waiting import Waiting
from headway.predict.predictor import LengthPredictor
from headway.schedule.consolidate import Consolidation
from headway.schedule.fair import FairShares
from headway.schedule.order import Fcfs
from headway.schedule.view import Floats

# Predicting in company costs a sixth, so those who would wait anyway wait for it together; and
# where a thousand wait, nobody can tell whether the order was found 50 ms later.
COMPANY, COMPANY_S = 32, 0.005
CROWD, COMPANY_IN_CROWD, COMPANY_IN_CROWD_S = 1000, 128, 0.05
FEW = 4
CANDIDATES = 8  # for each place of a static batch


class Dispatcher:
    """The queue of a gateway.

    Attributes:
        waiting: the queue of each pool.
        running: whoever was sent to an engine.
        start_interval_s: mean seconds between two starts, by pool.
        overflow: who goes from one pool to another.
    """

    def __init__(self, fleet: Fleet, predictor: LengthPredictor, anchor_s: float) -> None:
        """Send to ``fleet``; ``anchor_s`` turns the loop's clock into Unix time."""
        self.fleet = fleet
        self.predictor = predictor
        self.waiting: dict[str, Waiting[Exchange]] = {}
        self.running: set[Exchange] = set()
        self.start_interval_s: dict[str, float] = {}
        self.overflow = Offloading(fleet, self.waiting)
        self._anchor_s = anchor_s
        self._fresh: list[Exchange] = []  # not in order yet
        self._late: list[Exchange] = []  # started without a prediction
        self._pumping = False
        self._ordering: asyncio.TimerHandle | None = None
        self._predicting: asyncio.TimerHandle | None = None
        self._priorities = Priorities()
        self._shares = Shares()
        self._last_start_s: dict[str, float] = {}
        self._config: GatewayConfig
        self._loop: asyncio.AbstractEventLoop

    def adopt(self, config: GatewayConfig, loop: asyncio.AbstractEventLoop) -> None:
        """Go by ``config``; whoever waits in a pool that is gone goes to the first one."""
        self._config, self._loop = config, loop
        self.overflow.adopt(config)
        for pool in config.pools:
            self.waiting.setdefault(pool, Waiting(config.sharing)).fairness = config.sharing
        for pool in [pool for pool in self.waiting if pool not in config.pools]:
            for exchange in list(self.waiting.pop(pool)):
                exchange.pool = exchange.home = config.pools[0]
                self.waiting[exchange.pool].push(exchange, monotonic())

    @property
    def num_waiting(self) -> int:
        """Requests that wait for an engine."""
        return sum(map(len, self.waiting.values())) + len(self._fresh)

    @property
    def everything(self) -> list[Exchange]:
        """Whoever waits or runs."""
        queued = [exchange for queue in self.waiting.values() for exchange in queue]
        return [*queued, *self._fresh, *self.running]

    def arrived(self, exchange: Exchange) -> None:
        """``exchange`` is to be answered."""
        self._fresh.append(exchange)
        if self._pumping or len(self._fresh) > 1 or len(self.waiting[exchange.pool]):
            self.wake()
        else:
            self._pump()  # nobody to be ordered with: a turn of the loop would be lost

    def gone(self, exchange: Exchange) -> None:
        """``exchange`` has ended, wherever it was."""
        self.running.discard(exchange)
        queue = self.waiting.get(exchange.pool)
        if exchange.waits and queue is not None and exchange.number:
            queue.remove(exchange)
        exchange.waits = False

    def settle(self, exchange: Exchange, prompt_tokens: int, output_tokens: int) -> None:
        """``exchange`` is over: let its tenant pay for what it had, not for what was predicted."""
        queue = self.waiting.get(exchange.pool)
        if queue is not None and exchange.charged_s:
            service = self.fleet.service(exchange.pool)
            queue.settle(exchange, float(service.of(prompt_tokens, output_tokens)))

    def send_home(self, pool: str, now_s: float) -> None:
        """``pool`` is down: whoever was moved there waits again where it came from."""
        for exchange in self.waiting[pool].take(lambda e: e.pool != e.home):
            exchange.pool = exchange.home
            self.waiting[exchange.pool].push(exchange, now_s)

    def wake(self) -> None:
        """Something may have changed: look, once this turn of the loop is over."""
        if not self._pumping:
            self._pumping = True
            self._loop.call_soon(self._pump)

    def released(self) -> None:
        """An engine has room again."""
        if any(map(len, self.waiting.values())):
            self.wake()

    def another(self, exchange: Exchange) -> Backend | None:
        """An engine for one more attempt; of the pool it came from, should there be none here."""
        if exchange.attempts > self._config.retries or exchange.phase in (QUEUED, ENDED):
            return None
        now_s = monotonic()
        found = self.fleet.choose(exchange.pool, now_s, exchange.tried, everything=True)
        if found is None and exchange.pool != exchange.home:
            exchange.pool = exchange.home
            found = self.fleet.choose(exchange.pool, now_s, exchange.tried, everything=True)
        return found

    # order

    def _pump(self) -> None:
        """Put what arrived in order, and give engines what they can take."""
        self._pumping = False
        now_s = monotonic()
        if self._config.mode == ANNOTATE:
            self._annotate(self._take_fresh(), now_s)
            return
        if self._fresh:
            self._start_at_once(now_s)
        if self._fresh:
            self._gather(now_s)
        for pool in self.waiting:
            self._fill(pool, now_s)

    def _fill(self, pool: str, now_s: float) -> None:
        queue = self.waiting[pool]
        while (backend := self.fleet.choose(pool, now_s)) is not None:
            exchange = queue.pop(now_s)
            if exchange is None:
                exchange = self.overflow.homecoming(pool)
                if exchange is None:
                    return
                self.waiting[exchange.pool].remove(exchange)
                exchange.pool = pool
            company = self._company(exchange, backend, now_s) if backend.static else []
            self._start(exchange, backend, now_s)
            for other in company:
                queue.take_out(other)
                self._start(other, backend, now_s)

    def _company(self, first: Exchange, backend: Backend, now_s: float) -> list[Exchange]:
        """Who goes into one static batch with ``first``: the next of about its length."""
        size = backend.endpoint.max_inflight
        if size == 1 or not first.charged_s:
            return []
        queue = self.waiting[first.pool]
        candidates = [first, *queue.company(first, now_s, CANDIDATES * size)]
        lengths = np.array([exchange.expected_tokens for exchange in candidates])
        rule = Consolidation(size, backend.endpoint.batch_ratio)
        batch = rule.batch(np.arange(len(candidates)), lengths)
        return [candidates[row] for row in batch if row]

    def _take_fresh(self) -> list[Exchange]:
        fresh = [exchange for exchange in self._fresh if exchange.phase == QUEUED]
        self._fresh = []
        return fresh

    def _start_at_once(self, now_s: float) -> None:
        """With a free engine and nobody waiting there is nothing to order: predict afterwards."""
        behind: list[Exchange] = []
        waited_for: set[str] = set()
        for exchange in self._take_fresh():
            pool = exchange.pool
            free = None
            if not len(self.waiting[pool]) and pool not in waited_for:
                free = self.fleet.choose(pool, now_s)
            if free is None or free.static:  # who is alone in a static batch keeps all others out
                waited_for.add(pool)
                behind.append(exchange)
            else:
                self._start(exchange, free, now_s)
                self._predict_soon(exchange)
        self._fresh = behind

    def _gather(self, now_s: float) -> None:
        """Order those who came, now or in company."""
        pools = {exchange.pool for exchange in self._fresh}
        crowded = min(len(self.waiting[pool]) for pool in pools) >= CROWD
        enough, pause_s = (
            (COMPANY_IN_CROWD, COMPANY_IN_CROWD_S) if crowded else (COMPANY, COMPANY_S)
        )
        free = [self.fleet.choose(pool, now_s) for pool in pools]
        room = any(backend is not None and not backend.static for backend in free)
        if len(self._fresh) >= enough or (room and not crowded):
            self._enqueue()
        elif self._ordering is None:
            self._ordering = self._loop.call_later(pause_s, self._enqueue_and_fill)

    def _enqueue_and_fill(self) -> None:
        self._enqueue()
        self._pump()

    def _enqueue(self) -> None:
        """Order those who wait without an order."""
        if self._ordering is not None:
            self._ordering.cancel()
            self._ordering = None
        fresh = self._take_fresh()
        if not fresh:
            return
        now_s = monotonic()
        if isinstance(self._config.policy, Fcfs) and not self._needs_lengths:
            for exchange in fresh:
                exchange.key = exchange.arrival_s
                self._predict_soon(exchange)
        else:
            quantiles = predict(fresh, self.predictor)
            self.overflow.divide(fresh, quantiles, now_s)
            self._give_keys(fresh, quantiles)
        for exchange in fresh:
            self.waiting[exchange.pool].push(exchange, now_s)

    @property
    def _needs_lengths(self) -> bool:
        config = self._config
        static = any(endpoint.batching == STATIC for endpoint in config.endpoints)
        return static or config.sharing.by_tenant or self.overflow.rule is not None

    def _give_keys(self, exchanges: list[Exchange], quantiles: Floats) -> None:
        policy = self._config.policy
        if isinstance(policy, FairShares):
            policy = Fcfs()  # tenants share as lanes of the queue, or by `Shares`
        for pool in dict.fromkeys(exchange.pool for exchange in exchanges):
            rows = [row for row, exchange in enumerate(exchanges) if exchange.pool == pool]
            chosen = [exchanges[row] for row in rows]
            give_keys(chosen, quantiles[rows], policy, self.fleet.service(pool))

    def _annotate(self, fresh: list[Exchange], now_s: float) -> None:
        if not fresh:
            return
        config = self._config
        self._give_keys(fresh, predict(fresh, self.predictor))
        for exchange in fresh:
            backend = self.fleet.choose(exchange.pool, now_s, everything=True)
            if backend is None:
                exchange.refuse(503, "no backend is up", "backend_unavailable", 1.0)
                continue
            key = exchange.key
            if isinstance(config.policy, FairShares):
                key = self._shares.start_s(exchange)
            exchange.priority = self._priorities.of(
                key, exchange.arrival_s + self._anchor_s,
                config.fairness.patience_s, config.larger_first,
            )  # fmt: skip
            self._start(exchange, backend, now_s)

    def _start(self, exchange: Exchange, backend: Backend, now_s: float) -> None:
        self.running.add(exchange)
        pool = exchange.pool
        gap_s = now_s - self._last_start_s.get(pool, now_s)
        self._last_start_s[pool] = now_s
        self.start_interval_s[pool] = 0.95 * self.start_interval_s.get(pool, gap_s) + 0.05 * gap_s
        exchange.start(backend)

    # predictions that are late

    def _predict_soon(self, exchange: Exchange) -> None:
        self._late.append(exchange)
        if len(self._late) >= COMPANY:
            self.predict_late()
        elif self._predicting is None:
            # With few about no company comes, and the engine's first byte would meet a busy loop.
            wait_s = COMPANY_S if len(self.running) > FEW else 0.0
            self._predicting = self._loop.call_later(wait_s, self.predict_late)

    def predict_late(self) -> None:
        """Predict those who were started without a prediction: their headers are due."""
        if self._predicting is not None:
            self._predicting.cancel()
            self._predicting = None
        late, self._late = [e for e in self._late if e.phase != ENDED], []
        if late:
            predict(late, self.predictor)
