"""A campaign of probes: sizes in shuffled rounds, within a budget, resumable after any end.

Every request is announced in the ledger before it is sent and recorded when it has ended, so that
a kill loses one probe and no dollar goes uncounted. Sizes are shuffled anew in every round, so that
drift over the day does not look like an effect of size.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from headway.errors import InputError
from headway.measure.endpoint.budget import Budget
from headway.measure.endpoint.ledger import Ledger
from headway.measure.endpoint.probe import Probe
from headway.measure.endpoint.stream import FATAL
from headway.measure.prompts import WordCount, prompt_of

VERSION = 1
MOST_WAIT_S = 60.0
FAILURES_IN_A_ROW = 6


class Asked(Protocol):
    """What a campaign needs of an endpoint."""

    def ask(self, probe: Probe, prompt: str) -> Probe:
        """Send one request and return all that was seen."""
        ...

    def ping(self) -> float | None:
        """Seconds of a round trip without inference."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What to ask.

    Attributes:
        prompt_tokens: sizes, in the endpoint's own tokens as nearly as can be told.
        max_tokens: limit on every answer.
        trials: of each size.
        pings: round trips without inference in each round.
        retries: of a request that failed and may be asked again.
        pause_s: between requests.
        seed: of the prompts and of the order.

    """

    prompt_tokens: tuple[int, ...]
    max_tokens: int = 32
    trials: int = 5
    pings: int = 2
    retries: int = 2
    pause_s: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.prompt_tokens or min(self.prompt_tokens) < 1:
            raise InputError("a plan needs prompt sizes of at least 1 token")
        if min(self.max_tokens, self.trials) < 1 or min(self.retries, self.pings) < 0:
            raise InputError("a plan needs 1 output token and 1 trial at least")

    @property
    def num_requests(self) -> int:
        """Requests if none fails."""
        return len(set(self.prompt_tokens)) * self.trials

    def tasks(self) -> Iterator[tuple[int, int]]:
        """Round and prompt tokens of every request, in the order of asking."""
        for number in range(self.trials):
            sizes = sorted(set(self.prompt_tokens))
            random.Random(f"{self.seed}/{number}").shuffle(sizes)
            # Something must be known of the tokenizer before long prompts are composed.
            yield from ((number, size) for size in (sorted(sizes) if number == 0 else sizes))

    def expected_usd(self, budget: Budget) -> float:
        """Dollars if every request goes as planned."""
        prompts = sum(set(self.prompt_tokens)) * self.trials
        return budget.price.usd(prompts, self.num_requests * self.max_tokens)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a campaign ended: ``stopped`` is ``None`` when all was asked, else says why not."""

    num_complete: int
    num_failed: int
    stopped: str | None


