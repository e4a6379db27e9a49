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

import numpy as np

from headway.gateway.config import GatewayConfig
from headway.gateway.exchange import Exchange
from headway.gateway.fleet import Fleet
from headway.gateway.foresight import view_of
from headway.gateway.pools import Overflow
from headway.gateway.waiting import Waiting
from headway.schedule.offload import Offload
from headway.schedule.view import Floats, View

REMEMBERED = 512
FEWEST = 20  # predictions before a share of them means anything


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

    def adopt(self, config: GatewayConfig) -> None:
        """Go by ``config``."""
        self.rule = config.overflow
        if self.rule is not None:
            self._fast_usd = config.pool(self.rule.fast).usd_per_hour
            self._slow_usd = config.pool(self.rule.slow).usd_per_hour

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
        fast, slow = fleet.service(rule.fast), fleet.service(rule.slow)
        view = view_of([exchanges[row] for row in rows], quantiles[rows], fast)
        offload = Offload(self._threshold(rule, view), slow, rule.level)
        long = offload.long(view).tolist()
        fast_works, slow_works = (
            view.service_s.tolist(),
            slow.of(view.prompt_tokens, view.mean_tokens).tolist(),
        )
        fast_places, slow_places = fleet.places(rule.fast, now_s), fleet.places(rule.slow, now_s)
        fast_s, slow_s = self.backlog_s(rule.fast, now_s), self.backlog_s(rule.slow, now_s)
        for row, number in enumerate(rows):
            if long[row] and slow_places and self._pays(offload, view, row, fast_s, slow_s, now_s):
                exchanges[number].pool = rule.slow
                self.moved += 1
                slow_s += slow_works[row] / slow_places
            elif fast_places:
                fast_s += fast_works[row] / fast_places

    def backlog_s(self, pool: str, now_s: float) -> float:
        """Seconds until ``pool`` would begin with one more request; infinite if it is down."""
        waiting, places = self._waiting[pool], self._fleet.places(pool, now_s)
        if not places:
            return math.inf
        if not len(waiting) and self._fleet.choose(pool, now_s) is not None:
            return 0.0
        running_s = self._fleet.service(pool).output_token_s * self._fleet.predicted_tokens(pool)
        return (waiting.work_s + 0.5 * running_s) / places

    def homecoming(self, pool: str) -> Exchange | None:
        """Of those that were moved away from ``pool`` and still wait, the one that came first."""
        if self.rule is None or pool != self.rule.fast:
            return None
        return next((e for e in self._waiting[self.rule.slow] if e.pool != e.home), None)

    def _pays(
        self, offload: Offload, view: View, row: int, fast_s: float, slow_s: float, now_s: float
    ) -> bool:
        rule = self.rule
        if (
            rule is None
            or rule.worth_usd_per_hour is None
            or self._fast_usd is None
            or self._slow_usd is None
        ):
            return offload.pays(view, row, fast_s, slow_s)
        tokens, prompt = float(view.at(rule.level)[row]), float(view.prompt_tokens[row])
        totals = [
            rule.worth_usd_per_hour * (backlog_s + service_s) + usd * service_s / places
            for usd, service_s, backlog_s, places in (
                (self._fast_usd, float(view.service.of(prompt, tokens)), fast_s,
                 max(1, self._fleet.places(rule.fast, now_s))),
                (self._slow_usd, float(offload.slow.of(prompt, tokens)), slow_s,
                 max(1, self._fleet.places(rule.slow, now_s))),
            )
        ]  # fmt: skip
        return totals[1] < totals[0]

    def _threshold(self, rule: Overflow, view: View) -> float:
        if rule.threshold_tokens is not None or rule.share is None:
            return rule.threshold_tokens or math.inf
        self._lengths.extend(view.at(rule.level).tolist())
        if len(self._lengths) < FEWEST:
            return math.inf
        return Offload.at_share(np.array(self._lengths), rule.share, view.service).threshold_tokens
