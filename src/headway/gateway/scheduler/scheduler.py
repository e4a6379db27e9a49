"""The scheduler of a gateway: admits, orders, places, learns and records.

It never touches a byte. Whoever carries requests, our own server or another proxy, makes a
`QueuedRequest` of each, asks whether it may come in, lets it arrive, is told when to send it where,
and tells how it ended.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from time import monotonic

from headway.gateway.config import GatewayConfig, Tenant
from headway.gateway.model_names import engine_name
from headway.gateway.scheduler.admission import Admission
from headway.gateway.scheduler.dispatcher import Dispatcher
from headway.gateway.scheduler.fleet import Fleet
from headway.gateway.scheduler.foresight import Foresight, Unpredicted
from headway.gateway.scheduler.ledger import Ledger
from headway.gateway.scheduler.prefixes import blocks_of
from headway.gateway.scheduler.queued import Outcome, QueuedRequest, Refusal
from headway.predict.prediction import MAX_TOKENS
from headway.predict.predictor import LengthPredictor
from headway.record.entry import Entry
from headway.record.store import Store
from headway.schedule.route import PREFIX_WORK_LEFT, Placement
from headway.workload.record import DONE, REJECTED
from headway.workload.request import Request

LEARN_S = 0.002  # lets a client's next request go before
CHARACTERS_PER_TOKEN = 4.0  # until engines have counted
MIN_CHARACTERS_STEP, MIN_CHARACTERS = 0.02, 40
SHUTTING_DOWN = Refusal(503, "the gateway is shutting down", "shutting_down", retry_after_s=1.0)
_log = logging.getLogger("headway.gateway")
QUEUE_FULL = Refusal(429, "too many requests wait already", "queue_full", retry_after_s=5.0)


class Scheduler:
    """Decides for one gateway.

    Attributes:
        config: what holds now; `adopt` replaces it.
        predictor: of the lengths of answers.
        fleet: the engines.
        dispatcher: keeps those that wait in order, and starts them.
        admission: tells tenants apart.
        ledger: writes down what happened.
        draining: whether no more requests come in.
        characters_per_token: of prompts, as engines were seen to count.

    """

    def __init__(
        self,
        config: GatewayConfig,
        predictor: LengthPredictor | None = None,
        store: Store | None = None,
        *,
        placement: Placement = PREFIX_WORK_LEFT,
        unix_s: Callable[[], float] = time.time,
    ) -> None:
        """Decide from `adopt` on."""
        self.config = config
        self.predictor: LengthPredictor = predictor if predictor is not None else Unpredicted()
        self.ledger = Ledger(store, unix_s)
        self.fleet = Fleet(placement)
        self.admission = Admission(config)
        foresight = Foresight(self.predictor, self.admission.amend)
        self.dispatcher = Dispatcher(self.fleet, foresight, self.ledger.anchor_s)
        self.draining = False
        self.characters_per_token = CHARACTERS_PER_TOKEN
        self._num_counted = 0  # prompts whose tokens an engine has told
        self._lessons: list[tuple[Request, int]] = []  # lengths that the predictor is not told yet
        self._loop: asyncio.AbstractEventLoop

    def adopt(self, config: GatewayConfig) -> None:
        """Go by ``config`` from now on; what waits and runs goes on."""
        self.config = config
        self._loop = asyncio.get_running_loop()
        self.admission.adopt(config)
        self.ledger.keep_prompts = config.keep_prompts
        self.fleet.adopt(config)
        self.dispatcher.adopt(config, self._loop)

    def warm_up(self) -> None:
        """Build what the first prediction builds before the first request comes."""
        self.predictor.predict([Request("warm-up", 0.0, "Is it warm yet?", 5)])

    # a request's life

    def refusal(self, tenant: Tenant) -> Refusal | None:
        """Return why one more request of ``tenant`` cannot come in; ``None`` counts it as sent."""
        if self.draining:
            return SHUTTING_DOWN
        if self.dispatcher.num_waiting >= self.config.limits.queue:
            return QUEUE_FULL
        return self.admission.refusal(tenant, monotonic())

    def enter(self, queued: QueuedRequest, pool: str = "") -> None:
        """``queued`` counts as its tenant's; ``pool`` is the one that the client names, if any."""
        self.admission.begin(queued.request.tenant)
        self._name_model(queued)
        pools, model = self.config.pools, queued.request.model
        if pool in pools:
            queued.pool, queued.pinned = pool, True
        elif len(pools) == 1:
            queued.pool = pools[0]
        else:
            serving = (name for name in pools if self.fleet.may_serve(name, model))
            queued.pool = next(serving, pools[0])
        queued.home = queued.pool
        if self.config.sharing.by_class:
            queued.lane, queued.weight = queued.service_class.name, queued.service_class.weight
        if len(self.fleet.engines) > 1:
            queued.blocks = blocks_of(queued.request.prompt)

    def _name_model(self, queued: QueuedRequest) -> None:
        """Call the model of ``queued`` as engines do, or that which stands in for it."""
        public_name, names = queued.request.model, self.config.model_names
        if public_name not in names:
            return
        now_s = monotonic()
        model = engine_name(names, public_name, lambda name: self.fleet.has_up(name, now_s))
        if model != public_name:
            queued.request = replace(queued.request, model=model)
            queued.is_renamed = True

    def arrive(self, queued: QueuedRequest) -> None:
        """Let ``queued`` wait for its turn, which may be now, if its tenant may use so much."""
        self.ledger.begin(queued)
        refusal = self.admission.reserve(queued, monotonic())
        if refusal is not None and queued.carrier is not None:
            queued.carrier.refuse(refusal)
            return
        self.dispatcher.arrive(queued)

    def end(self, queued: QueuedRequest, outcome: Outcome) -> Entry:
        """Write down how ``queued`` ended, learn from it, and return its entry."""
        queued.carrier = None
        self.dispatcher.leave(queued)
        self.admission.end(queued.request.tenant)
        entry = self.ledger.end(queued, outcome)
        is_used = outcome.status != REJECTED
        prompt_tokens = entry.prompt_tokens if is_used else 0
        self.admission.settle(queued, prompt_tokens, entry.output_tokens)

        if queued.charged_s and self.config.sharing.shares:
            self.dispatcher.settle(queued, entry.prompt_tokens, entry.output_tokens)
        if outcome.status == DONE and queued.generates:
            self._learn(queued, outcome, entry)
        return entry

    # what answers teach

    def _learn(self, queued: QueuedRequest, outcome: Outcome, entry: Entry) -> None:
        if outcome.prompt_tokens and queued.text_characters >= MIN_CHARACTERS:
            ratio = min(max(queued.text_characters / outcome.prompt_tokens, 0.5), 16.0)
            self._num_counted += 1
            step = max(MIN_CHARACTERS_STEP, 1 / (1 + self._num_counted))
            self.characters_per_token += step * (ratio - self.characters_per_token)

        output_tokens = entry.output_tokens
        if 0 < output_tokens <= MAX_TOKENS:
            self._lessons.append((queued.request, output_tokens))
            if len(self._lessons) == 1:
                self._loop.call_later(LEARN_S, self._observe)

        engine = self.fleet.engines.get(queued.engine_url)
        if engine is not None and outcome.cached_tokens is not None:
            cached_tokens = outcome.cached_tokens
            engine.prefixes.settle(queued.blocks, queued.cached_tokens, cached_tokens)

        # Of a whole answer neither TTFT nor TPOT can be seen.
        sent_s, first_s, last_s = queued.sent_s, outcome.first_s, outcome.last_s
        if engine is None or not queued.stream:
            return
        if sent_s is None or first_s is None or last_s is None:
            return
        engine.pace.record_answer(
            queued.company,
            entry.prompt_tokens - (outcome.cached_tokens or 0),
            ttft_s=first_s - sent_s,
            gaps_s=last_s - first_s,
            tokens=output_tokens,
        )

    def _observe(self) -> None:
        """Tell the predictor the lengths of the answers that have ended."""
        lessons, self._lessons = self._lessons, []
        for request, output_tokens in lessons:
            try:
                self.predictor.observe(request, output_tokens)
            except Exception:  # of a predictor of someone's own; the other lessons still count
                _log.exception("cannot learn from the answer to request %s", request.id)
