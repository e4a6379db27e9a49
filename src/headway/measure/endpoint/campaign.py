"""A campaign of probes: sizes in shuffled rounds, within a budget, resumable after any end.

Every request is announced in the ledger before it is sent and recorded when it has ended, so that
a kill loses one probe and no dollar goes uncounted. Sizes are shuffled anew in every round, so that
drift over the day does not look like an effect of size.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from headway.errors import InputError
from headway.measure.endpoint.budget import Budget
from headway.measure.endpoint.ledger import Ledger
from headway.measure.endpoint.probe import Probe
from headway.measure.endpoint.prompts import WordCount, prompt_of
from headway.measure.endpoint.stream import FATAL

VERSION = 1
MAX_WAIT_S = 60.0
MAX_FAILURES_IN_A_ROW = 6


class EndpointClient(Protocol):
    """What a campaign needs of an endpoint."""

    def ask(self, probe: Probe, prompt: str) -> Probe:
        """Send one request and return all that was seen."""
        ...

    def ping(self) -> float | None:
        """Return seconds of a round trip without inference."""
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

    @property
    def max_requests(self) -> int:
        """Requests if all fail as often as they may."""
        return self.num_requests * (self.retries + 1)

    def tasks(self) -> Iterator[tuple[int, int]]:
        """Yield round and prompt tokens of every request, in the order of asking."""
        sizes = sorted(set(self.prompt_tokens))
        for round_number in range(self.trials):
            # Something must be known of the tokenizer before long prompts are composed.
            order = list(sizes)
            if round_number > 0:
                random.Random(f"{self.seed}/{round_number}").shuffle(order)
            yield from ((round_number, size) for size in order)

    def expected_usd(self, budget: Budget) -> float:
        """Return dollars if every request goes as planned."""
        prompt_tokens = sum(set(self.prompt_tokens)) * self.trials
        output_tokens = self.num_requests * self.max_tokens
        return float(budget.token_price.usd(prompt_tokens, output_tokens))


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a campaign ended: ``stopped`` is ``None`` when all was asked, else says why not."""

    num_complete: int
    num_failures: int
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
    _num_attempts: dict[str, int] = field(default_factory=dict, init=False)
    _num_complete: int = field(default=0, init=False)
    _num_failures: int = field(default=0, init=False)
    _failures_in_a_row: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Take up what the ledger holds; raise `InputError` if it is of another campaign."""
        plan = {**asdict(self.plan), "prompt_tokens": list(self.plan.prompt_tokens)}
        start: dict[str, Any] = {
            "kind": "start",
            "headway_campaign": VERSION,
            "subject": self.subject,
            "plan": plan,
        }
        if not self.ledger.entries:
            self.ledger.add(start)
            return
        if self.ledger.entries[0] != start:
            other = self.ledger.entries[0].get("subject")
            raise InputError(
                f"{self.ledger.path} holds another campaign (of {other!r}, or with another plan); "
                "give another file, or the same options to resume it"
            )

        # What was announced counts, whether or not it is known to have ended.
        reserved_usd: dict[str, float] = {}
        for entry in self.ledger.entries[1:]:
            if entry.get("kind") == "ask":
                max_usd = float(str(entry["max_usd"]))
                reserved_usd[str(entry["id"])] = max_usd
                self.budget.spent_requests += 1
                self.budget.spent_usd += max_usd
            elif entry.get("kind") == "probe":
                probe = Probe.from_entry(entry)
                self._record(probe, reserved_usd[probe.id])

    def run(self, endpoint: EndpointClient) -> Outcome:
        """Ask all that has not been asked; stop where the budget or the endpoint ends it."""
        last_round, stopped = -1, None
        for round_number, size in self.plan.tasks():
            if round_number != last_round:
                self._ping(endpoint, round_number)
                last_round = round_number
            stopped = self._run_task(endpoint, round_number, size)
            if stopped:
                break
        return Outcome(self._num_complete, self._num_failures, stopped)

    def _run_task(self, endpoint: EndpointClient, round_number: int, size: int) -> str | None:
        """Ask until an answer is complete; return why the campaign must stop, if it must."""
        task = f"{round_number}/{size}"
        for attempt in range(self._num_attempts.get(task, 0), self.plan.retries + 1):
            # The prompt, and the most that it can cost.
            num_words = self._words.words_for(size)
            prompt = prompt_of(num_words, hash((self.plan.seed, round_number, size, attempt)))
            max_tokens = self._words.max_tokens_of(num_words, prompt)
            max_usd = self.budget.token_price.max_usd(max_tokens, self.plan.max_tokens)
            if not self.budget.allows(max_usd):
                return (
                    f"the budget is used up: {self.budget.spent_requests} requests, "
                    f"${self.budget.spent_usd:.4f} spent or set aside"
                )

            # Announce, ask, record.
            probe_id = f"{task}/{attempt}"
            self.ledger.add({"kind": "ask", "id": probe_id, "max_usd": max_usd})
            self.budget.reserve(max_usd)
            probe = endpoint.ask(
                Probe(probe_id, num_words, self.plan.max_tokens, self.now()), prompt
            )
            self.ledger.add(probe.to_entry())
            self._record(probe, max_usd)
            self.notice(probe)

            if probe.complete:
                self.wait(self.plan.pause_s)
                return None
            if probe.failure in FATAL:
                return f"the endpoint refused ({probe.failure}): {probe.message}"
            if self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
                return (
                    f"{self._failures_in_a_row} requests failed in a row, the last: "
                    f"{probe.failure_text}"
                )
            self.wait(min(probe.retry_after_s or 0.5 * 2.0**attempt, MAX_WAIT_S))
        return None

    def _ping(self, endpoint: EndpointClient, round_number: int) -> None:
        """Time round trips, unless the ledger has those of this round."""
        rounds = {e.get("round") for e in self.ledger.entries if e.get("kind") == "ping"}
        if round_number in rounds or not self.plan.pings:
            return

        # The first round trip on a fresh connection pays for its handshake.
        times = [endpoint.ping() for _ in range(self.plan.pings + 1)][1:]
        seconds = [time_s for time_s in times if time_s is not None]
        self.ledger.add(
            {"kind": "ping", "round": round_number, "at": self.now(), "seconds": seconds}
        )

    def _record(self, probe: Probe, reserved_usd: float) -> None:
        task, _, attempt = probe.id.rpartition("/")
        usage, charged_usd = probe.usage, None
        if usage.prompt_tokens is not None and usage.output_tokens is not None:
            cached = usage.cached_tokens or 0
            price = self.budget.token_price
            charged_usd = float(price.usd(usage.prompt_tokens, usage.output_tokens, cached))
            self._words.learn(probe.prompt_words, usage.prompt_tokens)
        self.budget.settle(reserved_usd, charged_usd)

        if probe.complete:
            self._num_complete += 1
            self._failures_in_a_row = 0
            self._num_attempts[task] = self.plan.retries + 1
        else:
            self._num_failures += 1
            self._failures_in_a_row += 1
            self._num_attempts[task] = int(attempt) + 1


def probes_and_pings(entries: Sequence[dict[str, object]]) -> tuple[list[Probe], list[float]]:
    """Return all probes and all pings, in seconds, in a ledger's ``entries``."""
    probes = [Probe.from_entry(entry) for entry in entries if entry.get("kind") == "probe"]
    pings_s: list[float] = []
    for entry in entries:
        seconds = entry.get("seconds") if entry.get("kind") == "ping" else None
        if isinstance(seconds, list):
            pings_s += [float(value) for value in seconds]
    return probes, pings_s