@dataclass(slots=True)
class Campaign:
    """One run of ``plan`` against an endpoint; ``run`` may be called again on the same ledger.

    ``wait`` and ``now`` are arguments, so that tests need not wait; ``notice`` hears of progress.
    """

    plan: Plan
    ledger: Ledger
    budget: Budget
    subject: str
    wait: Callable[[float], object] = time.sleep
    now: Callable[[], float] = time.time
    notice: Callable[[Probe], object] = lambda probe: None
    _words: WordCount = field(default_factory=WordCount, init=False)
    _ended: dict[str, int] = field(default_factory=dict, init=False)
    _complete: int = field(default=0, init=False)
    _failed: int = field(default=0, init=False)
    _in_a_row: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Take up what the ledger holds; raise `InputError` if it is of another campaign."""
        start: dict[str, Any] = {
            "kind": "start", "headway_campaign": VERSION, "subject": self.subject,
            "plan": {**asdict(self.plan), "prompt_tokens": list(self.plan.prompt_tokens)},
        }  # fmt: skip
        if not self.ledger.entries:
            self.ledger.add(start)
            return
        if self.ledger.entries[0] != start:
            other = self.ledger.entries[0].get("subject")
            raise InputError(
                f"{self.ledger.path} holds another campaign (of {other!r}, or with another plan); "
                "give another file, or the same options to resume it"
            )
        announced: dict[str, float] = {}
        for entry in self.ledger.entries[1:]:
            if entry.get("kind") == "ask":
                most_usd = float(str(entry["most_usd"]))
                announced[str(entry["id"])] = most_usd
                self.budget.spent_requests += 1
                self.budget.spent_usd += most_usd
            elif entry.get("kind") == "probe":
                probe = Probe.from_entry(entry)
                self._take(probe, announced[probe.id])

    def run(self, endpoint: Asked) -> Outcome:
        """Ask all that has not been asked; stop where the budget or the endpoint ends it."""
        last_round = -1
        for number, size in self.plan.tasks():
            if number != last_round:
                self._ping(endpoint, number)
                last_round = number
            stopped = self._task(endpoint, number, size)
            if stopped:
                return Outcome(self._complete, self._failed, stopped)
        return Outcome(self._complete, self._failed, None)

    def _task(self, endpoint: Asked, number: int, size: int) -> str | None:
        task = f"{number}/{size}"
        for attempt in range(self._ended.get(task, 0), self.plan.retries + 1):
            words = self._words.words_for(size)
            prompt = prompt_of(words, hash((self.plan.seed, number, size, attempt)))
            most_usd = self.budget.most_usd(
                self._words.most_tokens_of(words, prompt), self.plan.max_tokens
            )
            if not self.budget.allows(most_usd):
                return (
                    f"the budget is used up: {self.budget.spent_requests} requests, "
                    f"${self.budget.spent_usd:.4f} spent or set aside"
                )
            probe_id = f"{task}/{attempt}"
            self.ledger.add({"kind": "ask", "id": probe_id, "most_usd": most_usd})
            self.budget.set_aside(most_usd)
            asked = Probe(probe_id, words, self.plan.max_tokens, self.now())
            probe = endpoint.ask(asked, prompt)
            self.ledger.add(probe.to_entry())
            self._take(probe, most_usd)
            self.notice(probe)
            if probe.complete:
                self.wait(self.plan.pause_s)
                return None
            if probe.failure in FATAL:
                return f"the endpoint refused ({probe.failure}): {probe.said}"
            if self._in_a_row >= FAILURES_IN_A_ROW:
                return f"{self._in_a_row} requests failed in a row, the last: {failure_text(probe)}"
            self.wait(min(probe.retry_after_s or 0.5 * 2.0**attempt, MOST_WAIT_S))
        return None

    def _ping(self, endpoint: Asked, number: int) -> None:
        done = any(
            e.get("kind") == "ping" and e.get("round") == number for e in self.ledger.entries
        )
        if done or not self.plan.pings:
            return
        # The first round trip on a fresh connection pays for its handshake.
        times = [endpoint.ping() for _ in range(self.plan.pings + 1)][1:]
        seen = [seconds for seconds in times if seconds is not None]
        self.ledger.add({"kind": "ping", "round": number, "at": self.now(), "seconds": seen})

    def _take(self, probe: Probe, most_usd: float) -> None:
        number, size, attempt = probe.id.split("/")
        task = f"{number}/{size}"
        self._ended[task] = int(attempt) + 1
        usage, usd = probe.usage, None
        if usage.prompt_tokens is not None and usage.output_tokens is not None:
            usd = self.budget.price.usd(
                usage.prompt_tokens, usage.output_tokens, usage.cached_tokens or 0
            )
            self._words.learn(probe.prompt_words, usage.prompt_tokens)
        self.budget.settle(most_usd, usd)
        if probe.complete:
            self._complete += 1
            self._in_a_row = 0
            self._ended[task] = self.plan.retries + 1
        else:
            self._failed += 1
            self._in_a_row += 1


def failure_text(probe: Probe) -> str:
    """What went wrong in words."""
    return f"{probe.failure}{': ' + probe.said if probe.said else ''}"


def seen(ledger: list[dict[str, object]]) -> tuple[list[Probe], list[float]]:
    """All probes and all pings in a ledger's entries."""
    probes = [Probe.from_entry(entry) for entry in ledger if entry.get("kind") == "probe"]
    pings: list[float] = []
    for entry in ledger:
        seconds = entry.get("seconds") if entry.get("kind") == "ping" else None
        if isinstance(seconds, list):
            pings += [float(value) for value in seconds]
    return probes, pings
