"""A cache of blocks: what is found was there, what runs stays, and a step's time knows it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.engines.conftest import Linear

from headway.engines.batch import Work
from headway.engines.cache import BLOCK_TOKENS, BlockCache
from headway.engines.timed import TimedPipeline

prompts = st.lists(st.integers(0, 1), min_size=1, max_size=5 * BLOCK_TOKENS).map(tuple)


@given(st.lists(prompts, min_size=1, max_size=20), st.integers(1, 20))
def test_only_what_was_sent_before_is_found(sent: list[tuple[int, ...]], num_blocks: int) -> None:
    cache = BlockCache(num_blocks)
    before: list[tuple[int, ...]] = []
    for number, prompt in enumerate(sent):
        cached = cache.admit(Work(number, prompt, 1))
        assert cached < len(prompt)
        assert cached % BLOCK_TOKENS == 0
        assert not cached or any(prompt[:cached] == other[:cached] for other in before)
        assert cache.usage > 0
        before.append(prompt)
        if number % 2:
            cache.release(number)
    for number in range(len(sent)):
        cache.release(number)
    assert cache.usage == 0


def test_the_longest_unused_goes_first() -> None:
    cache = BlockCache(5)
    one, two, three = ((n,) * (2 * BLOCK_TOKENS + 1) for n in range(3))
    for number, prompt in enumerate((one, two, one, three)):
        cache.admit(Work(number, prompt, 1))
        cache.release(number)
    assert cache.admit(Work(10, one, 1)) == 2 * BLOCK_TOKENS
    cache.release(10)
    assert cache.admit(Work(11, two, 1)) == 0


@given(st.lists(st.tuples(prompts, st.integers(1, 40)), min_size=1, max_size=20))
def test_nobody_is_let_in_for_whom_there_is_no_room(
    asked: list[tuple[tuple[int, ...], int]],
) -> None:
    cache = BlockCache(8)
    running: list[int] = []
    for number, (prompt, answer_tokens) in enumerate(asked):
        work = Work(number, prompt, answer_tokens)
        while not cache.has_room(work):
            cache.release(running.pop(0))
        alone = not running
        cache.admit(work)
        running.append(number)
        assert cache.usage > 0
        assert alone or cache.usage <= 1
    for number in running:
        cache.release(number)
    assert cache.usage == 0


def test_who_shares_a_prefix_needs_less_room() -> None:
    cache = BlockCache(6)
    prompt = (7,) * (4 * BLOCK_TOKENS)
    cache.admit(Work(0, prompt, 1))
    assert cache.has_room(Work(1, prompt, 1))
    assert not cache.has_room(Work(2, (8,) * BLOCK_TOKENS, 1))


def test_what_is_cached_is_not_computed() -> None:
    steps: list[float] = []

    class Noting(Linear):
        def step_time(self, step):  # type: ignore[no-untyped-def]  # as the class it extends
            steps.append(float(step.total_tokens))
            return super().step_time(step)

    pipeline = TimedPipeline(Noting(1e-6), 4096, BlockCache(1000))
    prompt = (*range(20 * BLOCK_TOKENS), 7)
    for number in range(2):
        pipeline.add(Work(number, prompt, 1))
        (piece,) = pipeline.step()
        assert piece.cached_tokens == number * 20 * BLOCK_TOKENS
    assert steps == [len(prompt), 1]
