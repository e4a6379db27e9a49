"""Continuous batching in a thread of its own: who waits, who runs, one step after the other.

The thread owns the pipeline. Whoever asks puts messages into a queue and is told what every step
gave; while a step computes, the interpreter is free to read and write sockets.
"""

from __future__ import annotations

import heapq
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter, thread_time
from typing import Protocol

from headway.errors import InputError


@dataclass(frozen=True, slots=True)
class Work:
    """One request as a pipeline sees it.

    Attributes:
        number: its own.
        prompt: token ids, at least one.
        most_tokens: after so many the answer ends.
        ignore_eos: whether the model may not end it earlier.
        priority: the smallest goes first among those that wait (vLLM's meaning).

    """

    number: int
    prompt: tuple[int, ...]
    most_tokens: int
    ignore_eos: bool = False
    priority: int = 0

    def __post_init__(self) -> None:
        if not self.prompt or self.most_tokens < 1:
            raise InputError("a request needs a prompt and at least 1 token to answer with")


@dataclass(frozen=True, slots=True)
class Piece:
    """What a step gave one request: ``tokens``, and why it ended, if it did."""

    number: int
    tokens: tuple[int, ...]
    reason: str = ""


class Pipeline(Protocol):
    """Whatever computes: all that was added advances by one forward pass with every `step`."""

    @property
    def kv_usage(self) -> float:
        """Share of the KV cache in use, 0 to 1."""
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


class TextPipeline(Pipeline, Protocol):
    """A pipeline that has a tokenizer."""

    def tokens(self, text: str) -> list[int]:
        """The tokens of ``text``."""
        ...

    def text(self, token: int) -> str:
        """The text of one token."""
        ...


@dataclass(frozen=True, slots=True)
class Count:
    """What a batcher did so far: the counters behind ``/metrics``.

    ``running`` and ``waiting`` are those of the last step, as in vLLM: who asked since is neither,
    or a free engine would seem to have a queue.
    ``step_cpu_s`` is what its thread computed of ``step_s``; the rest it waited for a core, or for
    the interpreter.
    """

    running: int
    waiting: int
    steps: int
    step_s: float
    step_cpu_s: float
    kv_usage: float


class Batcher:
    """Runs at most ``max_num_seqs`` sequences at once; the others wait by priority, then by age."""

    def __init__(
        self,
        pipeline: Pipeline,
        max_num_seqs: int,
        deliver: Callable[[Sequence[Piece]], None],
        broken: Callable[[str], None],
    ) -> None:
        """Start the thread; ``deliver`` and ``broken`` are called in it."""
        if max_num_seqs < 1:
            raise InputError(f"an engine runs at least 1 sequence, not {max_num_seqs}")
        self._pipeline = pipeline
        self._most = max_num_seqs
        self._deliver = deliver
        self._broken = broken
        self._inbox: queue.SimpleQueue[Work | int | None] = queue.SimpleQueue()
        self._waiting: list[tuple[int, int, Work]] = []
        self._running: set[int] = set()
        self._seen = (0, 0)
        self._steps = 0
        self._step_s = 0.0
        self._step_cpu_s = 0.0
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def ask(self, sequence: Work) -> None:
        """Let ``sequence`` wait for its turn."""
        self._inbox.put(sequence)

    def cancel(self, number: int) -> None:
        """Nobody wants that answer any more."""
        self._inbox.put(number)

    def stop(self) -> None:
        """End the thread after the step it is in."""
        self._inbox.put(None)
        self._thread.join()

    @property
    def count(self) -> Count:
        """As of the last step."""
        running, waiting = self._seen
        return Count(
            running, waiting, self._steps, self._step_s, self._step_cpu_s, self._pipeline.kv_usage
        )

    def _run(self) -> None:
        try:
            while self._listen():
                while self._waiting and len(self._running) < self._most:
                    sequence = heapq.heappop(self._waiting)[2]
                    self._pipeline.add(sequence)
                    self._running.add(sequence.number)
                self._seen = len(self._running), len(self._waiting)
                if self._running:
                    self._step()
                if not self._running and not self._waiting:
                    self._seen = 0, 0
        except Exception as error:  # a pipeline may raise anything, and its clients must know
            self._broken(f"the engine broke: {error}")

    def _step(self) -> None:
        began_s, began_cpu_s = perf_counter(), thread_time()
        pieces = self._pipeline.step()
        self._step_s += perf_counter() - began_s
        self._step_cpu_s += thread_time() - began_cpu_s
        self._steps += 1
        for piece in pieces:
            if piece.reason:
                self._running.discard(piece.number)
        self._deliver(pieces)

    def _listen(self) -> bool:
        """Take in what was asked; wait for it if there is nothing to do."""
        idle = not self._running and not self._waiting
        while idle or not self._inbox.empty():
            message = self._inbox.get()
            idle = False
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
