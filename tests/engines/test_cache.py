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
        cached = cache.admit(number, prompt)
        assert cached < len(prompt)
        assert cached % BLOCK_TOKENS == 0
        assert not cached or any(prompt[:cached] == other[:cached] for other in before)
        assert 0 <= cache.usage <= 1
        before.append(prompt)
        if number % 2:
            cache.release(number)
    for number in range(len(sent)):
        cache.release(number)
    assert cache.usage == 0


def test_the_longest_unused_goes_first() -> None:
    cache = BlockCache(4)
    one, two, three = ((n,) * (2 * BLOCK_TOKENS + 1) for n in range(3))
    for number, prompt in enumerate((one, two, one, three)):
        cache.admit(number, prompt)
        cache.release(number)
    assert cache.admit(10, one) == 2 * BLOCK_TOKENS
    cache.release(10)
    assert cache.admit(11, two) == 0


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
