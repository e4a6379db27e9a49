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
from headway.gateway.exchange import Exchange
from headway.gateway.fleet import Fleet
from headway.gateway.pools import Overflow
from headway.gateway.waiting import Waiting
from headway.schedule.offload import Offload
from headway.schedule.view import Floats, View

REMEMBERED = 512
FEWEST = 20  # predictions before a share of them means anything


@dataclass(slots=True)
class _Load:
    """What a pool has before it.

    Attributes:
        backlog_s: until it would begin with one more request; infinite if it is down.
        places: requests that its engines work on at once.
    """

    backlog_s: float
    places: int

    def add(self, work_s: float) -> None:
        """One more request of ``work_s`` of service goes there."""
        if self.places:
            self.backlog_s += work_s / self.places


class Offloading:
    """The rule of a configuration, at work.

    Attributes:
        moved: requests that were sent to the slow pool so far.
    """

    def __init__(self, fleet: Fleet, waiting: Mapping[str, Waiting[Exchange]]) -> None:
        """Nothing moves until `adopt` says what."""
        self._fleet = fleet
        self._waiting = waiting
        self._lengths: deque[float] = deque(maxlen=REMEMBERED)
        self.rule: Overflow | None = None
        self.moved = 0
        self._usd: tuple[float, float, float] | None = None  # an hour of waiting, of either pool

    def adopt(self, config: GatewayConfig) -> None:
        """Go by ``config``."""
        self.rule = config.overflow
        self._usd = None
        if self.rule is None:
            return
        worth = self.rule.worth_usd_per_hour
        fast, slow = (config.pool(name).usd_per_hour for name in (self.rule.fast, self.rule.slow))
        if worth is not None and fast is not None and slow is not None:
            self._usd = worth, fast, slow

    def divide(self, exchanges: Sequence[Exchange], quantiles: Floats, now_s: float) -> None:
        """Give each of ``exchanges``, which arrive in this order, its pool."""
        rule, fleet = self.rule, self._fleet
        if rule is None:
            return
        rows = [
            row
            for row, exchange in enumerate(exchanges)
            if exchange.pool == rule.fast
            and not exchange.pinned
            and fleet.serves(rule.slow, exchange.request.model)
        ]
        if not rows:
            return
        service = fleet.service(rule.slow)
        requests = [exchanges[row].request for row in rows]
        view = View.of(requests, quantiles[rows], fleet.service(rule.fast))
        offload = Offload(self._threshold(rule, view), service, rule.level)
        long = offload.long(view).tolist()
        fast_works = view.service_s.tolist()
        slow_works = service.of(view.prompt_tokens, view.mean_tokens).tolist()
        fast, slow = self._load(rule.fast, now_s), self._load(rule.slow, now_s)
        for row, number in enumerate(rows):
            if long[row] and self._pays(offload, view, row, fast, slow):
                exchanges[number].pool = rule.slow
                self.moved += 1
                slow.add(slow_works[row])
            else:
                fast.add(fast_works[row])

    def _load(self, pool: str, now_s: float) -> _Load:
        waiting, places = self._waiting[pool], self._fleet.places(pool, now_s)
        if not places:
            return _Load(math.inf, 0)
        if not len(waiting) and self._fleet.choose(pool, now_s) is not None:
            return _Load(0.0, places)
        running_s = self._fleet.service(pool).output_token_s * self._fleet.predicted_tokens(pool)
        return _Load((waiting.work_s + 0.5 * running_s) / places, places)

    def homecoming(self, pool: str) -> Exchange | None:
        """Of those that were moved away from ``pool`` and still wait, the one that came first."""
        if self.rule is None or pool != self.rule.fast:
            return None
        return next((e for e in self._waiting[self.rule.slow] if e.pool != e.home), None)

    def _pays(self, offload: Offload, view: View, row: int, fast: _Load, slow: _Load) -> bool:
        if self._usd is None:
            return offload.pays(view, row, fast.backlog_s, slow.backlog_s)
        worth, fast_usd, slow_usd = self._usd
        tokens, prompt = float(view.at(offload.level)[row]), float(view.prompt_tokens[row])
        fast_s = float(view.service.of(prompt, tokens))
        slow_s = float(offload.slow.of(prompt, tokens))
        stays = worth * (fast.backlog_s + fast_s) + fast_usd * fast_s / max(fast.places, 1)
        goes = worth * (slow.backlog_s + slow_s) + slow_usd * slow_s / max(slow.places, 1)
        return goes < stays

    def _threshold(self, rule: Overflow, view: View) -> float:
        if rule.threshold_tokens is not None or rule.share is None:
            return rule.threshold_tokens or math.inf
        self._lengths.extend(view.at(rule.level).tolist())
        if len(self._lengths) < FEWEST:
            return math.inf
        return Offload.at_share(np.array(self._lengths), rule.share, view.service).threshold_tokens
