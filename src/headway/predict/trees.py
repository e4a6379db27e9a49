"""Boosted regression trees as flat arrays, so that many are walked at once, level by level.

A tree of depth d has 2^d - 1 splits and 2^d leaves. They are grown by scikit-learn
(`headway.predict.training`); this way of walking them is why a prediction takes under a millisecond
(`docs/decisions/`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
_ROWS_AT_ONCE = 512


@dataclass(frozen=True, slots=True, eq=False)
class BoostedTrees:
    """An additive model of regression trees.

    Attributes:
        start: what the leaves are added to.
        columns: the column of each split, [trees, 2^depth - 1].
        cuts: a row goes right if its value exceeds this, [trees, 2^depth - 1].
        leaves: [trees, 2^depth].
    """

    start: float
    columns: NDArray[np.int16]
    cuts: Floats
    leaves: Floats
    _levels: list[tuple[Ints, Floats]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Lay the splits out by level, all trees of a level side by side."""
        bounds = [2**level - 1 for level in range(self.columns.shape[1].bit_length() + 1)]
        levels = [
            (
                self.columns[:, begin:end].ravel().astype(np.int32),
                np.ascontiguousarray(self.cuts[:, begin:end]).ravel(),
            )
            for begin, end in pairwise(bounds)
        ]
        object.__setattr__(self, "_levels", levels)

    def predict(self, rows: Floats) -> Floats:
        """Return one value per row."""
        parts = [
            self._walk(rows[i : i + _ROWS_AT_ONCE]) for i in range(0, len(rows), _ROWS_AT_ONCE)
        ]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)

    def _walk(self, rows: Floats) -> Floats:
        flat = rows.ravel()
        line = (np.arange(len(rows), dtype=np.int32) * rows.shape[1])[:, None]

        # On the first level every tree has one split; below split i of a level stand 2 i, 2 i + 1.
        # Narrow indices and `take`: a third less time than the same in intp and brackets.
        columns, cuts = self._levels[0]
        right = flat.take(columns + line) > cuts
        node = np.arange(0, 2 * len(columns), 2, dtype=np.int32) + right
        for columns, cuts in self._levels[1:]:
            right = flat.take(columns.take(node) + line) > cuts.take(node)
            node += node
            node += right

        sums: Floats = self.leaves.ravel().take(node).sum(axis=1) + np.float32(self.start)
        return sums
