"""Loops that ask: open ones, which never wait for answers, and closed ones, which always do."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from time import monotonic

from headway.errors import InputError
from headway.http.alarm import Alarm
from headway.http.message import fastest_loop
from headway.load.answer import Answer, Outcome
from headway.load.client import Client, Target
from headway.load.plan import Planned, shares

SETTLE_S = 0.3
START_S = 1.5  # what several processes need to start
PATIENCE_S = 300.0
Tick = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Server:
    """Whom to ask, in a form that other processes understand.

    Attributes:
        url: such as ``http://localhost:8000/v1``.
        api: chat or completions.
        api_key: empty for none.

    """

    url: str
    api: str = "chat"
    api_key: str = ""

    def client(self) -> Client:
        """Return a client of it; needs a running loop."""
        return Client(Target(self.url, self.api, self.api_key))


def _quiet(num_sent: int, num_ended: int) -> None:
    """Tell nobody."""


class _Answers:
    """Collects the answers of a run.

    Attributes:
        num_sent: requests that were sent so far.

    """

    def __init__(self, planned: Sequence[Planned], tick: Tick) -> None:
        """Wait for an answer to each of ``planned``; tell ``tick`` after each."""
        self.num_sent = 0
        self._planned = planned
        self._tick = tick
        self._answers: dict[int, Answer] = {}
        self._complete = asyncio.Event()

    def add(self, answer: Answer) -> None:
        """Take one answer."""
        self._answers[answer.number] = answer
        self._tick(self.num_sent, len(self._answers))
        if len(self._answers) == len(self._planned):
            self._complete.set()

    async def wait(self, patience_s: float, begin_s: float) -> None:
        """Wait until all are there, or ``patience_s`` are over.

        Whoever has not answered by then has failed: leaving it out would flatter the server.
        """
        try:
            await asyncio.wait_for(self._complete.wait(), patience_s)
            return
        except TimeoutError:
            pass
        for number, planned in enumerate(self._planned):
            if number not in self._answers:
                due_s = begin_s + planned.due_s
                self._answers[number] = Answer(
                    number=number,
                    due_s=due_s,
                    sent_s=due_s,
                    token_s=(),
                    prompt_tokens=planned.prompt_tokens,
                    output_tokens=0,
                    status=0,
                    problem="no answer in time",
                )

    def outcome(self, begin_s: float) -> Outcome:
        """Return all answers in the order of their numbers."""
        return Outcome(begin_s, tuple(self._answers[n] for n in sorted(self._answers)))


async def open_loop(
    server: Server,
    planned: Sequence[Planned],
    start_s: float | None = None,
    *,
    patience_s: float = PATIENCE_S,
    tick: Tick = _quiet,
) -> Outcome:
    """Send every request when it is due, whatever became of those before.

    Args:
        server: whom to ask.
        planned: in the order in which they are due.
        start_s: the moment from which due times count; soon, by default.
        patience_s: how long to wait for answers after the last request was sent.
        tick: told how many were sent and how many ended, after each.

    """
    client = server.client()
    begin_s = monotonic() + SETTLE_S if start_s is None else start_s
    answers = _Answers(planned, tick)
    all_sent = asyncio.Event()
    turns: dict[int, int] = {}  # the next turn, by the one whose answer its user still reads
    ended: set[int] = set()

    def deliver(answer: Answer) -> None:
        answers.add(answer)
        ended.add(answer.number)
        if (number := turns.pop(answer.number, None)) is not None:
            client.send(number, planned[number], monotonic(), deliver)

    def send_due() -> None:
        while answers.num_sent < len(planned):
            number = answers.num_sent
            due_s = begin_s + planned[number].due_s
            if due_s > monotonic():
                alarm.set(due_s)
                return

            answers.num_sent += 1
            after = planned[number].after
            if after is not None and after not in ended:
                turns[after] = number
            else:
                client.send(number, planned[number], due_s, deliver)
        all_sent.set()

    alarm = Alarm(send_due)
    try:
        await client.prepare(min(len(planned), 64))
        if planned:
            alarm.set(begin_s + planned[0].due_s)
            await all_sent.wait()
            await answers.wait(patience_s, begin_s)
    finally:
        alarm.close()
        await client.close()
    return answers.outcome(begin_s)


async def closed_loop(
    server: Server,
    planned: Sequence[Planned],
    concurrency: int,
    *,
    patience_s: float = PATIENCE_S,
    tick: Tick = _quiet,
    ramp_s: float = 0.0,
) -> Outcome:
    """Keep ``concurrency`` requests under way until all of ``planned`` are answered.

    They are started over ``ramp_s`` seconds: at once, answers of equal length stay in step for the
    whole run, and every wave of new requests queues in the server's socket.
    """
    if concurrency < 1:
        raise InputError(f"concurrency must be at least 1, not {concurrency}")
    client = server.client()
    answers = _Answers(planned, tick)

    def send_next() -> None:
        number = answers.num_sent
        if number < len(planned):
            answers.num_sent += 1
            client.send(number, planned[number], monotonic(), deliver)

    def deliver(answer: Answer) -> None:
        answers.add(answer)
        send_next()

    width = min(concurrency, len(planned))
    try:
        await client.prepare(width)
        begin_s = monotonic()
        for place in range(width):
            if ramp_s > 0:
                await asyncio.sleep(begin_s + place * ramp_s / concurrency - monotonic())
            send_next()
        if planned:
            await answers.wait(patience_s, begin_s)
    finally:
        await client.close()
    return answers.outcome(begin_s)


def run(work: Callable[[], Awaitable[Outcome]]) -> Outcome:
    """Run a loop to its end, on uvloop where that is installed."""

    async def main() -> Outcome:
        return await work()

    with asyncio.Runner(loop_factory=fastest_loop()) as runner:
        return runner.run(main())


def open_loop_on(
    server: Server, planned: Sequence[Planned], processes: int, patience_s: float = PATIENCE_S
) -> Outcome:
    """Run an open loop that is dealt out to several processes, which start at one moment."""
    parts = shares(planned, processes)
    start_s = monotonic() + START_S  # the clock is the same in all of them
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(parts), mp_context=context, initializer=_ignore_interrupt) as pool:
        futures = [pool.submit(_part, server, part, start_s, patience_s) for part in parts]
        outcomes = [future.result() for future in futures]

    # Part k has every request whose number is k modulo the number of parts.
    answers = [
        replace(answer, number=answer.number * len(parts) + k)
        for k, outcome in enumerate(outcomes)
        for answer in outcome.answers
    ]
    return Outcome(start_s, tuple(sorted(answers, key=lambda a: a.number)))


def _part(server: Server, planned: list[Planned], start_s: float, patience_s: float) -> Outcome:
    return run(lambda: open_loop(server, planned, start_s, patience_s=patience_s))


def _ignore_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
