"""Who goes next, and where: requests are predicted, ordered, and given to engines with room."""

from __future__ import annotations

import asyncio
import math
from time import monotonic

import numpy as np

from headway.gateway.config import ANNOTATE, OFF, STRICT, GatewayConfig
from headway.gateway.scheduler.engine import EngineState
from headway.gateway.scheduler.fleet import Fleet
from headway.gateway.scheduler.foresight import COMPANY, LATE_COMPANY_S, Foresight, give_keys
from headway.gateway.scheduler.overflow import OverflowRule
from headway.gateway.scheduler.priority import Priorities, VirtualClock
from headway.gateway.scheduler.queue import PoolQueue
from headway.gateway.scheduler.queued import QueuedRequest, Refusal
from headway.schedule.consolidate import Consolidation
from headway.schedule.fair import FairShares
from headway.schedule.order import Fcfs
from headway.schedule.view import Floats

# Those who would wait anyway wait to be predicted together; and where a thousand wait, nobody can
# tell whether the order was there 50 ms later.
COMPANY_S = 0.005
CROWD, COMPANY_IN_CROWD, COMPANY_IN_CROWD_S = 1000, 128, 0.05
FEW = 4
CANDIDATES = 8  # for each place of a static batch
INTERVAL_MEMORY = 0.95


