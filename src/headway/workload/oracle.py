"""What really happens: requests with the true length of their answers.

Nothing that decides may import this module: a scheduler that knows the answer's length is a
fortune-teller. `headway.schedule` and the gateway are held to that by an import contract.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from headway.errors import InputError
from headway.workload.request import Request

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
MAX_TOKENS, MAX_SECONDS = 10**8, 1e9


@dataclass(frozen=True, slots=True, eq=False)
class BlockHashes:
    """Content hashes of the leading blocks of every prompt; equal numbers are equal content.

    Attributes:
        first: ``(requests + 1)``, where a request's hashes begin in ``hashes``.
        hashes: whole numbers; the hash of a block stands for all that comes before it, too.
        tokens: of one hashed block.

    """

    first: Ints
    hashes: Ints
    tokens: int

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise InputError(f"a hashed block holds at least 1 token, not {self.tokens}")
        if len(self.first) < 1 or np.any(np.diff(self.first) < 0):
            raise InputError("block hashes must be given per request, in order")

    @classmethod
    def of_lists(cls, lists: list[list[int]], tokens: int) -> BlockHashes:
        """Return the hashes of one list per request, renumbered from 0."""
        first = np.cumsum([0, *map(len, lists)])
        flat = np.array([h for one in lists for h in one], dtype=np.int64)
        _, renumbered = np.unique(flat, return_inverse=True)
        return cls(first.astype(np.int64), renumbered.astype(np.int64).reshape(-1), tokens)

    def take(self, rows: Ints) -> BlockHashes:
        """Return the hashes of requests ``rows``."""
        return BlockHashes.of_lists(
            [self.hashes[self.first[i] : self.first[i + 1]].tolist() for i in rows], self.tokens
        )


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Requests in the order of arrival, as columns.

    Attributes:
        arrival_s: not decreasing.
        prompt_tokens: at least 1 each.
        output_tokens: the true lengths, at least 1 each.
        name: for people.
        prefixes: block hashes of the prompts, where known.
        tenants: whose request it is, as numbers from 0; all 0 where not distinguished.
        prompts: the texts, where the trace has them; a trained predictor reads them.
        tenant_names: by number; a number without a name is its own.

    """

    arrival_s: Floats
    prompt_tokens: Ints
    output_tokens: Ints
    name: str = "trace"
    prefixes: BlockHashes | None = None
    tenants: Ints | None = None
    prompts: tuple[str, ...] | None = None
    tenant_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "arrival_s", np.asarray(self.arrival_s, dtype=np.float64))
        for name in ("prompt_tokens", "output_tokens", "tenants"):
            column = getattr(self, name)
            if column is not None:
                object.__setattr__(self, name, np.asarray(column, dtype=np.int64))

        self._check_lengths()
        self._check_arrivals()
        for name in ("prompt_tokens", "output_tokens"):
            column = getattr(self, name)
            if np.any(column < 1) or np.any(column > MAX_TOKENS):
                raise InputError(f"{name} of trace {self.name!r} must be from 1 to 1e8")

    def _check_lengths(self) -> None:
        n = len(self.arrival_s)
        columns = (self.prompt_tokens, self.output_tokens, self.tenants, self.prompts)
        if any(column is not None and len(column) != n for column in columns):
            raise InputError(f"the columns of trace {self.name!r} differ in length")
        if n == 0:
            raise InputError(f"trace {self.name!r} holds no request")
        if self.prefixes is not None and len(self.prefixes.first) != n + 1:
            raise InputError(f"trace {self.name!r} needs a list of block hashes for every request")

    def _check_arrivals(self) -> None:
        if not np.all(np.isfinite(self.arrival_s)) or self.arrival_s[0] < 0:
            raise InputError(
                f"arrival times of trace {self.name!r} must be finite and not negative"
            )
        if np.any(np.diff(self.arrival_s) < 0):
            raise InputError(f"trace {self.name!r} must be in the order of arrival")
        if self.arrival_s[-1] > MAX_SECONDS:
            raise InputError(
                f"arrival times of trace {self.name!r} must be seconds since the first request; "
                f"the last is {self.arrival_s[-1]:g}"
            )

    def __len__(self) -> int:
        return len(self.arrival_s)

    @property
    def rate_rps(self) -> float:
        """Requests per second between the first and the last arrival; 0 for a single instant."""
        span = float(self.arrival_s[-1] - self.arrival_s[0])
        return (len(self) - 1) / span if span > 0 else 0.0

    def at_rate(self, rate_rps: float) -> Trace:
        """Return the same requests, their gaps stretched to ``rate_rps``."""
        if not (rate_rps > 0 and self.rate_rps > 0):
            raise InputError("a rate must be above 0, and needs a trace of more than one instant")
        start = self.arrival_s[0]
        return replace(self, arrival_s=(self.arrival_s - start) * (self.rate_rps / rate_rps))

    def head(self, count: int) -> Trace:
        """Return the first ``count`` requests."""
        return self.take(np.arange(min(count, len(self))))

    def take(self, rows: Ints) -> Trace:
        """Return requests ``rows``, which must be in order."""
        return replace(
            self,
            arrival_s=self.arrival_s[rows],
            prompt_tokens=self.prompt_tokens[rows],
            output_tokens=self.output_tokens[rows],
            prefixes=None if self.prefixes is None else self.prefixes.take(rows),
            tenants=None if self.tenants is None else self.tenants[rows],
            prompts=None if self.prompts is None else tuple(self.prompts[i] for i in rows),
        )

    def tenant_name(self, number: int) -> str:
        """Return what tenant ``number`` is called."""
        return self.tenant_names[number] if number < len(self.tenant_names) else str(number)

    def request(self, i: int) -> Request:
        """Return request ``i`` as a server sees it, without the length of its answer."""
        return Request(
            id=str(i),
            arrival_s=float(self.arrival_s[i]),
            prompt=self.prompts[i] if self.prompts is not None else "",
            prompt_tokens=int(self.prompt_tokens[i]),
            tenant=self.tenant_name(int(self.tenants[i])) if self.tenants is not None else "",
        )
