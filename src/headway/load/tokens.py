"""Prompts of exactly so many tokens, as a tokenizer counts them.

Without one a word is taken for a token, which is right for most words of most models, and off by
what the server's own count then says. What a chat's template adds is not counted.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from headway.errors import InputError, need

Count = Callable[[str], int]  # tokens of a text
MAX_ROUNDS = 24
FILLERS = (" a", "a", ".", "\n", "1")  # one of them is one more token, nearly everywhere


def tokenizer_count(path: Path) -> Count:
    """Return what counts tokens as the ``tokenizer.json`` of a model at ``path`` does.

    Raises:
        InputError: the file is no tokenizer.
        MissingExtraError: the library that reads such files is not installed.

    """
    need("tokenizers", "counting tokens exactly", "tokenizer")
    tokenizers = import_module("tokenizers")
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise InputError(f"{path} is no tokenizer.json of a model: {error}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def exact_text(
    words: Sequence[str], num_tokens: int, count: Count, more: Callable[[int], Sequence[str]]
) -> str:
    """Return a text of ``num_tokens`` that begins as ``words`` do.

    Args:
        words: of about that many tokens.
        num_tokens: as ``count`` tells them.
        count: of a text's tokens.
        more: so many further words.

    Raises:
        InputError: the tokenizer gives no such text: nothing is one token, say.

    """
    chosen = list(words)
    for _ in range(MAX_ROUNDS):
        missing = num_tokens - count(" ".join(chosen))
        if missing <= 0:
            break
        chosen += more(missing)

    # As many whole words as fit, then what has a single token.
    if missing:
        size = bisect_right(
            range(len(chosen) + 1), num_tokens, key=lambda n: count(" ".join(chosen[:n]))
        )
        del chosen[max(0, size - 1) :]
    text = " ".join(chosen)
    while missing := num_tokens - count(text):
        longer = (text + filler for filler in FILLERS)
        text = next((t for t in longer if 0 <= num_tokens - count(t) < missing), "")
        if not text:
            raise InputError(f"this tokenizer makes no text of exactly {num_tokens} tokens")
    return text
