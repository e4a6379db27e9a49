"""One engine as the scheduler knows it: what it has, what it can take, whether it works."""

from __future__ import annotations

import math
from dataclasses import dataclass

from headway.gateway.pools import STATIC, Endpoint
from headway.gateway.scheduler.pace import EnginePace
from headway.gateway.scheduler.prefixes import PrefixIndex
from headway.schedule.view import ServiceTime

FAILURES = 3  # incidents in a row, until an engine is left alone
FIRST_PAUSE_S, MAX_PAUSE_S = 1.0, 30.0
MAX_DOUBLINGS = 16  # the exponent is bounded before the power is computed


@dataclass(slots=True)
class Breaker:
    """Keeps requests away from an engine that fails.

    It counts incidents, not requests: what began before the last failure that counted fails with
    it. A good health answer ends a pause, and is believed again once the health was bad or a
    request was answered: an engine may be healthy and answer nothing.

    Attributes:
        failures: incidents in a row.
        closed_from_s: when the engine may be tried again.
        trial: whether a request that tries it is under way.
        trusts_health: whether a good health answer ends a pause.

    """

    failures: int = 0
    closed_from_s: float = 0.0
    trial: bool = False
    trusts_health: bool = True
    _num_pauses: int = 0  # in a row
    _counted_s: float = -math.inf  # when a failure last counted

    def allows(self, now_s: float) -> bool:
        """Return whether a request may go there: yes, no, or one on trial."""
        if now_s < self.closed_from_s:
            return False
        return self.failures < FAILURES or not self.trial

    def begin(self) -> None:
        """A request goes there."""
        if self.failures >= FAILURES:
            self.trial = True

    def answering(self) -> None:
        """It begins to answer: others may go there, but one more failure is a pause."""
        if self.failures >= FAILURES:
            self.failures = FAILURES - 1
            self.trial = False

    def succeed(self) -> None:
        """It answered."""
        self.failures = self._num_pauses = 0
        self.trial = False
        self.trusts_health = True

    def fail(self, now_s: float, began_s: float) -> None:
        """A request that began at ``began_s`` failed now."""
        self.trial = False
        if began_s <= self._counted_s:
            return  # the same incident
        self._counted_s = now_s
        self.failures += 1
        if self.failures >= FAILURES:
            self.pause(now_s + min(MAX_PAUSE_S, FIRST_PAUSE_S * 2.0**self._num_pauses))
            self._num_pauses = min(self._num_pauses + 1, MAX_DOUBLINGS)

    def pause(self, until_s: float) -> None:
        """Keep requests away until then."""
        self.closed_from_s = max(self.closed_from_s, until_s)

    def abstain(self) -> None:
        """The request ended without telling anything about the engine."""
        self.trial = False

    def note_health(self, is_good: bool, now_s: float) -> None:
        """The engine was asked how it is."""
        if not is_good:
            self.trusts_health = True
        elif self.trusts_health and self.failures >= FAILURES and now_s < self.closed_from_s:
            self.closed_from_s = now_s
            self.trusts_health = False


