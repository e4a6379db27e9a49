"""Headway's own word lists: what a word or phrase says about the answer that is wanted.

The lists stand in ``lexicon.toml``; a text is looked up by the hashes of its tokens.
"""

from __future__ import annotations

import tomllib
from functools import lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from headway.predict.tokens import Tokens, paired, word_hashes

_LISTS = tomllib.loads((files("headway.predict") / "lexicon.toml").read_text(encoding="utf-8"))
NAMES = tuple(_LISTS)
BIT = {name: i for i, name in enumerate(NAMES)}
_NO_BITS = np.uint64(0)
Bools = NDArray[np.bool_]


def members(name: str) -> list[str]:
    """Return the words and the phrases of one class."""
    entry = _LISTS[name]
    return [*entry.get("words", "").split(), *entry.get("phrases", [])]


@lru_cache(maxsize=1)
def _tables() -> tuple[tuple[NDArray[np.uint64], NDArray[np.uint64]], ...]:
    masks: list[dict[str, int]] = [{}, {}, {}]
    for name, bit in BIT.items():
        for entry in members(name):
            words = entry.split()
            # Longer phrases stand for their first three words.
            table = masks[min(len(words), 3) - 1]
            key = " ".join(words[:3])
            table[key] = table.get(key, 0) | 1 << bit

    # A sorted array of hashes and their bits for single words, pairs and triples.
    tables = []
    for size, table in enumerate(masks, start=1):
        columns = [word_hashes([key.split()[i] for key in table]) for i in range(size)]
        hashes = columns[0]
        for column in columns[1:]:
            hashes = paired(hashes, column)

        order = np.argsort(hashes)
        bits = np.array(list(table.values()), dtype=np.uint64)
        tables.append((hashes[order], bits[order]))
    return tuple(tables)


def word_classes(tokens: Tokens) -> Bools:
    """Return which classes each token stands in, [tokens, classes] in the order of `NAMES`.

    A phrase counts at its first word.
    """
    single, double, triple = _tables()
    bits = _classes_of(tokens.hashes, single)
    first = tokens.pair_starts
    bits[first] |= _classes_of(tokens.pairs, double)
    if len(first) > 1:
        follows = (first[1:] == first[:-1] + 1).nonzero()[0]
        at = first[follows]
        bits[at] |= _classes_of(paired(tokens.pairs[follows], tokens.hashes[at + 2]), triple)

    rows = np.unpackbits(bits.view(np.uint8).reshape(-1, 8), axis=1, bitorder="little")
    return rows[:, : len(NAMES)].view(np.bool_)


def has(classes: Bools, name: str) -> Bools:
    """Return which tokens stand in the class ``name``."""
    return classes[:, BIT[name]]


def _classes_of(
    hashes: NDArray[np.uint64], table: tuple[NDArray[np.uint64], NDArray[np.uint64]]
) -> NDArray[np.uint64]:
    keys, bits = table
    place = np.minimum(keys.searchsorted(hashes), len(keys) - 1)
    return np.where(keys[place] == hashes, bits[place], _NO_BITS)
