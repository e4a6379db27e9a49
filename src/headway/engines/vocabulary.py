"""Text as tokens and back, for models whose weights are random: one token for each byte."""

from __future__ import annotations

from headway.engines.random_gguf import byte_letters, byte_order, token_names


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
