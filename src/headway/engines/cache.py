"""A key-value cache of blocks with prefix reuse, as vLLM keeps it; it holds no values.

A block's key hashes its tokens and the key before it. Blocks of requests that run stay; others are
evicted, the longest unused first. Nobody is let in who would need more than there is: the blocks of
a whole answer are set aside at once, where vLLM takes them one by one, and preempts.
"""

from __future__ import annotations

from collections import OrderedDict

from headway.engines.batch import Work
from headway.errors import InputError

BLOCK_TOKENS = 16


class BlockCache:
    """What is cached of prompts, and who uses it.

    Attributes:
        num_blocks: that the cache has.

    """

    def __init__(self, num_blocks: int) -> None:
        """Hold nothing yet."""
        if num_blocks < 1:
            raise InputError(f"a cache has at least 1 block, not {num_blocks}")
        self.num_blocks = num_blocks
        self._num_users: OrderedDict[int, int] = OrderedDict()  # by block, the longest unused first
        self._running: dict[int, tuple[list[int], int]] = {}  # shared blocks, and how many own ones
        self._num_used = 0
        self._latest: tuple[tuple[int, ...], list[int]] = ((), [])  # a prompt and its keys

    @property
    def usage(self) -> float:
        """Share of the blocks that requests which run hold; above 1 where one alone needs more."""
        return self._num_used / self.num_blocks

    def has_room(self, work: Work) -> bool:
        """Return whether ``work`` fits beside what runs; alone everybody does."""
        num_new = sum(not self._num_users.get(key) for key in self._keys(work))
        needed = self._num_used + num_new + _num_own(work)
        return not self._running or needed <= self.num_blocks

    def admit(self, work: Work) -> int:
        """Let a request run; return how many tokens of its prompt need not be computed."""
        users, keys = self._num_users, self._keys(work)
        num_hits = 0
        while num_hits < len(keys) and keys[num_hits] in users:
            num_hits += 1

        # The last token is always computed: its values are what the first answer is made of.
        last = (len(work.prompt) - 1) // BLOCK_TOKENS * BLOCK_TOKENS
        cached = min(num_hits * BLOCK_TOKENS, last)

        num_own = _num_own(work)
        self._num_used += sum(not users.get(key) for key in keys) + num_own
        for key in reversed(keys):
            users[key] = users.get(key, 0) + 1
            users.move_to_end(key)
        self._running[work.number] = keys, num_own
        self._evict()
        return cached

    def release(self, number: int) -> None:
        """A request has ended: its blocks may go when others need room."""
        keys, num_own = self._running.pop(number, ([], 0))
        self._num_used -= num_own
        for key in keys:
            self._num_users[key] -= 1
            self._num_used -= not self._num_users[key]
        self._evict()

    def _keys(self, work: Work) -> list[int]:
        """Return a key for each whole block of the prompt."""
        if self._latest[0] is not work.prompt:
            prompt, keys, key = work.prompt, [], 0
            for at in range(0, len(prompt) - BLOCK_TOKENS + 1, BLOCK_TOKENS):
                key = hash((key, prompt[at : at + BLOCK_TOKENS]))
                keys.append(key)
            self._latest = prompt, keys
        return self._latest[1]

    def _evict(self) -> None:
        """Drop what nobody uses until all fits."""
        num_own = sum(own for _, own in self._running.values())
        excess = len(self._num_users) + num_own - self.num_blocks
        if excess <= 0:
            return
        free = (key for key, count in self._num_users.items() if not count)
        for key in [key for key, _ in zip(free, range(excess), strict=False)]:
            del self._num_users[key]


def _num_own(work: Work) -> int:
    """Return the blocks for the end of the prompt and the whole answer, which nobody shares."""
    return -(-(len(work.prompt) % BLOCK_TOKENS + work.max_tokens) // BLOCK_TOKENS)
