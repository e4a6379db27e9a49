"""What one model wrote to a prompt tells of what another will write, and itself again.

For every prompt that was answered lately the mean of what was left over is kept: how much longer
the answers were than each model's own correction expected. A prompt that comes again is moved by
that mean, shrunk as if half of the doubt were the prompt's own (a random intercept), and by how far
such moves were right so far: a slope through the origin, learned as answers come.

What its words said when it was first answered stays with it: they have learned from that answer.
"""

from __future__ import annotations

from collections import OrderedDict

MAX_PROMPTS = 20_000  # remembered; the longest unused is forgotten first
SHARE = 0.5  # of the variance of what is left over that is the prompt's own
SURE = 0.5  # weight of the slope 1 that is believed at first, in squared moves of ln(1 + tokens)
MAX_SLOPE = 1.3


class PromptMemory:
    """The prompts that were answered lately, by a number that stands for their text."""

    __slots__ = ("_moved", "_prompts", "_right")

    def __init__(self) -> None:
        """Start with no prompt."""
        self._prompts: OrderedDict[int, tuple[float, int, float]] = OrderedDict()
        self._moved, self._right = SURE, SURE

    def __contains__(self, prompt: int) -> bool:
        return prompt in self._prompts

    @property
    def slope(self) -> float:
        """How far the moves were right: 1 as expected, 0 where prompts tell nothing."""
        return min(max(self._right / self._moved, 0.0), MAX_SLOPE)

    def words(self, prompt: int, words: float) -> float:
        """Return what the words of ``prompt`` said at first; ``words``, as they say now, if new."""
        return self._prompts[prompt][2] if prompt in self._prompts else words

    def shift(self, prompt: int) -> tuple[float, float]:
        """Return by how much answers to ``prompt`` are longer, and what is left of the spread."""
        total, count, _ = self._prompts.get(prompt, (0.0, 0, 0.0))
        if not count:
            return 0.0, 1.0

        trust = SHARE * count / (SHARE * count + 1 - SHARE)
        variance: float = 1 - SHARE * trust * min(self.slope, 1.0)
        return self.slope * trust * total / count, variance**0.5

    def observe(self, prompt: int, error: float, words: float = 0.0) -> None:
        """Take in that an answer to ``prompt`` was longer by ``error`` in ln(1 + tokens).

        ``words`` is what its words say, if it is new.
        """
        total, count, words = self._prompts.pop(prompt, (0.0, 0, words))
        if count:
            move = SHARE * total / (SHARE * count + 1 - SHARE)
            self._moved += move * move
            self._right += move * error

        self._prompts[prompt] = (total + error, count + 1, words)
        if len(self._prompts) > MAX_PROMPTS:
            self._prompts.popitem(last=False)
