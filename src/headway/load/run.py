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
from headway.http.small import fastest_loop
from headway.load.answer import Answer, Outcome
from headway.load.client import Client, Target
from headway.load.plan import Planned, shares

SETTLE_S = 0.3
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


def _quiet(number: int, ended: int) -> None:
    """Tell nobody."""


async def open_loop(
    server: Server,
    planned: Sequence[Planned],
    start_s: float | None = None,
    patience_s: float = 300.0,
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
    client = Client(Target(server.url, server.api, server.api_key))
    begin_s = monotonic() + SETTLE_S if start_s is None else start_s
    answers: dict[int, Answer] = {}
    all_sent, all_ended = asyncio.Event(), asyncio.Event()
    sent = 0

    def done(answer: Answer) -> None:
        answers[answer.number] = answer
        tick(sent, len(answers))
        if len(answers) == len(planned):
            all_ended.set()

    def ring() -> None:
        nonlocal sent
        while sent < len(planned):
            due_s = begin_s + planned[sent].due_s
            if due_s > monotonic():
                alarm.set(due_s)
                return
            sent += 1
            client.send(sent - 1, planned[sent - 1], due_s, done)
        all_sent.set()

    alarm = Alarm(ring)
    try:
        await client.prepare(min(len(planned), 64))
        if planned:
            alarm.set(begin_s + planned[0].due_s)
            await all_sent.wait()
            try:
                await asyncio.wait_for(all_ended.wait(), patience_s)
            except TimeoutError:
                _give_up(planned, answers, begin_s)
    finally:
        alarm.close()
        await client.close()
    return Outcome(begin_s, tuple(answers[n] for n in sorted(answers)))


async def closed_loop(
    server: Server,
    planned: Sequence[Planned],
    concurrency: int,
    patience_s: float = 300.0,
    tick: Tick = _quiet,
    ramp_s: float = 0.0,
) -> Outcome:
    """Keep ``concurrency`` requests under way until all of ``planned`` are answered.

    They are started over ``ramp_s`` seconds: at once, answers of equal length stay in step for the
    whole run, and every wave of new requests queues in the server's socket.
    """
    if concurrency < 1:
        raise InputError(f"concurrency must be at least 1, not {concurrency}")
    client = Client(Target(server.url, server.api, server.api_key))
    await client.prepare(min(concurrency, len(planned)))
    answers: dict[int, Answer] = {}
    all_ended = asyncio.Event()
    following = iter(range(len(planned)))
    sent = 0

    def next_one() -> None:
        nonlocal sent
        number = next(following, None)
        if number is not None:
            sent += 1
            client.send(number, planned[number], monotonic(), done)

    def done(answer: Answer) -> None:
        answers[answer.number] = answer
        tick(sent, len(answers))
        if len(answers) == len(planned):
            all_ended.set()
        next_one()

    begin_s = monotonic()
    try:
        for place in range(min(concurrency, len(planned))):
            if ramp_s > 0:
                await asyncio.sleep(begin_s + place * ramp_s / concurrency - monotonic())
            next_one()
        if planned:
            try:
                await asyncio.wait_for(all_ended.wait(), patience_s)
            except TimeoutError:
                _give_up(planned, answers, begin_s)
    finally:
        await client.close()
    return Outcome(begin_s, tuple(answers[n] for n in sorted(answers)))


def _give_up(planned: Sequence[Planned], answers: dict[int, Answer], begin_s: float) -> None:
    """Whoever has not answered by now counts as failed: leaving it out would flatter the server."""
    for number, one in enumerate(planned):
        if number not in answers:
            due_s = begin_s + one.due_s
            answers[number] = Answer(
                number, due_s, due_s, (), one.prompt_tokens, 0, 0, "no answer in time"
            )


def run(work: Callable[[], Awaitable[Outcome]]) -> Outcome:
    """Run a loop to its end, on uvloop where that is installed."""

    async def main() -> Outcome:
        return await work()

    with asyncio.Runner(loop_factory=fastest_loop()) as runner:
        return runner.run(main())


def _part(server: Server, planned: list[Planned], start_s: float, patience_s: float) -> Outcome:
    return run(lambda: open_loop(server, planned, start_s, patience_s))


def open_loop_on(
    server: Server, planned: Sequence[Planned], processes: int, patience_s: float = 300.0
) -> Outcome:
    """An open loop dealt out to several processes that start at one moment."""
    parts = shares(planned, processes)
    start_s = monotonic() + 1.5  # the clock is the same in all of them; starting takes a second
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(parts), mp_context=context, initializer=_ignore) as pool:
        outcomes = list(
            pool.map(_part, [server] * len(parts), parts, [start_s] * len(parts),
                     [patience_s] * len(parts))
        )  # fmt: skip
    answers = [
        replace(answer, number=answer.number * len(parts) + k)
        for k, outcome in enumerate(outcomes)
        for answer in outcome.answers
    ]
    return Outcome(start_s, tuple(sorted(answers, key=lambda a: a.number)))


def _ignore() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
