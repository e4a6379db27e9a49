"""What is known of an answer's length inside the engine: what a request brings, or the history."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from headway.predict.prediction import LEVELS
from headway.schedule.hints import QUANTILES
from headway.schedule.view import Floats

WINDOW = 1024  # answers that are remembered
MIN_ANSWERS = 16  # before the history counts
REFRESH = 32  # answers between two looks at the history
UNKNOWN_TOKENS = np.geomspace(4.0, 4096.0, len(LEVELS))  # where nothing is known: wide

_log = logging.getLogger("vllm.headway")


class Lengths:
    """Predicted quantiles of answers, of shape ``(len(LEVELS),)``.

    A request may bring its own, as Headway's gateway sends them; the others get those of the
    answers that ended here.
    """

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._answers: deque[int] = deque(maxlen=WINDOW)
        self._history, self._num_new = UNKNOWN_TOKENS, 0
        self._warned = False

    def note(self, output_tokens: int) -> None:
        """Remember the length of an answer that ended by itself."""
        self._answers.append(output_tokens)
        self._num_new += 1
        if len(self._answers) >= MIN_ANSWERS and self._num_new >= REFRESH:
            self._history, self._num_new = np.quantile(self._answers, LEVELS), 0

    def of(self, extra: Mapping[str, Any], max_tokens: int) -> Floats:
        """Return the quantiles of a request with the arguments ``extra``, none over the limit."""
        own = extra.get(QUANTILES)
        quantiles = self._history if own is None else self._read(own)
        return np.minimum(quantiles, float(max_tokens))

    def _read(self, own: Any) -> Floats:
        """Return the quantiles that a request brings; the history where they make no sense."""
        try:
            values = np.asarray(own.split(",") if isinstance(own, str) else own, dtype=np.float64)
        except (TypeError, ValueError):
            values = np.empty(0)
        if values.shape == (len(LEVELS),) and values[0] >= 0 and np.all(np.diff(values) >= 0):
            return values

        if not self._warned:
            _log.warning(
                "%s must be %d numbers that rise from 0 on, as a list or with commas between them; "
                "other requests are taken as unknown",
                QUANTILES,
                len(LEVELS),
            )
            self._warned = True
        return self._history
