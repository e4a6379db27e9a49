"""Continuous batching: its laws, whatever is asked, and agreement with the simulator's engine."""

from __future__ import annotations

import threading

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engines.conftest import Linear

from headway.engines.batch import Piece, Pipeline, Work, in_thread
from headway.engines.chunks import Chunks, as_step
from headway.engines.steplog import LoggedPipeline, as_steps
from headway.engines.timed import TimedPipeline
from headway.sim.engine import Engine
from headway.sim.outcome import simulate_trace
from headway.sim.site import Pool, Site
from headway.sim.times import tabulate
from headway.workload.oracle import Trace

SHAPES = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 12)), min_size=1, max_size=12)


@given(SHAPES, st.integers(12, 64))
def test_every_token_is_computed_once(shapes: list[tuple[int, int]], budget: int) -> None:
    chunks = Chunks(budget)
    for number, (prompt, output) in enumerate(shapes):
        chunks.add(Work(number, (1,) * prompt, output))
    computed = dict.fromkeys(range(len(shapes)), 0)
    produced = dict(computed)
    while parts := chunks.advance():
        assert sum(part.scheduled for part in parts) <= budget
        assert as_step(parts).total_tokens == sum(part.scheduled for part in parts)
        for part in parts:
            assert part.computed == computed[part.number]
            computed[part.number] += part.scheduled
            produced[part.number] += part.samples
    for number, (prompt, output) in enumerate(shapes):
        assert produced[number] == output
        assert computed[number] == prompt + output - 1  # the last token is not fed back


@settings(max_examples=25)
@given(SHAPES, st.integers(12, 64))
def test_it_steps_as_the_simulator_does(shapes: list[tuple[int, int]], budget: int) -> None:
    chunks = Chunks(budget)
    for number, (prompt, output) in enumerate(shapes):
        chunks.add(Work(number, (1,) * prompt, output))
    steps = 0
    while chunks.advance():
        steps += 1
    prompts, outputs = np.array(shapes).T
    engine = Engine(12, budget, num_kv_blocks=4096)
    cluster = Site((Pool(engine, tabulate(Linear(1e-3), engine)),))
    outcome = simulate_trace(Trace(np.zeros(len(shapes)), prompts, outputs), cluster)
    assert outcome.replicas["steps_done"][0] == steps


class Watched(TimedPipeline):
    """Notes who was running in each step, and in which order they were let in."""

    def __init__(self) -> None:
        super().__init__(Linear(1e-5))
        self.running: set[int] = set()
        self.most = 0
        self.order: list[int] = []

    def has_room(self, work: Work) -> bool:
        return True

    def add(self, work: Work) -> None:
        self.order.append(work.number)
        self.running.add(work.number)
        self.most = max(self.most, len(self.running))
        super().add(work)

    def step(self) -> list[Piece]:
        pieces = super().step()
        self.running -= {piece.number for piece in pieces if piece.reason}
        return pieces


def answered(pipeline: Pipeline, works: list[Work], most: int) -> list[Piece]:
    """All pieces of ``works``, asked at once."""
    pipe = in_thread(pipeline, most)
    for work in works:
        pipe.send(work)
    pieces: list[Piece] = []
    while sum(bool(piece.reason) for piece in pieces) < len(works):
        assert pipe.poll(20)
        told = pipe.recv()
        assert not isinstance(told, str), told
        pieces += told[0]
        assert told[1].running <= most
    pipe.send(None)
    return pieces


@settings(max_examples=20, deadline=None)
@given(SHAPES, st.integers(1, 5))
def test_every_request_is_answered_once(shapes: list[tuple[int, int]], most: int) -> None:
    pipeline = Watched()
    works = [Work(i, (1,) * prompt, output) for i, (prompt, output) in enumerate(shapes)]
    pieces = answered(pipeline, works, most)
    for work in works:
        own = [piece for piece in pieces if piece.number == work.number]
        assert sum(len(piece.tokens) for piece in own) == work.max_tokens
        assert [bool(piece.reason) for piece in own] == [False] * (work.max_tokens - 1) + [True]
    assert pipeline.most <= most


class Held(Watched):
    """Ends no step before it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def step(self) -> list[Piece]:
        assert self.go.wait(20)
        return super().step()


def test_the_smallest_priority_goes_first() -> None:
    pipeline = Held()
    pipe = in_thread(pipeline, 1)
    for work in [Work(0, (1,), 1), *(Work(i, (1,), 1, priority=-i % 3) for i in range(1, 7))]:
        pipe.send(work)
    pipeline.go.set()
    ended: list[int] = []
    while len(ended) < 7:
        assert pipe.poll(20)
        ended += [piece.number for piece in pipe.recv()[0]]
    pipe.send(None)
    # The first had the only place before the others came; they go by priority, then by age.
    assert ended == pipeline.order == [0, 3, 6, 2, 5, 1, 4]


def test_a_log_knows_what_every_step_computed() -> None:
    logged = LoggedPipeline(TimedPipeline(Linear(), 32), 32)
    answered(logged, [Work(1, (1,) * 50, 3), Work(2, (1,) * 10, 4)], 2)
    steps, seconds = as_steps(logged.rows)
    assert len(seconds) == len(logged.rows)
    assert np.all(seconds > 0)
    # 50 + 10 prompt tokens, and all tokens but the last of each answer are fed back.
    assert float(steps.total_tokens.sum()) == 50 + 2 + 10 + 3
    assert float(steps.total_sampled.sum()) == 3 + 4
