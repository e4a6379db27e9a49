"""Continuous batching apart from the sockets: who waits, who runs, one step after the other.

Whoever asks does so through a pipe, and is told through it what every step gave. An engine that
computes is at the other end in a process of its own: OpenVINO GenAI holds the interpreter's lock
for as long as a step lasts, so that in a thread beside it no socket is served meanwhile.
"""

from __future__ import annotations

import heapq
import multiprocessing
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from time import perf_counter, thread_time
from typing import Protocol

from headway.errors import InputError


@dataclass(frozen=True, slots=True)
class Work:
    """One request as a pipeline sees it.

    Attributes:
        number: its own.
        prompt: token ids, at least one.
        max_tokens: after so many the answer ends.
        ignore_eos: whether the model may not end it earlier.
        priority: the smallest goes first among those that wait (vLLM's meaning).

    """

    number: int
    prompt: tuple[int, ...]
    max_tokens: int
    ignore_eos: bool = False
    priority: int = 0

    def __post_init__(self) -> None:
        if not self.prompt or self.max_tokens < 1:
            raise InputError("a request needs a prompt and at least 1 token to answer with")


@dataclass(frozen=True, slots=True)
class Piece:
    """What a step gave one request: ``tokens``, and why it ended, if it did.

    ``cached_tokens`` of its prompt were not computed, as far as the pipeline tells.
    """

    number: int
    tokens: tuple[int, ...]
    reason: str = ""
    cached_tokens: int = 0


class Pipeline(Protocol):
    """Whatever computes: all that was added advances by one forward pass with every `step`."""

    @property
    def kv_usage(self) -> float:
        """Share of the KV cache in use, 0 to 1."""
        ...

    def has_room(self, work: Work) -> bool:
        """Return whether it can be let in now; the first of all always can."""
        ...

    def add(self, sequence: Work) -> None:
        """Let ``sequence`` take part from the next step on."""
        ...

    def cancel(self, number: int) -> None:
        """Forget a sequence that has not ended."""
        ...

    def step(self) -> list[Piece]:
        """Compute one forward pass."""
        ...


@dataclass(frozen=True, slots=True)
class Count:
    """What a batcher did so far: the counters behind ``/metrics``.

    ``running`` and ``waiting`` are those of the last step, as in vLLM: who came since is neither,
    or a free engine would seem to have a queue.
    ``step_cpu_s`` is what its thread computed of ``step_s``; the rest it waited for a core, or for
    the interpreter.
    """

    running: int = 0
    waiting: int = 0
    steps: int = 0
    step_s: float = 0.0
    step_cpu_s: float = 0.0
    kv_usage: float = 0.0


Message = tuple[list[Piece], Count] | str  # what a step gave, or what broke


class Batcher:
    """Runs at most ``max_num_seqs`` sequences at once; the others wait by priority, then by age."""

    def __init__(self, pipeline: Pipeline, max_num_seqs: int) -> None:
        """Run nothing yet."""
        if max_num_seqs < 1:
            raise InputError(f"an engine runs at least 1 sequence, not {max_num_seqs}")
        self._pipeline = pipeline
        self._max_num_seqs = max_num_seqs
        self._waiting: list[tuple[int, int, Work]] = []
        self._running: set[int] = set()
        self._steps = 0
        self._step_s = 0.0
        self._step_cpu_s = 0.0

    def run(self, pipe: Connection) -> None:
        """Step until ``pipe`` says ``None`` or its other end is closed; then close it.

        It takes works, and the numbers of those that nobody wants any more. After every step it
        says what that gave, and a text should the pipeline break.
        """
        try:
            while self._listen(pipe):
                self._let_in()
                pipe.send(self._step() if self._running else ([], self._count(0, 0)))
        except (EOFError, BrokenPipeError):
            return
        except Exception as error:  # a pipeline may raise anything, and its clients must know
            pipe.send(f"the engine broke: {error}")
        finally:
            pipe.close()

    def _let_in(self) -> None:
        """Let in who waits, the first first, while there is a place and room for its cache."""
        while self._waiting and len(self._running) < self._max_num_seqs:
            work = self._waiting[0][2]
            if not self._pipeline.has_room(work):
                return
            heapq.heappop(self._waiting)
            self._pipeline.add(work)
            self._running.add(work.number)

    def _step(self) -> Message:
        running, waiting = len(self._running), len(self._waiting)
        begin_s, begin_cpu_s = perf_counter(), thread_time()
        pieces = self._pipeline.step()
        self._step_s += perf_counter() - begin_s
        self._step_cpu_s += thread_time() - begin_cpu_s
        self._steps += 1

        for piece in pieces:
            if piece.reason:
                self._running.discard(piece.number)
        if not self._running and not self._waiting:
            running = 0
        return pieces, self._count(running, waiting)

    def _count(self, running: int, waiting: int) -> Count:
        return Count(
            running=running,
            waiting=waiting,
            steps=self._steps,
            step_s=self._step_s,
            step_cpu_s=self._step_cpu_s,
            kv_usage=self._pipeline.kv_usage,
        )

    def _listen(self, pipe: Connection) -> bool:
        """Take in works and cancellations; wait for them if there is nothing to do."""
        is_idle = not self._running and not self._waiting
        while is_idle or pipe.poll():
            message: Work | int | None = pipe.recv()
            is_idle = False
            if message is None:
                return False

            if isinstance(message, Work):
                heapq.heappush(self._waiting, (message.priority, message.number, message))
            elif message in self._running:
                self._running.discard(message)
                self._pipeline.cancel(message)
            else:
                self._waiting = [entry for entry in self._waiting if entry[1] != message]
                heapq.heapify(self._waiting)
        return True


def in_thread(pipeline: Pipeline, max_num_seqs: int) -> Connection:
    """Batch on a thread of this process: for a pipeline that sleeps. The pipe to speak through."""
    ours, theirs = multiprocessing.Pipe()
    batcher = Batcher(pipeline, max_num_seqs)
    threading.Thread(target=batcher.run, args=(theirs,), name="engine", daemon=True).start()
    return ours


def in_process(make: Callable[[], Pipeline], max_num_seqs: int) -> Connection:
    """Batch in a process of its own, where ``make`` builds the pipeline; the pipe to speak through.

    Raises:
        InputError: whatever ``make`` raised, in a sentence.

    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    context.Process(target=_compute, args=(theirs, make, max_num_seqs), daemon=True).start()
    theirs.close()
    problem: str = ours.recv()
    if problem:
        raise InputError(problem)
    return ours


def _compute(pipe: Connection, make: Callable[[], Pipeline], max_num_seqs: int) -> None:
    # An interrupt is meant for the server, which then tells this process to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        batcher = Batcher(make(), max_num_seqs)
    except Exception as error:  # told to whoever waits for the engine
        pipe.send(f"{error}")
        return
    pipe.send("")
    batcher.run(pipe)
