"""Words and their hashes for a batch of texts, without a loop over words.

All texts stand in one byte array, each behind a NUL. The hash of any span is the difference of
two prefix sums of a polynomial over 2^64, shifted back by the inverse power; so words, pairs of
words and character n-grams cost a handful of array operations for the whole batch.
Case is folded for ASCII only, and every digit is read as 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
Ints = NDArray[np.intp]

SPACE, WORD, MARK, NEWLINE, START = 0, 1, 2, 3, 4
_MULTIPLIER = 0x9E3779B97F4A7C15 | 1
_INVERSE = pow(_MULTIPLIER, -1, 2**64)
_PAIR = np.uint64(0xD6E8FEB86659FD93)


def byte_set(members: bytes) -> NDArray[np.bool_]:
    """Return a table that says of each byte whether it is one of ``members``, [256]."""
    table = np.zeros(256, dtype=bool)
    table[list(members)] = True
    return table


def _byte_tables() -> tuple[NDArray[np.uint8], NDArray[np.uint64]]:
    kind = np.full(256, MARK, dtype=np.uint8)
    kind[:33] = SPACE
    kind[127] = SPACE
    kind[10] = NEWLINE
    kind[0] = START
    kind[128:] = WORD

    code = np.arange(256, dtype=np.uint64)
    for letter in range(26):
        kind[65 + letter] = kind[97 + letter] = WORD
        code[65 + letter] = 97 + letter
    kind[48:58] = WORD
    kind[39] = WORD  # the apostrophe: "don't" is one word
    code[48:58] = 48
    code[:33] = 32
    return kind, code + np.uint64(1)


BYTE_KINDS, _CODE = _byte_tables()


@lru_cache(maxsize=8)
def _powers(bits: int) -> tuple[U64, U64]:
    ups = np.full(1 << bits, _MULTIPLIER, dtype=np.uint64)
    downs = np.full(1 << bits, _INVERSE, dtype=np.uint64)
    ups[0] = downs[0] = 1
    return np.cumprod(ups, dtype=np.uint64), np.cumprod(downs, dtype=np.uint64)


def mixed(hashes: U64) -> U64:
    """Return ``hashes`` with every bit depending on every bit (the finaliser of splitmix64)."""
    z = hashes ^ (hashes >> np.uint64(30))
    z = z * np.uint64(0xBF58476D1CE4E5B9)
    z = z ^ (z >> np.uint64(27))
    z = z * np.uint64(0x94D049BB133111EB)
    spread: U64 = z ^ (z >> np.uint64(31))
    return spread


@dataclass(frozen=True, slots=True)
class Tokens:
    """A batch of texts as bytes and tokens; a token is a word, one mark, or a line's end.

    Attributes:
        raw: the bytes as written, [bytes].
        kind: SPACE, WORD, MARK, NEWLINE or START for each byte, [bytes].
        prefix: exclusive prefix sums of the polynomial, [bytes + 1].
        firsts: where each text's START byte stands, [texts].
        starts, ends: span of each token in bytes, [tokens]; START is the first token of a text.
        owner: the text each token belongs to, [tokens].
        heads: index of each text's START token, [texts].
        hashes: of each token, [tokens].
        kinds, first_bytes: of each token, its kind and its first byte as written, [tokens].
        pairs: the hash of each two neighbouring tokens of a text, [pairs].
        pair_starts: the index of each pair's first token, [pairs].
    """

    raw: NDArray[np.uint8]
    kind: NDArray[np.uint8]
    prefix: U64
    firsts: Ints
    starts: Ints
    ends: Ints
    owner: Ints
    heads: Ints
    hashes: U64
    kinds: NDArray[np.uint8]
    first_bytes: NDArray[np.uint8]
    pairs: U64
    pair_starts: Ints

    def spans(self, starts: Ints, ends: Ints) -> U64:
        """Return the unmixed hash of each span of bytes."""
        _, downs = _powers(_bits(len(self.raw)))
        hashes: U64 = (self.prefix[ends] - self.prefix[starts]) * downs[starts]
        return hashes


def paired(first: U64, second: U64) -> U64:
    """Return one hash for each ordered pair."""
    return mixed(first * _PAIR + second)


def tokenized(texts: Sequence[str]) -> Tokens:
    """Return the tokens of ``texts``; unpaired surrogates are read as question marks."""
    parts = [text.encode("utf-8", "replace").replace(b"\0", b" ") for text in texts]
    # The last space gives the last text the same end as the others, which a START follows.
    raw = np.frombuffer(b"\0" + b"\0".join(parts) + b" ", dtype=np.uint8)
    kind = BYTE_KINDS[raw]

    # A word is a run of bytes; a mark, a line's end and a START stand alone.
    word = kind == WORD
    single = kind >= MARK
    starting, ending = single.copy(), single.copy()
    starting[0] = True
    starting[1:] |= word[1:] & ~word[:-1]
    ending[:-1] |= word[:-1] & ~word[1:]
    ending[-1] = False
    starts, ends = starting.nonzero()[0], ending.nonzero()[0] + 1

    # Prefix sums of the polynomial, from which the hash of any span follows.
    ups, downs = _powers(_bits(len(raw)))
    prefix = np.zeros(len(raw) + 1, dtype=np.uint64)
    np.cumsum(_CODE[raw] * ups[: len(raw)], out=prefix[1:])

    # Two neighbours are a pair unless the second is the head of the next text.
    kinds = kind[starts]
    at_head = kinds == START
    pair_starts = (~at_head[1:]).nonzero()[0]
    hashes = mixed((prefix[ends] - prefix[starts]) * downs[starts])
    return Tokens(
        raw=raw,
        kind=kind,
        prefix=prefix,
        firsts=starts[at_head],
        starts=starts,
        ends=ends,
        owner=np.cumsum(at_head) - 1,
        heads=at_head.nonzero()[0],
        hashes=hashes,
        kinds=kinds,
        first_bytes=raw[starts],
        pairs=paired(hashes[pair_starts], hashes[pair_starts + 1]),
        pair_starts=pair_starts,
    )


def word_hashes(words: Sequence[str]) -> U64:
    """Return the hash of each of ``words`` as `tokenized` gives it; each must be one token."""
    tokens = tokenized(words)
    return tokens.hashes[tokens.heads + 1]


def _bits(length: int) -> int:
    return max(14, (length + 1).bit_length())
