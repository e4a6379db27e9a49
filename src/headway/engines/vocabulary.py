"""Text as tokens and back, for models whose weights are random, or that have none."""

from __future__ import annotations

import re
from typing import Protocol

from headway.engines.random_gguf import byte_letters, byte_order, token_names


class Vocabulary(Protocol):
    """Text as tokens, and each token as text."""

    def tokens(self, text: str) -> list[int]:
        """Return the tokens of ``text``."""
        ...

    def text(self, token: int) -> str:
        """Return the text of one token."""
        ...


class WordVocabulary:
    """About as many tokens as tokenizers of today make: one for a word and the space before it.

    Long words are cut after 8 letters, numbers after 3 digits; letters beyond ASCII have one token
    each. Nothing can be spelled: every token is shown as the same short word.
    """

    _PIECE = re.compile(r" ?[A-Za-z]{1,8}|\d{1,3}| ?[!-/:-@\[-`{-~]{1,3}|\s+|.")

    def tokens(self, text: str) -> list[int]:
        """Return a number for each piece of ``text``, the same one for the same piece."""
        return [hash(piece) & 0x7FFFFFFF for piece in self._PIECE.findall(text)]

    def text(self, token: int) -> str:
        """Return the same word for each ``token``."""
        return " a"


class ByteVocabulary:
    """The vocabulary that `headway.engines.random_gguf` writes, of ``size`` tokens.

    Not the model's own tokenizer, which computes on the engine's core and waits for it.
    """

    def __init__(self, size: int = 512) -> None:
        """Spell every token once."""
        letters = dict(zip(byte_letters(), byte_order(), strict=True))
        self._codes = {byte: token for token, byte in enumerate(byte_order())}
        self._texts = [
            bytes(letters[c] for c in name).decode("utf-8", "replace")
            if all(c in letters for c in name)
            else name
            for name in token_names(size)
        ]

    def tokens(self, text: str) -> list[int]:
        """The tokens of ``text``."""
        codes = self._codes
        return [codes[byte] for byte in text.encode("utf-8", "replace")]

    def text(self, token: int) -> str:
        """The text of one token; half a character shows as a mark, a special token as its name."""
        return self._texts[token]
