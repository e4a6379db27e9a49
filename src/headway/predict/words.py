"""What each n-gram of a prompt adds to the length of its answer, learned while it runs.

The same Bayesian linear model as that of `headway.predict.online`, on n-grams instead of a few
features. Of its covariance only the diagonal is kept, so that an answer costs as many steps as its
prompt has n-grams. One table serves all models: it learns from what each model's own correction
left over, so what one model wrote tells of another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headway.predict.ngrams import Sparse

Floats = NDArray[np.float32]
PRIOR = 0.2  # variance of a weight before anything was seen; a prompt's row has norm sqrt 2
DRIFT = 1e-4  # share of the gap to the prior that returns to the weights of each prompt


@dataclass(frozen=True, slots=True)
class PromptGrams:
    """The weighted n-grams of one prompt: ``columns`` and ``values``, [n-grams]."""

    columns: NDArray[np.int32]
    values: Floats


class WordCorrection:
    """A correction of the location that is linear in n-grams.

    Attributes:
        mean, variance: of the weight of each column.
    """

    __slots__ = ("mean", "variance")

    def __init__(self, num_columns: int) -> None:
        """Start with nothing seen."""
        self.mean = np.zeros(num_columns, dtype=np.float32)
        self.variance = np.full(num_columns, PRIOR, dtype=np.float32)

    def shifts(self, grams: Sparse) -> NDArray[np.float64]:
        """Return the mean correction of each row of ``grams``, none of which is empty."""
        added = self.mean.take(grams.columns) * grams.values
        shifts: NDArray[np.float64] = np.add.reduceat(added, grams.bounds[:-1], dtype=np.float64)
        return shifts

    def correction(self, prompt: PromptGrams) -> tuple[float, float]:
        """Return the mean and the variance of the correction of ``prompt``."""
        mean = self.mean.take(prompt.columns) @ prompt.values
        variance = self.variance.take(prompt.columns) @ prompt.values**2
        return float(mean), float(variance)

    def observe(self, prompt: PromptGrams, surprise: float, noise: float) -> None:
        """Take in that ``prompt`` was off by ``surprise`` from all that was expected.

        ``noise`` is the variance of that, without what these weights leave open.
        """
        own = self.variance.take(prompt.columns)
        image = own * prompt.values
        total = float(image @ prompt.values) + noise
        self.mean[prompt.columns] += image * np.float32(surprise / total)
        own -= image * image / np.float32(total)
        self.variance[prompt.columns] = own + np.float32(DRIFT) * (PRIOR - own)