class EngineState:
    """An engine and what it does for this gateway.

    Attributes:
        endpoint: where it is, and how much it may be given.
        pace: how fast it is.
        breaker: keeps requests away while it fails.
        num_in_flight: requests that it has and has not answered.
        predicted_tokens: that those are predicted to produce in all.
        prompt_tokens: of those that have no token of an answer yet, less what is cached of them.
        prefixes: of prompts that it is believed to hold in its cache.
        healthy: whether the last health check went well.
        num_failed: attempts that failed.

    """

    def __init__(self, endpoint: Endpoint, expected: ServiceTime) -> None:
        """Take it to be up until it proves otherwise."""
        self.endpoint = endpoint
        self.pace = EnginePace(endpoint.max_inflight, expected)
        self.breaker = Breaker()
        self.num_in_flight = 0
        self.predicted_tokens = 0.0
        self.prompt_tokens = 0.0
        self.prefixes = PrefixIndex()
        self._counted = (0.0, 0.0)  # its counters of looked up and cached tokens, at the last look
        self.healthy = True
        self._models: list[dict[str, object]] = []
        self._model_names: frozenset[str] = frozenset()
        self.num_failed = 0

    def reconfigure(self, endpoint: Endpoint, expected: ServiceTime) -> None:
        """Go by other settings; what was learned stays."""
        self.endpoint = endpoint
        self.pace.max_in_flight = endpoint.max_inflight
        self.pace.expected = expected

    @property
    def url(self) -> str:
        """Its address, by which all parts know it."""
        return self.endpoint.url

    def is_up(self, now_s: float) -> bool:
        """Return whether it is worth sending anything there."""
        return self.healthy and self.breaker.allows(now_s)

    @property
    def is_static(self) -> bool:
        """Whether it keeps a batch until its longest answer ends."""
        return self.endpoint.batching == STATIC

    @property
    def places(self) -> int:
        """Requests that it works on at once."""
        return self.endpoint.max_inflight if self.is_static else int(self.pace.target_in_flight)

    @property
    def has_room(self) -> bool:
        """Whether one more request would not wait in the engine."""
        return self.num_in_flight == 0 if self.is_static else self.num_in_flight < self.places

    @property
    def models(self) -> list[dict[str, object]]:
        """Entries of its ``/v1/models``, as it gave them: models, and adapters of them."""
        return self._models

    @models.setter
    def models(self, entries: list[dict[str, object]]) -> None:
        self._models = entries
        self._model_names = frozenset(str(entry["id"]) for entry in entries)

    def may_serve(self, model: str) -> bool:
        """Return whether it has ``model``, or may be hoped to: it has not said what it has."""
        return not model or not self._model_names or model in self._model_names

    def begin(self, tokens: float, prompt_tokens: float = 0.0) -> None:
        """One more request goes there.

        Args:
            tokens: that it is predicted to produce.
            prompt_tokens: that must be computed first.

        """
        self.num_in_flight += 1
        self.predicted_tokens += tokens
        self.prompt_tokens += prompt_tokens
        self.breaker.begin()

    def prefill(self, prompt_tokens: float) -> None:
        """So many tokens of prompts are computed, or wanted no more."""
        self.prompt_tokens = max(0.0, self.prompt_tokens - prompt_tokens)

    def finish(self, tokens: float, *, answered: bool) -> None:
        """It is over; ``answered`` tells that the engine works, otherwise nothing is told."""
        self.num_in_flight -= 1
        self.predicted_tokens = max(0.0, self.predicted_tokens - tokens)
        if answered:
            self.breaker.succeed()
        else:
            self.breaker.abstain()

    def fail(self, now_s: float, began_s: float) -> None:
        """An attempt that began at ``began_s`` failed, by the engine's own fault."""
        self.breaker.fail(now_s, began_s)
        self.num_failed += 1

    def refuse(self, now_s: float, began_s: float, retry_after_s: float | None) -> None:
        """It answered that it takes nothing now, and perhaps when to ask again."""
        if retry_after_s is None:
            self.fail(now_s, began_s)
        else:
            self.breaker.pause(now_s + min(retry_after_s, MAX_PAUSE_S))

    def note_cached(self, prompt_tokens: float, cached_tokens: float) -> None:
        """Its counters of tokens looked up and found in its prefix cache stand so."""
        before, self._counted = self._counted, (prompt_tokens, cached_tokens)
        if prompt_tokens < before[0]:  # it has begun anew
            self.prefixes.clear()
        else:
            self.prefixes.confirm(prompt_tokens - before[0], cached_tokens - before[1])

    def note_health(self, is_good: bool, now_s: float) -> None:
        """It was asked how it is; what is down has forgotten its cache when it is back."""
        self.healthy = is_good
        if not is_good:
            self.prefixes.clear()
        self.breaker.note_health(is_good, now_s)
