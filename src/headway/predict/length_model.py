"""The part that reads prompts: from text to the distribution of ln(1 + tokens).

1. A linear model on hashed n-grams gives nine views of the length: its log, rank and square root,
   and whether it exceeds each of six quantiles.
2. Boosted trees read these beside the dense rows, and give the location.
   Where there is a second opinion on the same numbers, a linear one, both count.
3. Smaller trees give the spread.
4. A table of standardised residuals' quantiles, by location, gives the shape and the tails.

`headway.predict.training` fits it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from headway.predict.ngrams import LinearNgrams, Sparse, hashed
from headway.predict.text import considered
from headway.predict.tokens import tokenized
from headway.predict.traits import FEATURES, dense_rows
from headway.predict.trees import BoostedTrees

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
HASH_BITS = 17
NUM_VIEWS = 9
MIN_SPREAD = 0.05
_PROMPTS_AT_ONCE = 128  # the bytes of a block stay in the processor's cache


@dataclass(frozen=True, slots=True)
class PromptRows:
    """A batch of prompts: ``grams`` has a row per prompt, ``dense`` is [prompts, features]."""

    grams: Sparse
    dense: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.dense)


def prompt_rows(
    prompts: Sequence[str], max_tokens: Sequence[int | None], hash_bits: int = HASH_BITS
) -> PromptRows:
    """Return the numbers of each prompt; time per prompt is bounded for any text."""
    grams: list[Sparse] = []
    dense: list[NDArray[np.float32]] = []
    for i in range(0, len(prompts), _PROMPTS_AT_ONCE):
        block = slice(i, i + _PROMPTS_AT_ONCE)
        texts = [considered(prompt) for prompt in prompts[block]]
        tokens = tokenized([text.text for text in texts])
        grams.append(hashed(tokens, hash_bits))
        dense.append(dense_rows(texts, tokens, max_tokens[block]))

    if len(grams) == 1:
        return PromptRows(grams[0], dense[0])
    if not grams:
        none = Sparse(
            np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros(1, np.intp), 1 << hash_bits
        )
        return PromptRows(none, np.zeros((0, len(FEATURES)), np.float32))
    return PromptRows(_stacked(grams), np.concatenate(dense))


def _stacked(parts: list[Sparse]) -> Sparse:
    offsets = np.cumsum([0] + [len(part.values) for part in parts[:-1]])
    ends = [part.bounds[1:] + offset for part, offset in zip(parts, offsets, strict=True)]
    return Sparse(
        columns=np.concatenate([part.columns for part in parts]),
        values=np.concatenate([part.values for part in parts]),
        bounds=np.concatenate([[0], *ends]),
        num_columns=parts[0].num_columns,
    )


@dataclass(frozen=True, slots=True)
class LogLengths:
    """Distributions of ln(1 + tokens) for a batch.

    Attributes:
        location: the mean, [rows].
        spread: standard deviation of the residual, above 0, [rows].
        quantiles: at `headway.predict.prediction.LEVELS`, increasing, [rows, levels].
    """

    location: Floats
    spread: Floats
    quantiles: Floats

    def at(self, rows: slice | list[int]) -> LogLengths:
        """Return the given rows."""
        return LogLengths(self.location[rows], self.spread[rows], self.quantiles[rows])

    def shifted(self, shift: Floats) -> LogLengths:
        """Return each row moved by ``shift`` [rows]."""
        return replace(
            self, location=self.location + shift, quantiles=self.quantiles + shift[:, None]
        )


@dataclass(frozen=True, slots=True, eq=False)
class SecondOpinion:
    """A linear opinion on the location, beside another one.

    Attributes:
        coef: of a row of numbers, the intercept last, [width + 1].
        shares: of the other location, of this one, and a constant.
    """

    coef: Floats
    shares: Floats

    def blended(self, lengths: LogLengths, rows: NDArray[np.float32]) -> LogLengths:
        """Return ``lengths`` moved to the blended location, the quantiles with it."""
        second = rows.astype(np.float64) @ self.coef[:-1] + self.coef[-1]
        location = lengths.location * self.shares[0] + second * self.shares[1] + self.shares[2]
        return lengths.shifted(location - lengths.location)


@dataclass(frozen=True, slots=True)
class LengthModel:
    """From prompts to distributions of ln(1 + tokens), for a model of average length.

    Attributes:
        views: the linear model on n-grams.
        trees: the location, from the views and the dense rows.
        spread_trees: the logarithm of the spread, from the same.
        table_at: locations of the rows of the residual table, increasing, [rows].
        table: quantiles of residual over spread at `LEVELS`, [rows, levels].
        form: a second opinion on what the trees read.
    """

    views: LinearNgrams
    trees: BoostedTrees
    spread_trees: BoostedTrees
    table_at: Floats
    table: Floats
    form: SecondOpinion | None = None

    def weighted(self, rows: PromptRows) -> PromptRows:
        """Return ``rows`` with their n-grams as this model reads them."""
        return replace(rows, grams=self.views.weighted(rows.grams))

    def predict(self, rows: PromptRows) -> LogLengths:
        """Return the distribution of each of the weighted ``rows``."""
        inputs = tree_inputs(self.views.predict(rows.grams), rows)
        lengths = self.around(self.trees.predict(inputs).astype(np.float64), inputs)
        return lengths if self.form is None else self.form.blended(lengths, inputs)

    def around(self, location: Floats, inputs: NDArray[np.float32]) -> LogLengths:
        """Return the distributions of rows whose ``location`` is known."""
        spread = np.exp(self.spread_trees.predict(inputs).astype(np.float64))
        spread = np.maximum(spread, MIN_SPREAD)

        # The shape between two rows of the table.
        at = np.minimum(np.maximum(location, self.table_at[0]), self.table_at[-1])
        low = np.maximum(self.table_at.searchsorted(at) - 1, 0)
        high = low + 1
        share = (at - self.table_at[low]) / (self.table_at[high] - self.table_at[low])
        shape = self.table[low] * (1 - share)[:, None] + self.table[high] * share[:, None]
        return LogLengths(location, spread, location[:, None] + spread[:, None] * shape)


def tree_inputs(views: NDArray[np.floating], rows: PromptRows) -> NDArray[np.float32]:
    """Return what the trees read: views and dense rows side by side."""
    return np.concatenate([views.astype(np.float32), rows.dense], axis=1)
