"""Measured requests as arrays: prompt tokens, output tokens, runtime."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headway.errors import InputError

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class RequestProfile:
    """Runtimes of single requests, one array element each, all of shape (points,).

    Attributes:
        prompt_tokens: tokens in the prompt, at least 1.
        output_tokens: tokens in the answer, at least 1.
        runtime_s: seconds from the request to its last token.
        spread: relative standard deviation of ``runtime_s`` as given (of the mean or minimum, not
            of one trial); ``None`` where it is not known.

    """

    prompt_tokens: FloatArray
    output_tokens: FloatArray
    runtime_s: FloatArray
    spread: FloatArray | None = None

    def __post_init__(self) -> None:
        names = ("prompt_tokens", "output_tokens", "runtime_s", "spread")
        for name in names:
            if getattr(self, name) is None:
                continue
            values = np.asarray(getattr(self, name), dtype=np.float64)
            if values.ndim != 1 or values.size == 0 or values.shape != np.shape(self.runtime_s):
                raise InputError(f"{name} of a profile must be a list as long as its runtimes")
            minimum = {"runtime_s": 1e-12, "spread": 0.0}.get(name, 1.0)
            if not np.all(np.isfinite(values)) or np.any(values < minimum):
                raise InputError(f"{name} of a profile must be finite and at least {minimum:g}")
            object.__setattr__(self, name, values)

    @classmethod
    def of(cls, points: Iterable[tuple[float, float, float]]) -> RequestProfile:
        """The profile of ``points``: prompt tokens, output tokens, seconds."""
        table = np.asarray(list(points), dtype=np.float64)
        if table.ndim != 2 or table.shape[1] != 3:
            raise InputError("a profile needs at least one point of three numbers")
        return cls(table[:, 0], table[:, 1], table[:, 2])

    @property
    def prompt_sizes(self) -> FloatArray:
        """The distinct prompt sizes in tokens, ascending."""
        return np.unique(self.prompt_tokens)

    def scaled(self, factor: float) -> RequestProfile:
        """The same requests, ``factor`` times as long (a third of the layers was profiled: 3)."""
        return RequestProfile(
            self.prompt_tokens, self.output_tokens, self.runtime_s * factor, self.spread
        )

    def only(self, chosen: npt.NDArray[np.bool_]) -> RequestProfile:
        """The points where ``chosen``, of shape (points,), is true."""
        spread = None if self.spread is None else self.spread[chosen]
        return RequestProfile(
            self.prompt_tokens[chosen], self.output_tokens[chosen], self.runtime_s[chosen], spread
        )

    def __len__(self) -> int:
        return self.runtime_s.size
