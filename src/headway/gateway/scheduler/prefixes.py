"""Which prefixes of prompts an engine holds in its cache, learned from what it was sent.

A prompt is cut into blocks of characters, and each block's key hashes the block and the key before
it, so that equal keys mean equal text up to there. What was sent is believed to be held, until it
is the longest unused of more blocks than an engine keeps, until the engine is seen to be down, or
until its own counts of cached tokens say otherwise: the belief is weighed by what they confirm.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

BLOCK_CHARACTERS = 256  # about 64 tokens
MAX_PROMPT_BLOCKS = 2048
MAX_BLOCKS = 31_250  # of one engine
TRUST_MEMORY = 0.1  # weight of the latest count of cached tokens
MIN_SHARE = 0.05  # of late prompts that must be believed to be cached for counts to tell


def blocks_of(text: str) -> tuple[int, ...]:
    """Return the keys of the whole blocks of ``text``, of its first half million characters."""
    end = min(len(text) // BLOCK_CHARACTERS, MAX_PROMPT_BLOCKS) * BLOCK_CHARACTERS
    key = 0
    keys: list[int] = []
    for at in range(0, end, BLOCK_CHARACTERS):
        key = hash((key, text[at : at + BLOCK_CHARACTERS]))
        keys.append(key)
    return tuple(keys)


@dataclass(slots=True)
class PrefixIndex:
    """What one engine is believed to hold.

    Attributes:
        trust: share of the tokens believed to be cached that the engine's own counts confirm.

    """

    trust: float = 1.0
    _keys: OrderedDict[int, None] = field(default_factory=OrderedDict)  # the longest unused first
    _num_sent: int = 0  # requests since the last count
    _prompt_tokens: float = 0.0  # of late requests
    _cached_tokens: float = 0.0  # of those, as they were believed to be

    def __len__(self) -> int:
        return len(self._keys)

    def num_cached(self, blocks: tuple[int, ...]) -> int:
        """Return how many of the first ``blocks`` are held."""
        # A block is held only where those before it are: halve the distance.
        low, high = 0, len(blocks)
        while low < high:
            middle = (low + high) // 2
            if blocks[middle] in self._keys:
                low = middle + 1
            else:
                high = middle
        return low

    def add(self, blocks: tuple[int, ...]) -> None:
        """The engine was sent a prompt of ``blocks``; the first of them are forgotten last."""
        keys = self._keys
        for key in reversed(blocks):
            keys[key] = None
            keys.move_to_end(key)
        while len(keys) > MAX_BLOCKS:
            keys.popitem(last=False)

    def clear(self) -> None:
        """The engine has begun anew."""
        self._keys.clear()

    def expect(self, prompt_tokens: float, cached_tokens: float) -> None:
        """A prompt was sent of which so many tokens are believed to be cached."""
        self._num_sent += 1
        self._prompt_tokens += prompt_tokens
        self._cached_tokens += cached_tokens

    def confirm(self, prompt_tokens: float, cached_tokens: float) -> None:
        """The engine has looked up so many tokens since the last time, and found so many.

        Shares are compared, not numbers: what was sent may wait there.
        """
        if prompt_tokens <= 0 or self._cached_tokens <= MIN_SHARE * self._prompt_tokens:
            return
        believed = self._cached_tokens / max(self._prompt_tokens, 1.0)
        weight = 1 - (1 - TRUST_MEMORY) ** self._num_sent
        self._weigh(cached_tokens / prompt_tokens / believed, weight)
        self._num_sent = 0
        self._prompt_tokens, self._cached_tokens = self._prompt_tokens / 2, self._cached_tokens / 2

    def settle(self, blocks: tuple[int, ...], expected_tokens: float, cached_tokens: int) -> None:
        """The engine says that ``cached_tokens`` of a prompt were cached, not as expected."""
        if expected_tokens <= 0:
            return
        self._weigh(cached_tokens / expected_tokens, TRUST_MEMORY)
        if cached_tokens < 0.5 * expected_tokens:
            # It was evicted since; what was computed now is held again, and newer than all.
            self.trust = min(self.trust, 0.9)
            self.add(blocks)

    def _weigh(self, share: float, weight: float) -> None:
        self.trust += weight * (min(share, 1.0) - self.trust)
