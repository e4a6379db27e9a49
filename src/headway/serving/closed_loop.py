"""Users in a closed loop: what is asked of an engine.

In the steady state of ``concurrency`` users, every decode step holds as many sequences as there
are seats, at their mean context, and while one request decodes each of the others ends once and
is replaced (`serving.rounds`). Which steps that makes is in `serving.load_steps`, what a request
takes of them in `serving.load_times`, the whole answer in `serving.served_load`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headway.errors import InputError
from headway.steptime.work import Array


@dataclass(frozen=True, slots=True, eq=False)
class ClosedLoop:
    """Users in a closed loop; arrays broadcast against each other and the layout.

    Attributes:
        prompt_tokens, output_tokens: of every request, in the mean.
        concurrency: requests in the system, queued or running.
        cached_fraction: of the prompt, found in the prefix cache.
        requests_per_user: requests each user sends one after the other; the first of them meet
            in the burst at the start, which lifts the mean time to first token.
        static: whether all requests start at once and nobody follows them (a static batch): their
            prompts pass first, and count into the time per token.
        prefilled: whether prompts are computed elsewhere: this engine decodes only.
        alike: whether all requests have exactly these lengths, as benchmarks may: then those that
            start together end together, and prompts come in bunches.

    """

    prompt_tokens: Array
    output_tokens: Array
    concurrency: Array
    cached_fraction: Array
    requests_per_user: float
    static: bool
    prefilled: bool
    alike: bool

    def __init__(
        self,
        prompt_tokens: npt.ArrayLike,
        output_tokens: npt.ArrayLike,
        concurrency: npt.ArrayLike,
        cached_fraction: npt.ArrayLike = 0.0,
        requests_per_user: float = 10.0,
        static: bool = False,
        prefilled: bool = False,
        alike: bool = False,
    ) -> None:
        for name, values, lowest in (
            ("prompt_tokens", prompt_tokens, 0 if prefilled else 1),
            ("output_tokens", output_tokens, 1),
            ("concurrency", concurrency, 1),
            ("cached_fraction", cached_fraction, 0),
        ):
            array = np.asarray(values, dtype=np.float64)
            if not np.all((array >= lowest) & (array <= 1e9)):
                raise InputError(f"{name} must be at least {lowest} and at most 1e9")
            object.__setattr__(self, name, array)

        if np.any(self.cached_fraction >= 1):
            raise InputError("cached_fraction must be below 1: the last token is always computed")
        if not 1 <= requests_per_user <= 1e9:
            raise InputError(f"requests_per_user must be at least 1, not {requests_per_user:g}")

        object.__setattr__(self, "requests_per_user", float(requests_per_user))
        object.__setattr__(self, "static", static)
        object.__setattr__(self, "prefilled", prefilled)
        object.__setattr__(self, "alike", alike)

    def each(self) -> Iterator[ClosedLoop]:
        """Yield every load of the arrays by itself, in their order."""
        arrays = (self.prompt_tokens, self.output_tokens, self.concurrency, self.cached_fraction)
        for prompt, output, concurrency, cached in np.broadcast(*arrays):
            yield ClosedLoop(
                prompt_tokens=prompt,
                output_tokens=output,
                concurrency=concurrency,
                cached_fraction=cached,
                requests_per_user=self.requests_per_user,
                static=self.static,
                prefilled=self.prefilled,
                alike=self.alike,
            )

    @property
    def mean_context_tokens(self) -> Array:
        """Tokens of a decoding sequence half way through its answer."""
        if self.prefilled:
            return np.asarray(self.prompt_tokens + (self.output_tokens - 1) / 2)
        return np.asarray(self.prompt_tokens + self.output_tokens / 2)
