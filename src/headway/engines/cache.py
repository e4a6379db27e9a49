"""A key-value cache of blocks with prefix reuse, as vLLM keeps it; it holds no values.

A block's key hashes its tokens and the key before it. Blocks of requests that run stay; others are
evicted, the longest unused first. Answers take no blocks here.
"""

from __future__ import annotations

from collections import OrderedDict

from headway.errors import InputError

BLOCK_TOKENS = 16


class BlockCache:
    """What is cached of prompts.

    Attributes:
        num_blocks: that the cache has.

    """

    def __init__(self, num_blocks: int) -> None:
        """Hold nothing yet."""
        if num_blocks < 1:
            raise InputError(f"a cache has at least 1 block, not {num_blocks}")
        self.num_blocks = num_blocks
        self._num_users: OrderedDict[int, int] = OrderedDict()  # by block, the longest unused first
        self._running: dict[int, list[int]] = {}

    @property
    def usage(self) -> float:
        """Share of the blocks that requests which run hold."""
        return min(1.0, sum(map(len, self._running.values())) / self.num_blocks)

    def admit(self, number: int, prompt: tuple[int, ...]) -> int:
        """Let a request run; return how many tokens of its ``prompt`` need not be computed."""
        users = self._num_users
        keys: list[int] = []
        key = 0
        for at in range(0, len(prompt) - BLOCK_TOKENS + 1, BLOCK_TOKENS):
            key = hash((key, prompt[at : at + BLOCK_TOKENS]))
            keys.append(key)

        # The last token is always computed: its values are what the first answer is made of.
        num_hits = 0
        while num_hits < len(keys) and keys[num_hits] in users:
            num_hits += 1
        cached = min(num_hits * BLOCK_TOKENS, (len(prompt) - 1) // BLOCK_TOKENS * BLOCK_TOKENS)

        for key in reversed(keys):
            users[key] = users.get(key, 0) + 1
            users.move_to_end(key)
        self._running[number] = keys
        self._evict()
        return cached

    def release(self, number: int) -> None:
        """A request has ended: its blocks may go when others need room."""
        for key in self._running.pop(number, ()):
            self._num_users[key] -= 1
        self._evict()

    def _evict(self) -> None:
        excess = len(self._num_users) - self.num_blocks
        if excess <= 0:
            return
        free = (key for key, count in self._num_users.items() if not count)
        for key in [key for key, _ in zip(free, range(excess), strict=False)]:
            del self._num_users[key]
