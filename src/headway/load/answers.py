"""The answers of a run as they come, and what becomes of those that do not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from time import monotonic
from typing import NamedTuple

import numpy as np

from headway.load.answer import GIVEN_UP, Answer, Outcome
from headway.load.client import Client, Flight
from headway.load.overload import grows
from headway.load.plan import Planned

TELL_S = 0.25
STALL_S = 300.0  # without any answer, or after the last request: longer nobody is waited for
OVERLOADED_DRAIN_S = 30.0  # of a server that has fallen behind: its latencies are lost already


class Count(NamedTuple):
    """How far a run has come."""

    num_sent: int = 0
    num_ended: int = 0
    num_failed: int = 0


Tick = Callable[[Count], None]


class Answers:
    """Sends the requests of a run and collects their answers.

    Attributes:
        all_sent: set when the last request was sent, or nobody wants more.
        is_stopped: whether somebody wants no more.

    """

    def __init__(self, client: Client, planned: Sequence[Planned]) -> None:
        """Wait for an answer to each of ``planned``; needs a running loop."""
        self.all_sent = asyncio.Event()
        self.is_stopped = False
        self._client = client
        self._planned = planned
        self._answers: dict[int, Answer] = {}
        self._flights: dict[int, Flight] = {}
        self._num_failed = 0
        self._over = asyncio.Event()
        self._last_s = monotonic()

    @property
    def count(self) -> Count:
        """How far the run has come."""
        num_ended = len(self._answers)
        return Count(num_ended + len(self._flights), num_ended, self._num_failed)

    def send(self, number: int, due_s: float, then: Callable[[Answer], None]) -> None:
        """Send request ``number`` now; ``then`` hears how it went, after it was collected."""

        def deliver(answer: Answer) -> None:
            if self._flights.pop(number, None) is None:
                return  # given up already
            self._answers[number] = answer
            self._num_failed += bool(answer.problem) and not answer.is_cancelled
            self._last_s = monotonic()
            then(answer)
            if self._is_complete():
                self._over.set()

        flight = Flight(number, self._planned[number], due_s, deliver)
        self._flights[number] = flight
        self._client.send(flight)

    def _is_complete(self) -> bool:
        """Whether nothing is under way, and nothing will be."""
        is_sent = self.all_sent.is_set() or len(self._answers) == len(self._planned)
        return is_sent and not self._flights

    def stop(self) -> None:
        """Send no more, and wait for nobody."""
        self.is_stopped = True
        self.all_sent.set()
        self._over.set()

    @contextmanager
    def told(self, tick: Tick | None) -> Iterator[None]:
        """Tell ``tick`` again and again how far the run has come while the block lasts."""
        if tick is None:
            yield
            return

        async def tell() -> None:
            while True:
                tick(self.count)
                await asyncio.sleep(TELL_S)

        task = asyncio.create_task(tell())
        try:
            yield
        finally:
            task.cancel()
            tick(self.count)

    async def drain(self, drain_s: float | None) -> None:
        """Wait for the answers that are still under way after the last request was sent.

        Without ``drain_s`` as long as answers may take (`STALL_S`), but not for a backlog
        (`OVERLOADED_DRAIN_S`), where more and more requests wait for their first token.
        """
        if self._is_complete():
            return
        if drain_s is None:
            drain_s = OVERLOADED_DRAIN_S if self._is_falling_behind() else STALL_S
        with suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), drain_s)

    async def drain_stalled(self, drain_s: float | None) -> None:
        """Wait for all answers until for so long, `STALL_S` without a bound, none has come."""
        while not self._over.is_set():
            left_s = self._last_s + (STALL_S if drain_s is None else drain_s) - monotonic()
            if left_s <= 0:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), left_s)

    def _is_falling_behind(self) -> bool:
        answers = self._answers.values()
        due_s = [a.due_s for a in answers if a.token_s] + [f.due_s for f in self._flights.values()]
        first_s = [a.token_s[0] for a in answers if a.token_s]
        first_s += [np.inf if f.first_s is None else f.first_s for f in self._flights.values()]
        return grows(due_s, first_s)

    def outcome(self, begin_s: float) -> Outcome:
        """Return all answers in the order of their numbers.

        Who has not answered by now has failed, since leaving it out would flatter the server; but
        if somebody stopped the run, it is left out and counted.
        """
        answers = dict(self._answers)
        if not self.is_stopped:
            for number, flight in self._flights.items():
                answers[number] = flight.answer_until_now(GIVEN_UP)
        return Outcome(
            begin_s,
            tuple(answers[n] for n in sorted(answers)),
            num_cut=len(self._flights) if self.is_stopped else 0,
            num_not_sent=len(self._planned) - len(self._answers) - len(self._flights),
        )
