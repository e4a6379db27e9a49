"""Hashed word and character n-grams of a batch of texts, and a linear model on them.

Words and pairs of words are one block, character n-grams of 3 to 5 bytes inside words (with
the border of the word) another; each row of each block has unit length after 1 + log(count) and
the weights of the buckets (Salton and Buckley 1988; feature hashing: Weinberger et al. 2009).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headway.predict.tokens import WORD, Tokens, mixed

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]
CHAR_SIZES = (3, 4, 5)


@dataclass(frozen=True, slots=True)
class Sparse:
    """Rows of (column, value); those of row i stand at ``bounds[i]`` to ``bounds[i + 1]``."""

    columns: NDArray[np.int32]
    values: Floats
    bounds: Ints
    num_columns: int

    @property
    def num_rows(self) -> int:
        """Number of texts."""
        return len(self.bounds) - 1

    def times(self, weights: Floats) -> Floats:
        """Return the product with ``weights`` [columns, outputs], as [rows, outputs]."""
        products = weights[self.columns] * self.values[:, None]
        if len(products) == 0:
            return np.zeros((self.num_rows, weights.shape[1]), dtype=np.float32)

        # Every text has at least its START token, so no row is empty and reduceat is safe.
        # In double precision the sum does not depend on what else is in the batch.
        sums = np.add.reduceat(products, self.bounds[:-1], axis=0, dtype=np.float64)
        return sums.astype(np.float32)

    def owners(self) -> Ints:
        """Return the row of each value."""
        return np.repeat(np.arange(self.num_rows), np.diff(self.bounds))

    def at(self, index: Ints) -> Sparse:
        """Return the rows at ``index``, in that order."""
        sizes = np.diff(self.bounds)[index]
        bounds = np.concatenate([[0], np.cumsum(sizes)])
        spots = np.arange(bounds[-1]) - np.repeat(bounds[:-1] - self.bounds[index], sizes)
        return Sparse(self.columns[spots], self.values[spots], bounds, self.num_columns)


@dataclass(frozen=True, slots=True)
class LinearNgrams:
    """A linear model on weighted n-grams with several outputs.

    Attributes:
        bucket_weights: rarity of each bucket, [columns].
        coef: [columns, outputs].
        intercept: [outputs].
    """

    bucket_weights: Floats
    coef: Floats
    intercept: Floats

    def weighted(self, grams: Sparse) -> Sparse:
        """Return counted ``grams`` as this model reads them."""
        return weighted(grams, self.bucket_weights)

    def predict(self, grams: Sparse) -> Floats:
        """Return the outputs of each text of weighted ``grams``, [texts, outputs]."""
        return grams.times(self.coef) + self.intercept


def hashed(tokens: Tokens, bits: int) -> Sparse:
    """Return the counts' logarithms of all n-grams; 2^``bits`` columns, half for each block."""
    half = bits - 1
    words = np.concatenate([tokens.hashes, tokens.pairs])
    owners = np.concatenate([tokens.owner, tokens.owner[tokens.pair_starts]])
    grams, gram_owners = _character_grams(tokens)

    # One sortable number for text and column, so that equal ones stand together.
    shift = np.uint64(64 - half)
    columns = np.concatenate([words >> shift, (grams >> shift) | np.uint64(1 << half)])
    keys = (np.concatenate([owners, gram_owners]).astype(np.uint64) << np.uint64(bits)) | columns
    keys.sort()
    is_edge = np.ones(len(keys) + 1, dtype=bool)
    np.not_equal(keys[1:], keys[:-1], out=is_edge[1:-1])
    edges = is_edge.nonzero()[0]

    unique = keys[edges[:-1]]
    rows = unique >> np.uint64(bits)
    return Sparse(
        columns=(unique & np.uint64((1 << bits) - 1)).astype(np.int32),
        values=(1.0 + np.log(edges[1:] - edges[:-1])).astype(np.float32),
        bounds=rows.searchsorted(np.arange(len(tokens.heads) + 1, dtype=np.uint64)),
        num_columns=1 << bits,
    )


def weighted(sparse: Sparse, bucket_weights: Floats) -> Sparse:
    """Return ``sparse`` with each value times its bucket's weight and each block of unit length."""
    values = sparse.values * bucket_weights[sparse.columns]
    block = sparse.columns >= sparse.num_columns // 2
    place = 2 * sparse.owners() + block
    squares = np.bincount(place, weights=values * values, minlength=2 * sparse.num_rows)
    scale = (1.0 / np.sqrt(np.maximum(squares, 1e-12))).astype(np.float32)
    return Sparse(sparse.columns, values * scale[place], sparse.bounds, sparse.num_columns)


def rarity(sparse: Sparse) -> Floats:
    """Return ln((1 + texts) / (1 + texts with the bucket)) + 1 for every bucket."""
    texts = np.bincount(sparse.columns, minlength=sparse.num_columns)
    weights: Floats = (np.log((1 + sparse.num_rows) / (1 + texts)) + 1).astype(np.float32)
    return weights


def _character_grams(tokens: Tokens) -> tuple[NDArray[np.uint64], Ints]:
    # A gram may begin or end with one byte that is no word, but has words inside.
    outside = tokens.kind != WORD
    length = len(outside)
    num_outside = np.zeros(length + 1, dtype=np.intp)
    np.cumsum(outside, out=num_outside[1:])
    spans: list[NDArray[np.uint64]] = []
    begins: list[Ints] = []
    for size in CHAR_SIZES:
        if length < size:
            continue
        inside = num_outside[size - 1 : length] == num_outside[1 : length - size + 2]
        begin = inside.nonzero()[0]
        spans.append(tokens.spans(begin, begin + size) + np.uint64(size))
        begins.append(begin)
    if not spans:
        return np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.intp)

    # A gram that begins at a START byte belongs to that text, one that ends there to the last.
    owners = tokens.firsts.searchsorted(np.concatenate(begins), side="right") - 1
    return mixed(np.concatenate(spans)), owners
