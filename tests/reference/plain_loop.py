"""Users in a closed loop on one engine, plainly: the next request of a user follows an answer.

The engine is the simulator's, as `tests.reference.plain_replica` specifies it, for first come first
served without cached prefixes: planned while the step before it runs, prompts in chunks of the
budget, the latest given up where the cache is short. A constant amount of work per step.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from headway.sim.site import Pool
from headway.workload.oracle import Floats, Ints

NEVER = 1 << 62


@dataclass(slots=True)
class Loop:
    """The state of the engine, and what became of every request."""

    pool: Pool
    prompt_tokens: Ints
    output_tokens: Ints
    users: int
    arrival_ns: Ints = field(init=False)
    last_ns: Ints = field(init=False)
    step: int = 0
    end_ns: int = 0
    free_blocks: int = 0
    num_requests: int = 0
    joining: list[tuple[int, int]] = field(default_factory=list)  # when, which
    waiting: deque[int] = field(default_factory=deque)
    running: dict[int, int] = field(default_factory=dict)  # tokens to prefill, latest last
    base: dict[int, int] = field(default_factory=dict)  # of those that decode: cache less steps
    produced: dict[int, int] = field(default_factory=dict)
    ended: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        count = len(self.prompt_tokens)
        self.arrival_ns, self.last_ns = (np.zeros(count, dtype=np.int64) for _ in range(2))
        self.free_blocks = self.pool.engine.num_kv_blocks
        for _ in range(self.users):
            self.ask(0)

    def blocks(self, tokens: int) -> int:
        """Blocks that hold ``tokens``."""
        return -(-tokens // self.pool.engine.kv_block_tokens)

    def ask(self, now: int) -> None:
        """Let a user send the next request."""
        i = self.num_requests
        if i < len(self.prompt_tokens):
            self.arrival_ns[i] = now
            added = self.pool.table.overhead_ns(self.prompt_tokens[i : i + 1])
            heapq.heappush(self.joining, (now + int(added[0]), i))
            self.num_requests += 1

    def end(self, i: int) -> None:
        """``i`` is through; what it held is given back when the next step is planned."""
        self.last_ns[i] = self.end_ns
        self.ended.append(i)
        self.ask(self.end_ns)

    def give_up(self, finishing: list[int], partial: dict[int, int]) -> int:
        """Let the latest wait again, first in line."""
        i = next(j for j in reversed(self.running) if j not in self.ended + finishing)
        held = partial.pop(i) if i in partial else self.base.pop(i) + self.step
        self.free_blocks += self.blocks(held)
        del self.running[i]
        self.waiting.appendleft(i)
        return i

    def serve(self) -> None:
        """Serve all requests."""
        engine, table = self.pool.engine, self.pool.table
        finishing: list[int] = []
        partial: dict[int, int] = {}
        planned, clock = False, self.joining[0][0]
        while True:
            joining = self.joining[0][0] if self.joining else NEVER
            now = min(joining, clock)
            if now == NEVER:
                return
            if joining <= clock:
                self.waiting.append(heapq.heappop(self.joining)[1])
                clock = now if clock == NEVER else clock
                continue

            # What was planned happens: every decode has a token, prompts that are through begin.
            if planned:
                self.step += 1
                for i in sorted(self.base):
                    self.produced[i] += 1
                for i in finishing:
                    self.produced[i] = self.produced.get(i, 0) + 1
                    self.base[i] = self.running[i] - self.step
                for i in [*sorted(set(self.base) - set(finishing)), *finishing]:
                    if self.produced[i] == self.output_tokens[i]:
                        del self.base[i]
                        self.end(i)
            for i in [i for i in self.ended if self.last_ns[i] <= now]:
                self.ended.remove(i)
                del self.running[i]
                tokens = int(self.prompt_tokens[i] + self.output_tokens[i] - 1)
                self.free_blocks += self.blocks(tokens)

            # Decodes first, each with room for its token.
            finishing, stopped, planned = [], False, False
            size = engine.kv_block_tokens
            while True:
                need = sum((base + self.step) % size == 0 for base in self.base.values())
                if need <= self.free_blocks:
                    break
                self.give_up(finishing, partial)
                stopped = True
            self.free_blocks -= need
            budget, new, pairs = engine.max_num_batched_tokens - len(self.base), 0, 0

            # Then the prompt that was cut off, then those that wait, while there is room.
            for i, start in list(partial.items()):
                chunk = min(self.running[i] - start, budget)
                more = self.blocks(start + chunk) - self.blocks(start)
                while more > self.free_blocks and i in partial:
                    self.give_up(finishing, partial)
                    stopped = True
                if i not in partial:
                    continue
                self.free_blocks -= more
                new, pairs, budget = new + chunk, pairs + scored(start, chunk), budget - chunk
                partial[i] = start + chunk
                if partial[i] == self.running[i]:
                    del partial[i]
                    finishing.append(i)
            while self.waiting and budget > 0 and not (stopped or partial):
                i = self.waiting[0]
                todo = int(self.prompt_tokens[i]) + self.produced.get(i, 0)
                if self.blocks(todo) > self.free_blocks or len(self.running) == engine.max_num_seqs:
                    break
                self.waiting.popleft()
                chunk = min(todo, budget)
                self.free_blocks -= self.blocks(chunk)
                self.running[i] = todo
                new, pairs, budget = new + chunk, pairs + scored(0, chunk), budget - chunk
                if chunk == todo:
                    finishing.append(i)
                else:
                    partial[i] = chunk

            start_ns = max(now, self.end_ns)
            if not new and not self.base:
                again = self.end_ns > now and (self.waiting or self.ended)
                clock = self.end_ns if again else NEVER
                continue
            cache = sum(base + self.step for base in self.base.values())
            sequences = len(self.base)
            step_ns = (
                table.mixed_step_ns(sequences, cache, new, pairs)
                if new
                else table.decode_step_ns(sequences, cache)
            )
            self.end_ns, planned, clock = start_ns + step_ns, True, start_ns


def scored(start: int, chunk: int) -> int:
    """Pairs of query and key of ``chunk`` tokens behind ``start``."""
    return chunk * start + chunk * (chunk + 1) // 2


def closed_loop(
    pool: Pool, prompt_tokens: Ints, output_tokens: Ints, users: int
) -> tuple[Floats, Floats]:
    """Return when each request arrives, and when its last token is computed, in seconds."""
    loop = Loop(pool, prompt_tokens, output_tokens, users)
    loop.serve()
    return loop.arrival_ns / np.float64(1e9), loop.last_ns / np.float64(1e9)