class Dispatcher:
    """The queues of a gateway, and who leaves them for which engine.

    Attributes:
        queues: by pool.
        running: requests that an engine has.
        start_interval_s: mean seconds between two starts, by pool.
        overflow: who goes from one pool to another.
        foresight: predicts.

    """

    def __init__(
        self,
        fleet: Fleet,
        foresight: Foresight,
        anchor_s: float,
    ) -> None:
        """Send to ``fleet``.

        Args:
            fleet: the engines.
            foresight: predicts the lengths of answers.
            anchor_s: turns the loop's clock into Unix time.

        """
        self.queues: dict[str, PoolQueue[QueuedRequest]] = {}
        self.running: set[QueuedRequest] = set()
        self.start_interval_s: dict[str, float] = {}
        self.overflow = OverflowRule(fleet, self.queues)

        self.foresight = foresight

        self._fleet = fleet
        self._anchor_s = anchor_s
        self._config: GatewayConfig
        self._loop: asyncio.AbstractEventLoop
        self._fresh: list[QueuedRequest] = []  # not in order yet
        self._pumping = False
        self._ordering: asyncio.TimerHandle | None = None
        self._last_start_s: dict[str, float] = {}
        self._priorities = Priorities()
        self._virtual = VirtualClock()

    def adopt(self, config: GatewayConfig, loop: asyncio.AbstractEventLoop) -> None:
        """Go by ``config``; whoever waits in a pool that is gone goes to the first one."""
        self._config, self._loop = config, loop
        self.overflow.adopt(config)
        for pool in config.pools:
            queue = self.queues.setdefault(pool, PoolQueue(config.sharing))
            queue.fairness = config.sharing
            queue.late_every = math.ceil(1 / config.late_share) if config.late_share else 0

        for pool in [pool for pool in self.queues if pool not in config.pools]:
            for queued in list(self.queues.pop(pool)):
                queued.pool = queued.home = config.pools[0]
                self._push(queued, monotonic())

    @property
    def num_waiting(self) -> int:
        """Requests that wait for an engine."""
        return sum(map(len, self.queues.values())) + len(self._fresh)

    @property
    def everything(self) -> list[QueuedRequest]:
        """Whoever waits or runs."""
        waiting = [queued for queue in self.queues.values() for queued in queue]
        return [*waiting, *self._fresh, *self.running]

    # events

    def arrive(self, queued: QueuedRequest) -> None:
        """Let ``queued`` wait for its turn, which may be now."""
        if not queued.generates:
            self._pass(queued)
            return
        self._fresh.append(queued)
        if self._pumping or len(self._fresh) > 1 or len(self.queues[queued.pool]):
            self.wake()
        else:
            self._pump()  # nobody to be ordered with: a turn of the loop would be lost

    def _pass(self, queued: QueuedRequest) -> None:
        """Start a request that takes no turn; it waits only while no engine is up."""
        now_s = monotonic()
        engine = self._fleet.choose(queued.pool, now_s, full_too=True, queued=queued)
        if engine is None:
            queued.key = queued.arrival_s
            self._push(queued, now_s)
        else:
            self._start(queued, engine, now_s)

    def _push(self, queued: QueuedRequest, now_s: float) -> None:
        """Let ``queued`` wait in the queue of its pool."""
        queued.waits = True
        queued.kind = self._fleet.kind(queued.pool, queued.request.model)
        self.queues[queued.pool].push(queued, now_s)

    def wait_again(self, queued: QueuedRequest) -> None:
        """Its engine cannot be reached and was sent nothing: ``queued`` waits as it did before."""
        self.running.discard(queued)
        self.settle(queued, prompt_tokens=0, output_tokens=0)
        queued.note_return()
        if queued.number:
            # The queue may still have its old place, which is good while it waits there, too.
            self._push(queued, monotonic())
            self.wake()
        else:
            self.arrive(queued)

    def leave(self, queued: QueuedRequest) -> None:
        """``queued`` has ended, wherever it was."""
        self.running.discard(queued)
        queue = self.queues.get(queued.pool)
        if queued.waits and queue is not None and queued.number:
            queue.remove(queued)
        queued.waits = False

    def settle(self, queued: QueuedRequest, prompt_tokens: int, output_tokens: int) -> None:
        """Let a tenant pay for what its request needed, not for what was predicted."""
        queue = self.queues.get(queued.pool)
        if queue is not None and queued.charged_s:
            service = self._fleet.service(queued.pool)
            is_served = prompt_tokens or output_tokens
            work_s = float(service.of(prompt_tokens, output_tokens)) if is_served else 0.0
            queue.settle(queued, work_s)

    def send_home(self, pool: str, now_s: float) -> None:
        """``pool`` is down: whoever was moved there waits again where it came from."""
        for queued in self.queues[pool].move_out(lambda q: q.pool != q.home):
            queued.pool = queued.home
            self._push(queued, now_s)

    def wake(self) -> None:
        """Something may have changed: look, once this turn of the loop is over."""
        if not self._pumping:
            self._pumping = True
            self._loop.call_soon(self._pump)

    def room(self) -> None:
        """An engine has room again."""
        if any(map(len, self.queues.values())):
            self.wake()

    def another(self, queued: QueuedRequest) -> EngineState | None:
        """Return an engine for one more attempt, of the pool it came from if there is none here."""
        if queued.ended or not 0 < queued.attempts <= self._config.retries:
            return None

        now_s, choose = monotonic(), self._fleet.choose
        engine = choose(queued.pool, now_s, queued.tried, full_too=True, queued=queued)
        if engine is None and queued.pool != queued.home:
            queued.pool = queued.home
            engine = choose(queued.pool, now_s, queued.tried, full_too=True, queued=queued)
        if engine is not None:
            self._fleet.note_start(queued, engine)
        return engine

    # order

    def _pump(self) -> None:
        """Put what arrived in order, and give engines what they can take."""
        self._pumping = False
        now_s = monotonic()
        if self._config.mode == ANNOTATE:
            self._annotate_waiting(now_s)
            self._annotate_fresh(now_s)
            return

        if self._fresh:
            self._start_at_once(now_s)
        if self._fresh:
            self._gather(now_s)
        for pool in self.queues:
            self._fill(pool, now_s)

    def _fill(self, pool: str, now_s: float) -> None:
        queue = self.queues[pool]
        if not len(queue) and self.overflow.rule is None:
            return
        queue.pace = float(max(1, self._fleet.running(pool)))

        def may_go(kind: str) -> bool:
            return self._fleet.has_room(pool, kind, now_s)

        while self._fleet.choose(pool, now_s) is not None:
            queued = queue.pop(now_s, may_go)
            if queued is None:
                # Nobody waits here: whoever was moved away from here and still waits comes back.
                queued = self.overflow.homecoming(pool)
                if queued is None:
                    return
                self.queues[queued.pool].remove(queued)
                queued.pool = pool

            engine = self._fleet.choose(pool, now_s, queued=queued)
            if engine is None:  # engines have said anew what they have
                self._push(queued, now_s)
                return
            company = self._company(queued, engine, now_s) if engine.is_static else []
            self._start(queued, engine, now_s)
            for other in company:
                queue.start(other)
                self._start(other, engine, now_s)

    def _company(
        self, first: QueuedRequest, engine: EngineState, now_s: float
    ) -> list[QueuedRequest]:
        """Return who goes into one static batch with ``first``: the nearest predicted lengths."""
        size = engine.endpoint.max_inflight
        if size == 1 or not first.charged_s:
            return []

        following = self.queues[first.pool].next_in_lane(first, now_s, CANDIDATES * size)
        candidates = list(dict.fromkeys([first, *following]))
        lengths = np.array([queued.expected_tokens for queued in candidates])
        rule = Consolidation(size, engine.endpoint.batch_ratio, nearest=True)
        rows = rule.batch(np.arange(len(candidates)), lengths)
        return [candidates[row] for row in rows if row]

    def _take_fresh(self) -> list[QueuedRequest]:
        fresh, self._fresh = [queued for queued in self._fresh if queued.waits], []
        return fresh

    def _start_at_once(self, now_s: float) -> None:
        """With a free engine and nobody waiting there is nothing to order: predict afterwards."""
        behind: list[QueuedRequest] = []
        busy_pools: set[str] = set()
        for queued in self._take_fresh():
            pool = queued.pool
            engine = None
            if not len(self.queues[pool]) and pool not in busy_pools:
                engine = self._fleet.choose(pool, now_s, queued=queued)

            # Who is alone in a static batch keeps all others out.
            if engine is None or engine.is_static:
                busy_pools.add(pool)
                behind.append(queued)
            else:
                self._start(queued, engine, now_s)
                self._predict_soon(queued)
        self._fresh = behind

    def _gather(self, now_s: float) -> None:
        """Order those who came, now or in company."""
        pools = {queued.pool for queued in self._fresh}
        crowded = min(len(self.queues[pool]) for pool in pools) >= CROWD
        enough = COMPANY_IN_CROWD if crowded else COMPANY
        pause_s = COMPANY_IN_CROWD_S if crowded else COMPANY_S

        free = [self._fleet.choose(pool, now_s) for pool in pools]
        has_room = any(engine is not None and not engine.is_static for engine in free)
        if len(self._fresh) >= enough or (has_room and not crowded):
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
            for queued in fresh:
                queued.key = queued.arrival_s
                self._predict_soon(queued)
        else:
            quantiles = self.foresight.predict(fresh)
            self.overflow.divide(fresh, quantiles, now_s)
            self._give_keys(fresh, quantiles)

        for queued in fresh:
            refusal = self._refusal(queued, now_s)
            if refusal is None:
                self._push(queued, now_s)
            elif queued.carrier is not None:
                queued.carrier.refuse(refusal)

    def _refusal(self, queued: QueuedRequest, now_s: float) -> Refusal | None:
        """Return why ``queued``, which would wait, is not let wait; ``None`` if it is."""
        queue, service_class = self.queues[queued.pool], queued.service_class
        if service_class.max_waiting is not None:
            num_waiting = sum(other.service_class is service_class for other in queue)
            if num_waiting >= service_class.max_waiting:
                message = f"too many requests of class {service_class.name} wait already"
                return Refusal(429, message, "queue_full", queue.wait_s)

        admission = self._config.admission
        if admission == OFF:
            return None
        is_late = queued.due_s < now_s + self.start_interval_s.get(queued.pool, 0.0)
        if is_late or (admission == STRICT and queue.cannot_be_in_time(queued, now_s)):
            message = f"its objective cannot be met: it would wait about {queue.wait_s:.1f} s"
            return Refusal(429, message, "objective_unreachable", queue.wait_s)
        return None

    @property
    def _needs_lengths(self) -> bool:
        """Whether predictions decide even where the order is that of arrival."""
        static = any(engine.is_static for engine in self._fleet.engines.values())
        config = self._config
        counts = config.sharing.shares or config.admission != OFF
        return static or counts or self.overflow.rule is not None

    def _give_keys(self, fresh: list[QueuedRequest], quantiles: Floats) -> None:
        policy = self._config.policy
        if isinstance(policy, FairShares):
            policy = Fcfs()  # tenants share as lanes of the queue, or by the virtual clock
        for pool in dict.fromkeys(queued.pool for queued in fresh):
            rows = [row for row, queued in enumerate(fresh) if queued.pool == pool]
            service = self._fleet.service(pool)
            give_keys([fresh[row] for row in rows], quantiles[rows], policy, service)

    def _annotate_waiting(self, now_s: float) -> None:
        """Start those who wait for an engine to be back."""
        for pool, queue in self.queues.items():
            while len(queue):
                engine = self._fleet.choose(pool, now_s, full_too=True)
                queued = None if engine is None else queue.pop(now_s)
                if engine is None or queued is None:
                    break
                self._annotate(queued, engine, now_s, key=None)

    def _annotate_fresh(self, now_s: float) -> None:
        """Start those whose engine orders nothing at once; order the others in company."""
        behind: list[QueuedRequest] = []
        for queued in self._take_fresh():
            engine = self._fleet.choose(queued.pool, now_s, full_too=True, queued=queued)
            if engine is None:
                self._push(queued, now_s)  # until one is back
            elif engine.pace.has_queued:
                behind.append(queued)
            else:
                # Nobody waits in it: its own queue has nothing to sort.
                self._annotate(queued, engine, now_s, key=None)
                self._predict_soon(queued)

        self._fresh = behind
        few = len(self.running) <= FEW
        if len(behind) >= COMPANY or (behind and few):
            self._annotate_behind()
        elif behind and self._ordering is None:
            self._ordering = self._loop.call_later(COMPANY_S, self._annotate_behind)

    def _annotate_behind(self) -> None:
        """Start those who were kept for company, in the order of the policy."""
        if self._ordering is not None:
            self._ordering.cancel()
            self._ordering = None
        fresh, now_s = self._take_fresh(), monotonic()
        if not fresh:
            return

        self._give_keys(fresh, self.foresight.predict(fresh))
        for queued in fresh:
            engine = self._fleet.choose(queued.pool, now_s, full_too=True, queued=queued)
            if engine is None:
                self._push(queued, now_s)  # until one is back
                continue
            is_fair = isinstance(self._config.policy, FairShares)
            key = self._virtual.start_s(queued) if is_fair else queued.key
            self._annotate(queued, engine, now_s, key=key)

    def _annotate(
        self, queued: QueuedRequest, engine: EngineState, now_s: float, *, key: float | None
    ) -> None:
        """Start ``queued`` with its ``key``, if it has one, as a number for the engine's queue."""
        config = self._config
        queued.priority = self._priorities.priority(
            key,
            arrival_unix_s=queued.arrival_s + self._anchor_s,
            patience_s=config.fairness.patience_s,
            larger_first=config.larger_first,
        )
        self._start(queued, engine, now_s)

    def _start(self, queued: QueuedRequest, engine: EngineState, now_s: float) -> None:
        if queued.carrier is None:
            return
        self.running.add(queued)

        pool = queued.pool
        interval_s = now_s - self._last_start_s.get(pool, now_s)
        self._last_start_s[pool] = now_s
        mean_s = self.start_interval_s.get(pool, interval_s)
        self.start_interval_s[pool] = INTERVAL_MEMORY * mean_s + (1 - INTERVAL_MEMORY) * interval_s
        self._fleet.note_start(queued, engine)
        queued.carrier.start(engine)

    def _predict_soon(self, queued: QueuedRequest) -> None:
        interval_s = self.start_interval_s.get(queued.pool, math.inf)
        has_company = len(self.running) > FEW and 2 * interval_s < LATE_COMPANY_S
        self.foresight.predict_soon(queued, self._loop, has_company=has_company)
