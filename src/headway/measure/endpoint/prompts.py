"""Prompts of a wanted length for a tokenizer that is not known, no two with the same beginning.

Words that are one token in most vocabularies; how many tokens a word and the chat template take is
learned from the endpoint's own counts.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np

from headway.errors import InputError

_TEXT = """
the of and to in is you that it he was for on are as with his they at be this have from or one had
by word but not what all were we when your can said there use an each which she do how their if will
up other about out many then them these so some her would make like him into time has look two more
write go see number no way could people my than first water been call who oil its now find long down
day did get come made may part
"""
WORDS = tuple(_TEXT.split())


def prompt_of(num_words: int, seed: int) -> str:
    """``num_words`` words; another ``seed`` is another text from the first word on.

    A cache of prefixes then has nothing to offer beyond the chat template.
    """
    if num_words < 1:
        raise InputError("a prompt has at least one word")
    source = random.Random(seed)
    return " ".join(source.choice(WORDS) for _ in range(num_words))


@dataclass(slots=True)
class WordCount:
    """Tokens per word and tokens of the template, learned from (words, tokens) as they come."""

    tokens_per_word: float = 1.0
    template_tokens: float = 8.0
    counts: tuple[tuple[int, int], ...] = ()

    def learn(self, num_words: int, prompt_tokens: int) -> None:
        """Take another count by the endpoint."""
        self.counts = (*self.counts, (num_words, prompt_tokens))
        words, tokens = np.asarray(self.counts, dtype=np.float64).T
        if np.unique(words).size > 1:
            slope, start = np.polyfit(words, tokens, 1)
            self.tokens_per_word = float(min(max(slope, 0.25), 8.0))
            self.template_tokens = float(max(start, 0.0))
        elif num_words > self.template_tokens:
            ratio = (prompt_tokens - self.template_tokens) / num_words
            self.tokens_per_word = float(min(max(ratio, 0.25), 8.0))

    def words_for(self, prompt_tokens: float) -> int:
        """Words of a prompt that has ``prompt_tokens`` in all; at least one."""
        return max(1, round((prompt_tokens - self.template_tokens) / self.tokens_per_word))

    def tokens_of(self, num_words: int) -> float:
        """Tokens that a prompt of ``num_words`` is expected to have."""
        return self.template_tokens + num_words * self.tokens_per_word

    def max_tokens_of(self, num_words: int, prompt: str) -> float:
        """Tokens it has at most: a token per byte until something is known, then a margin."""
        if not self.counts:
            return len(prompt.encode()) + 512.0
        return 1.25 * self.tokens_of(num_words) + 64.0
