"""The engine model once more, plainly: a loop over every request of every step.

With `tests.reference.plain_site` it is the specification that the compiled loop is held to, event
by event, on traces that hypothesis makes up; it is far too slow for anything else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from headway.sim.engine import Engine

StepNs = Callable[[Sequence[int], int, int], int]  # of decodes' caches, prompt tokens, pairs
FOREVER = 1 << 62


@dataclass(slots=True)
class Job:
    """One request and how far it is."""

    number: int
    arrival: int
    prompt: int
    output: int
    key: float = 0.0
    due: int = FOREVER  # when it must have started
    work: int = 0
    burden: float = 0.0  # the largest is given up first
    tpot: int = FOREVER
    keys: tuple[float, ...] = ()  # by the tokens that are out: 0, 32, 64, 128, ...
    predicted: int = 0
    kept: int = 0  # blocks that are left of its cache while it waits
    swapped: bool = False  # whether its cache is on the host
    hashes: tuple[int, ...] = ()
    tokens: list[int] = field(default_factory=list)  # when each came out
    cache: int = 0  # tokens that have blocks, those of the planned step included
    todo: int = 0  # tokens to prefill
    carried: int = 0
    decodes: bool = False
    preemptions: int = 0
    begun: int = 0  # tokens that were out when it was admitted last

    def __post_init__(self) -> None:
        self.todo = self.prompt

    @property
    def rank(self) -> float:
        """Its key by now."""
        if not self.keys:
            return self.key
        return self.keys[min((len(self.tokens) // 32).bit_length(), len(self.keys) - 1)]

    @property
    def pace_due(self) -> int:
        """When its objective would have the next token."""
        if self.tpot == FOREVER or not self.tokens:
            return FOREVER
        return self.tokens[0] + self.tpot * len(self.tokens)


@dataclass(slots=True)
class Replica:
    """One engine, step by step."""

    engine: Engine
    step_ns: StepNs
    by_key: bool = False
    by_due: bool = False
    late_every: int = 0
    starts: int = 0
    quantum: int = 0  # 0: nobody makes way for anybody
    token_work: int = 0
    swap_ps: int | None = None
    swap: int = 0  # nanoseconds before the next step
    step: int = 0
    step_time: int = 0
    hash_tokens: int = 0
    hands_over: bool = False  # requests leave after their first token
    up: bool = True
    clock: int = FOREVER
    start: int = 0
    end: int = 0
    steps: bool = False  # whether a step is planned
    planned: list[Job] = field(default_factory=list)  # who gets a token from it
    waiting: list[Job] = field(default_factory=list)
    running: list[Job] = field(default_factory=list)  # in the order of admission
    ended: list[Job] = field(default_factory=list)
    unheld: list[int | Job] = field(default_factory=list)  # cached hashes, or what is kept of a job

    def blocks(self, tokens: int) -> int:
        """Blocks that ``tokens`` take."""
        return -(-tokens // self.engine.kv_block_tokens)

    @property
    def requests(self) -> int:
        """Waiting and running: what a router minds."""
        return len(self.waiting) + len(self.running)

    def unprefilled(self, job: Job) -> int:
        """Tokens that ``job`` has yet to prefill here."""
        if job in self.waiting:
            return job.todo - job.carried
        return 0 if job.decodes else job.todo - job.cache

    def hashed(self, job: Job, tokens: int) -> tuple[int, ...]:
        """Hashes of the whole blocks among the first ``tokens`` of the prompt."""
        if not self.hash_tokens:
            return ()
        return job.hashes[: min(tokens, job.prompt) // self.hash_tokens]

    def held(self) -> Counter[int]:
        """How many running requests hold each hashed block."""
        return Counter(h for job in self.running for h in self.hashed(job, job.cache))

    def free(self) -> int:
        """Blocks that nobody runs on; equal hashed blocks are one."""
        held = self.held()
        shared = (held.total() - len(held)) * (self.hash_tokens // self.engine.kv_block_tokens)
        used = sum(self.blocks(job.cache) for job in self.running)
        return self.engine.num_kv_blocks - used + shared

    @property
    def hash_blocks(self) -> int:
        """Blocks of a hashed block."""
        return self.hash_tokens // self.engine.kv_block_tokens

    def evict(self) -> None:
        """Forget cached blocks whose memory is needed, the least recently used first."""
        held = self.held()
        self.unheld = [h for h in self.unheld if isinstance(h, Job) or h not in held]

        def size(entry: int | Job) -> int:
            return entry.kept if isinstance(entry, Job) else self.hash_blocks

        while sum(map(size, self.unheld)) > self.free():
            oldest = self.unheld[0]
            if isinstance(oldest, Job):
                oldest.kept -= 1
            if not isinstance(oldest, Job) or oldest.kept == 0:
                self.unheld.pop(0)

    def leave(self, job: Job) -> None:
        """``job`` gives back its blocks; those that nobody else uses stay cached, prefix last."""
        self.running.remove(job)
        held = self.held()
        self.unheld += [h for h in self.hashed(job, job.cache)[::-1] if h not in held]

    def join(self, job: Job, now: int) -> None:
        """``job`` waits here."""
        self.waiting.append(job)
        self.clock = now if self.clock == FOREVER else self.clock

    def rest_due(self, job: Job) -> int:
        """When the rest of ``job`` would be due if it paused now."""
        left = max(job.predicted - len(job.tokens), 0) * self.token_work
        return job.pace_due if job.pace_due == FOREVER else job.pace_due + left

    def worst(self, finishing: Sequence[Job], quantum: int = 0) -> Job | None:
        """Who makes way first: the latest admission, or the largest key."""
        candidates = [
            j
            for j in self.running
            if j not in self.ended and j not in finishing
            if quantum == 0 or (j.decodes and len(j.tokens) - j.begun >= quantum)
        ]
        if not candidates:
            return None
        if self.by_due:
            return max(candidates, key=lambda j: (self.rest_due(j), j.number))
        if self.by_key:
            return max(candidates, key=lambda j: (j.rank, j.number))
        return candidates[-1]

    def preempt(self, finishing: Sequence[Job], worst: Job | None = None) -> Job:
        """Let ``worst`` wait again; its cache is kept, swapped or lost."""
        worst = worst or self.worst(finishing)
        assert worst is not None
        cached = worst.cache
        if self.engine.prefix_cache and self.swap_ps is None:
            worst.kept = cached // self.engine.kv_block_tokens
            worst.kept -= len(self.hashed(worst, cached)) * self.hash_blocks
            self.unheld += [worst] if worst.kept else []
        self.leave(worst)
        restart(worst)
        if self.swap_ps is not None:
            self.swap += cached * self.swap_ps // 1000
            worst.carried, worst.swapped = cached, True
            worst.todo -= bool(worst.tokens) and cached == worst.todo - 1
        if worst.tokens:  # it is due when its objective would have the next token
            worst.due = worst.pace_due
            worst.work = max(worst.predicted - len(worst.tokens), 0) * self.token_work
        self.waiting.insert(0, worst)
        return worst

    def pause(self, way: Job, finishing: Sequence[Job]) -> int:
        """Let ``way`` make way; return the tokens of the step's budget that it gives back."""
        tokens = int(way.decodes)
        way.cache -= tokens
        self.preempt(finishing, way)
        return tokens

    def makes_way(self, job: Job, finishing: Sequence[Job], now: int) -> Job | None:
        """Who makes way for ``job``, if anybody does."""
        if not self.quantum or self.step % self.quantum:
            return None
        if not self.by_due:
            worst = self.worst(finishing, self.quantum)
            return worst if worst is not None and job.rank < worst.rank else None
        soon = now + self.quantum * self.step_time
        worst = self.worst(finishing, self.quantum)
        if job.due > soon or job.due == FOREVER or worst is None:
            return None
        ahead = soon < worst.pace_due < FOREVER
        return worst if ahead and self.rest_due(worst) > job.due + job.work else None

    def apply(self) -> None:
        """Let the planned step happen."""
        for job in self.planned:
            job.tokens.append(self.end)
            job.decodes = True
            if len(job.tokens) == job.output or self.hands_over:
                self.ended.append(job)
        self.step += self.steps
        self.planned, self.steps = [], False

    def settle(self, now: int) -> list[Job]:
        """Give back what requests that ended by ``now`` held; return those that go elsewhere."""
        through = [job for job in self.ended if job.tokens[-1] <= now]
        for job in through:
            self.ended.remove(job)
            self.leave(job)
        return [job for job in through if len(job.tokens) < job.output]

    def plan(self, now: int) -> None:
        """Plan the next step."""
        decodes = [j for j in self.running if j.decodes and j not in self.ended]
        finishing: list[Job] = []
        stopped = False
        while sum(self.blocks(j.cache + 1) - self.blocks(j.cache) for j in decodes) > self.free():
            lost, stopped = self.preempt(finishing), True
            decodes = [j for j in decodes if j is not lost]
        for job in decodes:
            job.cache += 1
        self.evict()
        budget, chunks = self.engine.max_num_batched_tokens - len(decodes), []
        for job in [j for j in self.running if not j.decodes]:  # at most one, the cut-off prefill
            chunk = min(job.todo - job.cache, budget)
            more = self.blocks(job.cache + chunk) - self.blocks(job.cache)
            while chunk > 0 and more > self.free():
                for other in decodes:
                    other.cache -= other is self.worst(finishing)  # whose token is not computed
                lost, stopped = self.preempt(finishing), True
                decodes = [j for j in decodes if j is not lost]
                if lost is job:
                    chunk = 0
            if chunk > 0:
                chunks.append((chunk, job.cache))
                job.cache, budget = job.cache + chunk, budget - chunk
                finishing += [job] if job.cache == job.todo else []
                self.evict()
            if job in self.running and job.cache < job.todo:
                stopped = True  # nothing is admitted beside a prefill that is still cut off
        while self.waiting and budget > 0 and not stopped:
            job = self.next(now)
            if len(self.running) == self.engine.max_num_seqs:
                if (way := self.makes_way(job, finishing, now)) is None:
                    break
                budget += self.pause(way, finishing)
                decodes = [j for j in decodes if j is not way]
                continue
            done = job.carried or self.matched(job)
            chunk = min(job.todo - done, budget)
            if not self.engine.chunked_prefill:
                if chunk < job.todo - done and finishing:
                    break
                chunk = job.todo - done
            whole = job.todo + (chunk == 0)
            fits = whole if self.engine.reserve_full_prompt else done + chunk + (chunk == 0)
            held = self.held()
            found = self.hashed(job, done) if not job.carried else ()
            others = sum(h in held for h in found) * self.hash_blocks
            if self.blocks(fits) - others > self.free():
                if (way := self.makes_way(job, finishing, now)) is None:
                    break
                budget += self.pause(way, finishing)
                decodes = [j for j in decodes if j is not way]
                continue
            self.waiting.remove(job)
            self.unheld = [h for h in self.unheld if h is not job]
            job.begun, job.kept = len(job.tokens), 0
            if job.swapped:
                assert self.swap_ps is not None
                self.swap += job.carried * self.swap_ps // 1000
            self.starts += 1
            self.running.append(job)
            if chunk == 0:
                job.decodes, job.cache = True, job.todo + 1
                decodes.append(job)
                budget -= 1
            else:
                chunks.append((chunk, done))
                job.cache, budget = done + chunk, budget - chunk
                finishing += [job] if job.cache == job.todo else []
                stopped = job.cache < job.todo
            self.evict()
        self.launch(now, decodes, finishing, chunks)

    def next(self, now: int) -> Job:
        """Who of those that wait goes first."""
        if not self.by_key and not self.by_due:
            return self.waiting[0]
        others = sorted(self.waiting, key=lambda j: (j.rank, j.number))
        if not self.by_due:
            return others[0]
        while (given_up := self.too_late(now)) is not None:
            given_up.due = FOREVER
        others = [j for j in others if j.due == FOREVER]
        in_time = [j for j in self.waiting if j.due < FOREVER]
        if not in_time or (self.late_every and others and self.starts % self.late_every == 0):
            return others[0]
        return min(in_time, key=lambda j: (j.due + j.work, j.number))

    def too_late(self, now: int) -> Job | None:
        """Who is given up first: late by itself, or the largest of those that make one late."""
        before: list[Job] = []
        for job in sorted(self.waiting, key=lambda j: (j.due + j.work, j.number)):
            if job.due == FOREVER:
                continue
            if job.due < now:
                return job
            if now + sum(j.work for j in before) > job.due:
                return max([*before, job], key=lambda j: (j.burden, -j.number))
            before.append(job)
        return None

    def matched(self, job: Job) -> int:
        """Tokens of the prompt whose blocks are cached; one is always left to compute."""
        held, count = self.held(), 0
        for h in self.hashed(job, job.todo - 1):
            if h not in held and h not in self.unheld:
                break
            count += self.hash_tokens
        if count < len(self.hashed(job, job.todo)) * self.hash_tokens:
            return count
        size = self.engine.kv_block_tokens
        return count + size * min(job.kept, (job.todo - 1) // size - count // size)

    def launch(
        self, now: int, decodes: list[Job], finishing: list[Job], chunks: list[tuple[int, int]]
    ) -> None:
        """Set duration, end and clock of what was planned."""
        start = max(now, self.end)
        if not decodes and not chunks:
            again = self.end > now and (self.waiting or self.ended)
            self.clock = self.end if again else FOREVER
            return
        new = sum(chunk for chunk, _ in chunks)
        pairs = sum(chunk * done + chunk * (chunk + 1) // 2 for chunk, done in chunks)
        took = self.step_ns([j.cache - 1 for j in decodes], new, pairs)
        took, self.swap = took + self.swap, 0
        self.step_time = took
        # Of those that end in one step, decodes give back their blocks first, in order of number.
        self.planned, self.steps = [*sorted(decodes, key=lambda j: j.number), *finishing], True
        self.start, self.end = start, start + took
        self.clock = start if self.engine.asynchronous else self.end

    def step_end(self, now: int) -> int:
        """When a failure at ``now`` takes effect: not in the middle of a step planned ahead."""
        if not self.engine.asynchronous:
            return now
        return max(now, self.start if self.steps else self.end)

    def fail(self, now: int) -> tuple[list[Job], list[Job]]:
        """Lose everything; a step that has ended by ``now`` counts."""
        if self.steps and self.end <= now:
            self.apply()
        elif self.steps:
            self.end = self.start
        self.planned, self.steps, self.clock, self.up = [], False, FOREVER, False
        elsewhere = self.settle(FOREVER)
        lost = list(self.running)
        for job in lost:
            restart(job)
        while self.waiting:  # in the order in which they would have started
            lost.append(job := self.next(now))
            self.waiting.remove(job)
            self.starts += 1
            job.carried, job.todo = 0, job.prompt + len(job.tokens)
            job.kept, job.swapped = 0, False
        self.swap = 0
        self.running, self.unheld = [], []
        return elsewhere, lost


def restart(job: Job) -> None:
    """``job`` lost its cache: prompt and answer so far must be prefilled again."""
    job.cache, job.carried, job.decodes, job.swapped = 0, 0, False, False
    job.todo = job.prompt + len(job.tokens)
    job.preemptions += 1
