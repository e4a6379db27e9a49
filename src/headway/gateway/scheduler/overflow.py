"""Which of the requests that would wait for the fast pool go to the slow one instead.

`headway.schedule.offload` decides; here it is told what it needs to know. The backlog of a pool is
taken for a fluid: the predicted seconds of service of all that waits, and half of those of what
runs, over the requests that its engines work on at once (derived here). With a free engine and
nobody waiting it is nothing.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headway.gateway.config import GatewayConfig
from headway.gateway.pools import Overflow
from headway.gateway.scheduler.fleet import Fleet
from headway.gateway.scheduler.queue import PoolQueue
from headway.gateway.scheduler.queued import QueuedRequest
from headway.schedule.offload import Offload
from headway.schedule.view import Floats, View

MAX_LENGTHS = 512
MIN_LENGTHS = 20  # predictions before a share of them means anything


@dataclass(slots=True)
class _Backlog:
    """What a pool has before it.

    Attributes:
        seconds: until it would begin with one more request; infinite if it is down.
        places: requests that its engines work on at once.

    """

    seconds: float
    places: int

    def add(self, work_s: float) -> None:
        """One more request of ``work_s`` of service goes there."""
        if self.places:
            self.seconds += work_s / self.places


@dataclass(frozen=True, slots=True)
class _Prices:
    """Dollars per hour: of a client's waiting, and of either pool."""

    waiting: float
    fast: float
    slow: float


class OverflowRule:
    """The rule of a configuration, at work.

    Attributes:
        rule: who may go; ``None``: nobody.
        num_moved: requests that were sent to the slow pool so far.

    """

    def __init__(self, fleet: Fleet, queues: Mapping[str, PoolQueue[QueuedRequest]]) -> None:
        """Nothing moves until `adopt` says what."""
        self._fleet = fleet
        self._queues = queues
        self._lengths: deque[float] = deque(maxlen=MAX_LENGTHS)
        self._prices: _Prices | None = None
        self.rule: Overflow | None = None
        self.num_moved = 0

    def adopt(self, config: GatewayConfig) -> None:
        """Go by ``config``."""
        self.rule = config.overflow
        self._prices = None
        if self.rule is None:
            return

        waiting = self.rule.worth_usd_per_hour
        fast, slow = (config.pool(name).usd_per_hour for name in (self.rule.fast, self.rule.slow))
        if waiting is not None and fast is not None and slow is not None:
            self._prices = _Prices(waiting, fast, slow)

    def divide(self, fresh: Sequence[QueuedRequest], quantiles: Floats, now_s: float) -> None:
        """Give each of ``fresh``, which arrive in this order, its pool."""
        rule, fleet = self.rule, self._fleet
        if rule is None:
            return
        rows = [
            row
            for row, queued in enumerate(fresh)
            if queued.pool == rule.fast
            and not queued.pinned
            and fleet.may_serve(rule.slow, queued.request.model)
        ]
        if not rows:
            return

        # What each would need in either pool, and whether it is long enough to go.
        slow_service = fleet.service(rule.slow)
        requests = [fresh[row].request for row in rows]
        view = View.of(requests, quantiles[rows], fleet.service(rule.fast))
        offload = Offload(self._threshold_tokens(rule, view), slow_service, rule.level)
        is_long = offload.long(view).tolist()
        fast_work_s = view.service_s.tolist()
        slow_work_s = slow_service.of(view.prompt_tokens, view.mean_tokens).tolist()

        # Whoever goes adds to the backlog that the next one meets.
        fast, slow = self._backlog(rule.fast, now_s), self._backlog(rule.slow, now_s)
        for row, number in enumerate(rows):
            if is_long[row] and self._pays(offload, view, row, fast, slow):
                fresh[number].pool = rule.slow
                self.num_moved += 1
                slow.add(slow_work_s[row])
            else:
                fast.add(fast_work_s[row])

    def homecoming(self, pool: str) -> QueuedRequest | None:
        """Return who was moved away from ``pool`` and still waits: the one that came first."""
        rule = self.rule
        if rule is None or pool != rule.fast:
            return None
        return next((q for q in self._queues[rule.slow] if q.pool != q.home), None)

    def _backlog(self, pool: str, now_s: float) -> _Backlog:
        queue, places = self._queues[pool], self._fleet.places(pool, now_s)
        if not places:
            return _Backlog(math.inf, 0)
        if not len(queue) and self._fleet.choose(pool, now_s) is not None:
            return _Backlog(0.0, places)

        output_token_s = self._fleet.service(pool).output_token_s
        running_s = output_token_s * self._fleet.predicted_tokens(pool)
        return _Backlog((queue.work_s + 0.5 * running_s) / places, places)

    def _pays(self, offload: Offload, view: View, row: int, fast: _Backlog, slow: _Backlog) -> bool:
        prices = self._prices
        if prices is None:
            return offload.pays(view, row, fast.seconds, slow.seconds)

        # Time and money together: waiting by what it is worth, service by the pool's price.
        tokens, prompt = float(view.at(offload.level)[row]), float(view.prompt_tokens[row])
        fast_s = float(view.service.of(prompt, tokens))
        slow_s = float(offload.slow.of(prompt, tokens))
        fast_usd = prices.waiting * (fast.seconds + fast_s)
        fast_usd += prices.fast * fast_s / max(fast.places, 1)
        slow_usd = prices.waiting * (slow.seconds + slow_s)
        slow_usd += prices.slow * slow_s / max(slow.places, 1)
        return slow_usd < fast_usd

    def _threshold_tokens(self, rule: Overflow, view: View) -> float:
        if rule.threshold_tokens is not None or rule.share is None:
            return rule.threshold_tokens or math.inf

        self._lengths.extend(view.at(rule.level).tolist())
        if len(self._lengths) < MIN_LENGTHS:
            return math.inf
        return Offload.at_share(np.array(self._lengths), rule.share, view.service).threshold_tokens
