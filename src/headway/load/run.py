"""Loops that ask: open ones, which never wait for answers, and closed ones, which always do."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from time import monotonic
from typing import cast

from headway.errors import HeadwayError, InputError
from headway.http.alarm import Alarm
from headway.http.message import fastest_loop
from headway.load.answer import Answer, Outcome
from headway.load.answers import STALL_S, TELL_S, Answers, Count, Tick
from headway.load.client import Client, Target
from headway.load.interruption import Interruption
from headway.load.plan import Planned, shares

SETTLE_S = 0.3
START_S = 1.5  # what several processes need to start


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


async def open_loop(
    server: Server,
    planned: Sequence[Planned],
    start_s: float | None = None,
    *,
    drain_s: float | None = STALL_S,
    tick: Tick | None = None,
    interruption: Interruption | None = None,
) -> Outcome:
    """Send every request when it is due, whatever became of those before.

    Args:
        server: whom to ask.
        planned: in the order in which they are due.
        start_s: the moment from which due times count; soon, by default.
        drain_s: how long to wait for answers after the last request was sent; ``None`` for as long
            as they may take, but not for the backlog of a server that has fallen behind.
        tick: told again and again how far the run has come.
        interruption: asks the run to stop.

    """
    client = server.client()
    begin_s = monotonic() + SETTLE_S if start_s is None else start_s
    answers = Answers(client, planned)
    turns: dict[int, int] = {}  # the next turn, by the one whose answer its user still reads
    ended: set[int] = set()
    num_due = 0

    def ends(answer: Answer) -> None:
        ended.add(answer.number)
        number = turns.pop(answer.number, None)
        if number is not None and not answers.is_stopped:
            answers.send(number, monotonic(), ends)

    def send_due() -> None:
        nonlocal num_due
        while num_due < len(planned) and not answers.is_stopped:
            number = num_due
            due_s = begin_s + planned[number].due_s
            if due_s > monotonic():
                alarm.set(due_s)
                return

            num_due += 1
            after = planned[number].after
            if after is not None and after not in ended:
                turns[after] = number
            else:
                answers.send(number, due_s, ends)
        answers.all_sent.set()

    alarm = Alarm(send_due)
    try:
        await client.prepare(min(len(planned), 64))
        if planned:
            with (interruption or Interruption()).calls(answers.stop), answers.told(tick):
                alarm.set(begin_s + planned[0].due_s)
                await answers.all_sent.wait()
                await answers.drain(drain_s)
        return answers.outcome(begin_s)
    finally:
        alarm.close()
        await client.close()


async def closed_loop(
    server: Server,
    planned: Sequence[Planned],
    concurrency: int,
    *,
    drain_s: float | None = STALL_S,
    tick: Tick | None = None,
    ramp_s: float = 0.0,
    send_s: float | None = None,
    interruption: Interruption | None = None,
) -> Outcome:
    """Keep ``concurrency`` requests under way until all of ``planned`` are answered.

    After ``send_s`` no more are sent.

    They are started over ``ramp_s`` seconds: at once, answers of equal length stay in step for the
    whole run, and every wave of new requests queues in the server's socket. The run ends when no
    answer has come for ``drain_s``.
    """
    if concurrency < 1:
        raise InputError(f"concurrency must be at least 1, not {concurrency}")
    client = server.client()
    answers = Answers(client, planned)
    num_sent = 0

    def send_next(_: Answer | None = None) -> None:
        nonlocal num_sent
        if send_s is not None and monotonic() - begin_s >= send_s:
            answers.all_sent.set()
        elif num_sent < len(planned) and not answers.is_stopped:
            num_sent += 1
            answers.send(num_sent - 1, monotonic(), send_next)

    width = min(concurrency, len(planned))
    try:
        await client.prepare(width)
        begin_s = monotonic()
        with (interruption or Interruption()).calls(answers.stop), answers.told(tick):
            for place in range(width):
                if ramp_s > 0:
                    await asyncio.sleep(begin_s + place * ramp_s / concurrency - monotonic())
                send_next()
            if planned:
                await answers.drain_stalled(drain_s)
        return answers.outcome(begin_s)
    finally:
        await client.close()


def run(work: Callable[[], Awaitable[Outcome]]) -> Outcome:
    """Run a loop to its end, on uvloop where that is installed."""

    async def main() -> Outcome:
        return await work()

    with asyncio.Runner(loop_factory=fastest_loop()) as runner:
        return runner.run(main())


def open_loop_on(
    server: Server,
    planned: Sequence[Planned],
    processes: int,
    *,
    drain_s: float | None = STALL_S,
    tick: Tick | None = None,
    interruption: Interruption | None = None,
) -> Outcome:
    """Run an open loop that is dealt out to several processes, which start at one moment."""
    parts = shares(planned, processes)
    start_s = monotonic() + START_S  # the clock is the same in all of them
    context = multiprocessing.get_context("spawn")
    pipes: list[Connection] = []
    for part in parts:
        ours, theirs = context.Pipe()
        arguments = (theirs, server, part, start_s, drain_s)
        context.Process(target=_serve_part, args=arguments, daemon=True).start()
        theirs.close()
        pipes.append(ours)

    # Each says again and again how far it has come, and in the end what it measured.
    counts = [Count()] * len(parts)
    outcomes: dict[int, Outcome] = {}
    is_told_to_stop = False
    while len(outcomes) < len(parts):
        for pipe in wait([pipes[k] for k in range(len(parts)) if k not in outcomes], TELL_S):
            k = pipes.index(cast(Connection, pipe))
            try:
                message: Count | Outcome | HeadwayError = pipes[k].recv()
            except EOFError:
                raise InputError(
                    "a process of the load was ended from outside: is there memory for all of them?"
                ) from None
            if isinstance(message, HeadwayError):
                raise message
            if isinstance(message, Outcome):
                outcomes[k] = message
            else:
                counts[k] = message
        if tick is not None:
            tick(Count(*map(sum, zip(*counts, strict=True))))
        if interruption is not None and interruption.is_asked and not is_told_to_stop:
            is_told_to_stop = True
            for pipe in pipes:
                pipe.send("stop")

    # Part k has every request whose number is k modulo the number of parts.
    answers = [
        replace(answer, number=answer.number * len(parts) + k)
        for k, outcome in outcomes.items()
        for answer in outcome.answers
    ]
    return Outcome(
        start_s,
        tuple(sorted(answers, key=lambda a: a.number)),
        num_cut=sum(outcome.num_cut for outcome in outcomes.values()),
        num_not_sent=sum(outcome.num_not_sent for outcome in outcomes.values()),
    )


def _serve_part(
    pipe: Connection,
    server: Server,
    planned: list[Planned],
    start_s: float,
    drain_s: float | None,
) -> None:
    """Run a part of an open loop in a process of its own, which its parent alone stops."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    interruption = Interruption()

    def hear() -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(pipe.fileno())
        interruption.ask()

    async def part() -> Outcome:
        loop = asyncio.get_running_loop()
        loop.add_reader(pipe.fileno(), hear)
        try:
            return await open_loop(
                server,
                planned,
                start_s,
                drain_s=drain_s,
                tick=pipe.send,
                interruption=interruption,
            )
        finally:
            loop.remove_reader(pipe.fileno())
            os.set_blocking(pipe.fileno(), True)  # uvloop makes it non-blocking: long messages fail

    try:
        pipe.send(run(part))
    except HeadwayError as error:
        pipe.send(error)
